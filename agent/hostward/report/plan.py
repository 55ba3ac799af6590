"""Plans of repairs for whoever else applies them: JSON (config/schema/plan.schema.json) and a shell script."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hostward import __version__
from hostward.host import Host
from hostward.model import as_json
from hostward.remedies import script as scripts
from hostward.remedies.executor import show
from hostward.remedies.steps import craft_of, encode
from hostward.repair import Plan, Planned
from hostward.report.json import envelope


def document(host: Host, planned: Planned) -> dict[str, Any]:
    return {
        **envelope(host),
        "plans": [_plan(plan) for plan in planned.plans],
        "left": [as_json(line) for line in planned.left],
    }


def _plan(plan: Plan) -> dict[str, Any]:
    return {
        "remedy": plan.remedy.id,
        "title": plan.remedy.title,
        "class": plan.kind.value,
        "why": as_json(plan.remedy.why),
        "ask": as_json(plan.remedy.ask),
        "findings": [{"check": check, "subject": as_json(subject)} for check, subject in plan.findings],
        "steps": [
            {**as_json(encode(step)), "shown": as_json(show(step)), "undoable": not craft_of(step).cant_undo(step)}
            for step in plan.remedy.steps
        ],
        "notes": as_json(plan.remedy.notes),
    }


def script(host: Host, planned: Planned) -> Iterator[str]:
    """What only a person does stands in it as comments."""
    where = "this host" if host.live else f"the host in {host.root} (run it inside, by chroot)"
    yield from scripts.script(
        [(p.remedy, _reasons(p)) for p in planned.to_apply],
        f"What hostward {__version__} would do on {where}.",
    )
    for plan in planned.advice:
        yield ""
        yield from scripts.comment(f"For you to do: {plan.remedy.title}  [{plan.remedy.id}]")
        for line in (*_reasons(plan), plan.remedy.why, *(show(step) for step in plan.remedy.steps)):
            yield from scripts.comment(f"  {line}")
    for line in planned.left:
        yield ""
        yield from scripts.comment(f"Left to you: {line}")


def _reasons(plan: Plan) -> list[str]:
    return [f"for {check}: {subject}" if subject else f"for {check}" for check, subject in plan.findings]
