"""What changed when, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from hostward import __version__
from hostward.host.moment import Moment, date_words, span_words
from hostward.host.state import Transition
from hostward.model import as_json
from hostward.report.status import moment
from hostward.report.text import Paint, safe

SCHEMA = 1
#: By how much the wall clock may run apart from the time since boot between two lines before that is told, in seconds.
_STEP_S = 5.0
_COLOURS = {"error": "error", "warning": "warn", "info": "info"}


def lines(transitions: Iterable[Transition], now: Moment, paint: Paint) -> Iterator[str]:
    """A line each, in the order of their happening, which is not always that of their dates: where the clock was set
    or the machine booted between two, a line says so."""
    transitions = list(transitions)
    width = max((len(t.check) for t in transitions), default=0)
    before: Moment | None = None
    for t in transitions:
        if before is not None:
            yield from _between(before, t.when, paint)
        before = t.when
        word = t.what.ljust(13)
        severity = paint(t.severity.ljust(7), _COLOURS.get(t.severity, "dim"))
        why = str(t.document.get("why", ""))
        because = f" ({safe(why)})" if why else ""
        head = f"{date_words(t.when.at)}  {word}  {severity}  {t.check.ljust(width)}"
        yield f"{head}  {safe(t.summary)}{because}".rstrip()
    if before is not None:
        yield from _between(before, now, paint)


def _between(one: Moment, two: Moment, paint: Paint) -> Iterator[str]:
    if not one.same_boot(two):
        yield paint("-- boot --" if two.at >= one.at else "-- boot; by the clock before what stands above --", "dim")
        return
    step = (two.at - one.at) - (two.up - one.up)
    if abs(step) > _STEP_S:
        yield paint(f"-- the clock was set {'forward' if step > 0 else 'back'} by {span_words(abs(step))} --", "dim")


def document(transitions: Iterable[Transition]) -> dict[str, Any]:
    """As config/schema/history.schema.json describes it."""
    return {
        "schema": SCHEMA,
        "hostward": __version__,
        "transitions": [
            {
                "id": t.id,
                "when": moment(t.when),
                "check": as_json(t.check),
                "subject": as_json(t.subject),
                "what": t.what,
                "severity": t.severity,
                "summary": as_json(t.summary),
                "detail": as_json(t.document),
            }
            for t in transitions
        ],
    }
