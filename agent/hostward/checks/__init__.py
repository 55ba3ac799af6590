"""Checks: what ought to be true.  Pure functions from facts to findings; nothing here does I/O."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from hostward.model import Finding, Reference

F = TypeVar("F", bound=Callable[..., Iterable[Finding]])

#: The files of checks, one per concern.
CONCERNS = (
    *("clock", "clock_truth", "modules", "initramfs", "repairs"),
    *("guests", "guest_features", "guest_migration", "guest_clones", "guest_clocks", "known_issues"),
)


@dataclass(frozen=True)
class Check:
    """A rule with a stable id.  `parameters` are the types of the facts it asks for, as written in its signature."""

    id: str
    title: str
    references: tuple[Reference, ...]
    function: Callable[..., Iterable[Finding]]

    @property
    def why(self) -> str:
        """The long explanation: the function's docstring, dedented."""
        lines = (self.function.__doc__ or "").strip().splitlines()
        return "\n".join(line[4:] if line.startswith("    ") else line for line in lines)


CHECKS: dict[str, Check] = {}


def check(id: str, *, title: str, references: Iterable[Reference] = ()) -> Callable[[F], F]:
    """Registers a check.  Its parameters name the facts it needs; a missing one skips it, with the reason.

    A parameter annotated `X | Unavailable` gets the Unavailable instead.
    """

    def register(function: F) -> F:
        if id in CHECKS and CHECKS[id].function.__module__ != function.__module__:
            raise ValueError(f"two checks are called {id}")
        CHECKS[id] = Check(id, title, tuple(references), function)
        return function

    return register


def load_all() -> dict[str, Check]:
    """Every check there is, by id, in the order of their files."""
    for name in CONCERNS:
        importlib.import_module(f"{__name__}.{name}")
    return CHECKS
