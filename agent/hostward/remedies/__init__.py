"""Remedies: how to make it true.  Pure functions from facts to steps; the executor alone applies them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from hostward.model import Remedy

F = TypeVar("F", bound=Callable[..., Remedy])

#: The files of remedies, one per concern.
CONCERNS = ("clock", "modules")


class NoRemedy(Exception):
    """This remedy does not fit this host; the reason says what to do instead."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class RemedyKind:
    """A way to mend findings.  `choice` is the word that `fix --choose` takes for a way that is not the default."""

    id: str
    title: str
    choice: str
    plan: Callable[..., Remedy]


REMEDIES: dict[str, RemedyKind] = {}


def remedy(id: str, *, title: str, choice: str = "") -> Callable[[F], F]:
    """Registers a remedy: a function whose parameters are facts, injected by type, and that returns a Remedy.

    It raises NoRemedy(reason) where it does not fit.
    """

    def register(function: F) -> F:
        REMEDIES[id] = RemedyKind(id, title, choice, function)
        return function

    return register


def load_all() -> dict[str, RemedyKind]:
    """Every remedy there is, by id."""
    for name in CONCERNS:
        importlib.import_module(f"{__name__}.{name}")
    return REMEDIES
