"""The journal of repairs for eyes and for programs (config/schema/log.schema.json)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from hostward import __version__
from hostward.host.journal import Entry
from hostward.model import as_json
from hostward.remedies.steps import decode, show
from hostward.report.text import safe

_WORDS = {
    "helped": "helped",
    "undone": "undone",
    "did-not-help": "did not help",
    "partly-undone": "undone in part",
    "failed": "failed",
    "": "interrupted",
}


def outcome(entry: Entry) -> str:
    """How a repair ended, "" for one that was interrupted."""
    ends = entry.of_kind("end")
    return str(ends[-1].get("outcome", "")) if ends else ""


def _when(record: dict[str, Any]) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(record.get("at", 0))))
    except (ValueError, OverflowError, OSError):
        return "?"


def table(entries: Iterable[Entry]) -> Iterator[str]:
    """A line a repair, oldest first."""
    rows = [("NUMBER", "WHEN", "BY", "OUTCOME", "REPAIR")]
    for entry in entries:
        first = entry.records[0] if entry.records else {}
        word = _WORDS.get(outcome(entry), outcome(entry)) if entry.records else "damaged"
        title = f"{first.get('title', entry.damage)}"
        rows.append((str(entry.number), _when(first) if first else "?", str(first.get("by", "?")), word, title))
    if len(rows) == 1:
        yield "Nothing was ever repaired here."
        return
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        yield safe("  ".join((*(cell.ljust(width) for cell, width in zip(row, widths)), row[4])).rstrip())


def one(entry: Entry) -> Iterator[str]:
    """One repair, record by record."""
    if not entry.records:
        yield safe(entry.damage)
        return
    first = entry.records[0]
    yield safe(f"Repair {entry.number}: {first.get('title')}  [{first.get('remedy')}]")
    yield safe(f"  {_when(first)}  begun by hostward {first.get('by')}")
    for check, subject in first.get("findings", []):
        yield safe(f"    for {check}: {subject}" if subject else f"    for {check}")
    if first.get("why"):
        yield safe(f"    because {first['why']}")
    steps = [_shown(step) for step in first.get("steps", [])]
    for record in entry.records[1:]:
        step = record.get("step")
        name = steps[step] if isinstance(step, int) and 0 <= step < len(steps) else ""
        said = f": {record['said']}" if record.get("said") else ""
        word = {
            "intent": f"about to  {name}",
            "outcome": f"{'done     ' if record.get('done') else 'FAILED   '} {name}{said}",
            "undo": "somebody asked to take it back",
            "undone": f"{'undone   ' if record.get('done') else 'not undone'} {name}{said}",
            "end": f"{_WORDS.get(str(record.get('outcome')), str(record.get('outcome')))}{said}",
        }.get(str(record.get("kind")), str(record.get("kind")))
        yield safe(f"  {_when(record)}  {word}")
    if not outcome(entry):
        yield "  interrupted here: `hostward undo` takes back what was done"
    if entry.damage:
        yield safe(f"  {entry.damage}")


def _shown(document: dict[str, Any]) -> str:
    try:
        return show(decode(document))
    except ValueError as error:
        return str(error)


def document(entries: Iterable[Entry]) -> dict[str, Any]:
    return {
        "schema": 1,
        "hostward": __version__,
        "repairs": [
            {
                "number": entry.number,
                "outcome": outcome(entry) or ("interrupted" if entry.records else "damaged"),
                "damage": as_json(entry.damage),
                "records": as_json(entry.records),
            }
            for entry in entries
        ],
    }
