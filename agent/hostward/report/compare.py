"""A comparison of two hosts, for people and for programs (config/schema/compare.schema.json)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hostward import __version__
from hostward.compare import Comparison, Move, Row
from hostward.model import as_json
from hostward.report.json import SCHEMA
from hostward.report.text import Paint, safe

_WORDS = {"yes": "would migrate", "with care": "would migrate, with care", "no": "would NOT migrate"}
_COLOURS = {"yes": "passed", "with care": "warning", "no": "error", "unknown": "skipped"}
_CELL_MAX = 48


def document(found: Comparison, names: tuple[str, str]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "hostward": __version__,
        "a": as_json(names[0]),
        "b": as_json(names[1]),
        "status": found.status,
        "rows": as_json(found.rows),
        "notes": as_json(found.notes),
        "guests": [{**as_json(move), "verdict": move.verdict} for move in found.moves],
        "unknown": as_json(found.unknown),
    }


def lines(found: Comparison, names: tuple[str, str], paint: Paint) -> Iterator[str]:
    """The properties as a table, differences marked, then each guest with what speaks against its move."""
    rows = (Row("", f"a: {names[0]}", f"b: {names[1]}", True), *found.rows)
    table = [(safe(row.what), safe(row.a) or "?", safe(row.b) or "?") for row in rows]
    widths = [min(_CELL_MAX, max(len(line[at]) for line in table)) for at in (0, 1)]
    for (what, a, b), same in zip(table, (row.same for row in rows)):
        mark = " " if same else "?" if same is None else "*"
        text = f"{mark} {what.ljust(widths[0])}  {a.ljust(widths[1])}  {b}".rstrip()
        yield paint(text, "warning") if same is False else text
    if found.notes:
        yield ""
    for note in found.notes:
        yield f"{paint(note.severity.word.upper(), note.severity.word)}  {safe(note.text)}"
    for reason in found.unknown:
        yield f"can't be told of {safe(reason)}"
    for to in ("b", "a"):
        moves = [move for move in found.moves if move.to == to]
        if moves:
            yield ""
            yield f"guests of {'a' if to == 'b' else 'b'}, to {to}:"
        for move in moves:
            yield from _move(move, paint)
    if not found.moves:
        yield "neither host has guests"


def _move(move: Move, paint: Paint) -> Iterator[str]:
    word = _WORDS.get(move.verdict, "can't be told")
    state = "running" if move.running else "not running"
    yield f"  {safe(move.guest)} ({state}): {paint(word, _COLOURS[move.verdict])}"
    for reason in move.reasons:
        yield f"      {reason.severity.word}: {safe(reason.text)}"
    for text in move.unknown:
        yield f"      can't be told: {safe(text)}"
