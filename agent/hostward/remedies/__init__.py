"""Remedies: how to make it true.  Pure functions from facts to steps; the executor alone applies them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from hostward.model import Remedy, RepairClass

F = TypeVar("F", bound=Callable[..., Remedy])

#: The files of remedies, one per concern.
CONCERNS = ("clock", "modules", "boot", "guests")


class NoRemedy(Exception):
    """This remedy does not fit this host; the reason says what to do instead."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class RemedyKind:
    """A way to mend findings.  `choice` is the word that `fix --choose` takes for a way that is not the default.

    `kind` says who has to agree before it is applied, unless the configuration says otherwise; `at_most` is the freest
    that the configuration may make it.
    """

    id: str
    title: str
    choice: str
    kind: RepairClass
    at_most: RepairClass
    plan: Callable[..., Remedy]


REMEDIES: dict[str, RemedyKind] = {}


def remedy(
    id: str,
    *,
    title: str,
    choice: str = "",
    kind: RepairClass = RepairClass.ON_REQUEST,
    at_most: RepairClass = RepairClass.UNATTENDED,
) -> Callable[[F], F]:
    """Registers a remedy: a function whose parameters are facts, injected by type, and that returns a Remedy.

    It raises NoRemedy(reason) where it does not fit.
    """

    def register(function: F) -> F:
        REMEDIES[id] = RemedyKind(id, title, choice, kind, at_most, function)
        return function

    return register


def load_all() -> dict[str, RemedyKind]:
    """Every remedy there is, by id."""
    for name in CONCERNS:
        importlib.import_module(f"{__name__}.{name}")
    return REMEDIES
