"""The kinds of steps: how each is shown, what is saved before it, how it is done and how it is taken back.

Each family of steps is a file with a `Craft`: all there is to know of these steps, and the only place that does them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from hostward import model
from hostward.host import Host
from hostward.model import Step

Keep = Callable[[bytes], str]
Kept = Callable[[str], bytes]


class CantUndo(Exception):
    """A step that nothing takes back; the reason is for the person who asked."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Craft:
    """What is known of one family of steps.  All of it raises HostError for what the machine refuses.

    `saved` and `left` are JSON: what was seen before the step and after it.  `left` is None where a kill came between
    the step and its record: then it may have been done, in part, or not at all, and `undo` looks for itself.
    """

    def show(self, step: Any) -> str:
        """The command that a person would type for it."""
        raise NotImplementedError

    def save(self, host: Host, step: Any, keep: Keep) -> dict[str, Any]:
        """What the step will change, as it is now; `keep` keeps a file's content and names it."""
        return {}

    def do(self, host: Host, step: Any, saved: dict[str, Any]) -> str:
        """Does it, and returns what there is to be told."""
        raise NotImplementedError

    def left(self, host: Host, step: Any, saved: dict[str, Any]) -> dict[str, Any]:
        """What is there after it."""
        return {}

    def cant_undo(self, step: Any) -> str:
        """Why nothing takes it back, "" where something does."""
        return ""

    def undo(self, host: Host, step: Any, saved: dict[str, Any], left: dict[str, Any] | None, kept: Kept) -> str:
        """Takes it back, and returns what there is to be told.  Raises CantUndo, HostError (Changed: not touched)."""
        raise NotImplementedError


def craft_of(step: Step) -> Craft:
    """The craft of a step's family."""
    from hostward.remedies.steps.guests import GuestClockCraft, NicModelCraft
    from hostward.remedies.steps.modules import ModuleCraft, ModuleMapCraft
    from hostward.remedies.steps.paths import PathCraft
    from hostward.remedies.steps.programs import ProgramCraft
    from hostward.remedies.steps.units import UnitCraft

    if isinstance(step, model.RunProgram):
        return ProgramCraft()
    if isinstance(step, model.UnitAction):
        return UnitCraft()
    if isinstance(step, (model.LoadModule, model.UnloadModule)):
        return ModuleCraft()
    if isinstance(step, model.RebuildModuleMap):
        return ModuleMapCraft()
    if isinstance(step, model.SetNicModel):
        return NicModelCraft()
    if isinstance(step, model.SetGuestClock):
        return GuestClockCraft()
    return PathCraft()


def show(step: Step) -> str:
    """A step as the command that a person would type for it."""
    return craft_of(step).show(step)


_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        model.RunProgram,
        model.UnitAction,
        model.MakeLink,
        model.RemoveLink,
        model.MakeDirectory,
        model.WriteFile,
        model.EditFile,
        model.LoadModule,
        model.UnloadModule,
        model.RebuildModuleMap,
        model.SetNicModel,
        model.SetGuestClock,
    )
}


def encode(step: Step) -> dict[str, Any]:
    """A step as JSON: its kind and its fields."""
    return {"step": type(step).__name__, **dataclasses.asdict(step)}


def decode(document: dict[str, Any]) -> Step:
    """The step that `encode` wrote.  Raises ValueError for what it did not write."""
    kind = _KINDS.get(str(document.get("step")))
    if kind is None:
        raise ValueError(f"no kind of step is called {document.get('step')!r}")
    fields = {name: value for name, value in document.items() if name != "step"}
    try:
        step: Step = kind(**{n: tuple(v) if isinstance(v, list) else v for n, v in fields.items()})
    except TypeError as error:
        raise ValueError(f"a step of kind {document['step']} with other fields: {error}") from None
    return step
