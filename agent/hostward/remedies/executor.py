"""The one place that changes a machine: applies the steps of a remedy and takes them back, with a journal of both.

Before a step acts, what it will change is saved and its intent is on disk; after it, its outcome.  Whatever instant
a kill comes at, the journal tells which steps may have been done and what stood there before, and taking back a step
that was never done changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from hostward.host import Host, HostError
from hostward.host.journal import Entry
from hostward.model import LoadModule, RebuildModuleMap, Remedy, Step
from hostward.remedies.steps import CantUndo, craft_of, decode, encode, show


@dataclass(frozen=True)
class Applied:
    """What became of one step.  `done` is False for one that failed; `back`: it was taken back, not done."""

    step: Step
    done: bool
    said: str = ""
    back: bool = False


Report = Callable[[Applied], None]


def begin(host: Host, remedy: Remedy, **fields: Any) -> Entry:
    """A journal entry for a remedy that is about to be applied; the caller holds the lock.  Raises HostError."""
    from hostward.host.journal import Journal

    journal = Journal(f"{host.state_directory}/repairs")
    return journal.begin(
        remedy=remedy.id, title=remedy.title, why=remedy.why, steps=[encode(step) for step in remedy.steps], **fields
    )


def apply(host: Host, remedy: Remedy, entry: Entry, report: Report) -> bool:
    """Applies the steps in order and reports each; stops at the first that fails.  Whether all were done.

    What a program says of itself is not the proof: the caller runs the check again.
    """
    for number, step in enumerate(remedy.steps):
        craft = craft_of(step)
        try:
            saved = craft.save(host, step, lambda data, number=number: entry.keep(number, data))  # type: ignore[misc]
            entry.add("intent", step=number, saved=saved)
            try:
                said = craft.do(host, step, saved)
            except HostError as error:
                # A program that failed may have done half of it: what is there now is recorded all the same.
                entry.add("outcome", step=number, done=False, said=str(error), left=craft.left(host, step, saved))
                raise
            entry.add("outcome", step=number, done=True, said=said, left=craft.left(host, step, saved))
        except HostError as error:
            report(Applied(step, False, str(error)))
            if not (isinstance(step, LoadModule) and step.optional):
                return False
        else:
            report(Applied(step, True, said))
    return True


def close(entry: Entry, outcome: str, said: str = "") -> None:
    """Writes how a repair ended.  A full disk does not turn a repair that was made into an error."""
    try:
        entry.add("end", outcome=outcome, said=said)
    except HostError:
        pass


@dataclass(frozen=True)
class Begun:
    """A step whose intent is in the journal and that was not taken back yet; `left` is None where a kill came before
    its outcome was written."""

    number: int
    step: Step
    saved: dict[str, Any]
    left: dict[str, Any] | None
    done: bool


def begun(entry: Entry) -> Iterator[Begun]:
    """The steps that may have changed something, in the order they were begun.  Raises HostError for a journal that
    can't be made out."""
    if not entry.records:
        raise HostError(entry.name, entry.damage or "is empty")
    steps = entry.records[0].get("steps", [])
    back = {record.get("step") for record in entry.of_kind("undone") if record.get("done")}
    outcomes = {record.get("step"): record for record in entry.of_kind("outcome")}
    for record in entry.of_kind("intent"):
        try:
            number = int(record["step"])
            if number in back:
                continue
            step = decode(steps[number])
            outcome = outcomes.get(number)
            left = None if outcome is None else dict(outcome.get("left") or {})
            yield Begun(number, step, dict(record["saved"]), left, outcome is None or bool(outcome["done"]))
        except (ValueError, LookupError, TypeError) as error:
            raise HostError(entry.name, f"step {record.get('step')} can't be made out: {error}") from None


def cant_undo(entry: Entry) -> list[str]:
    """Why some step of it can't be taken back, none where all can."""
    return [reason for one in begun(entry) for reason in (craft_of(one.step).cant_undo(one.step),) if reason]


def undo(host: Host, entry: Entry, report: Report) -> bool:
    """Takes back what was done, the last step first, and reports each.  Whether all of it was.

    What somebody else changed since is left as it is and reported; the other steps are taken back all the same.
    depmod is run once a kernel at the end, when the files are as they were.
    """
    steps = list(begun(entry))[::-1]
    maps = {one.step.release: one for one in steps if isinstance(one.step, RebuildModuleMap)}
    order = [one for one in steps if not isinstance(one.step, RebuildModuleMap)] + list(maps.values())
    whole = True
    for one in order:
        craft = craft_of(one.step)
        done, said = True, ""
        try:
            said = craft.undo(host, one.step, one.saved, one.left, entry.kept)
        except CantUndo as why:
            done, said = False, why.reason
        except (HostError, LookupError, TypeError) as error:
            done, said = False, str(error)
        for same in [other for other in steps if other is one or (other.step == one.step and one in maps.values())]:
            try:
                entry.add("undone", step=same.number, done=done, said=said)
            except HostError as error:
                # Taking back a step twice changes nothing, so a full disk does not keep the others from it.
                said = f"{said}; {error}" if said else str(error)
        report(Applied(one.step, done, said, back=True))
        whole = whole and done
    return whole


__all__ = ["Applied", "Begun", "Report", "apply", "begin", "begun", "cant_undo", "close", "show", "undo"]
