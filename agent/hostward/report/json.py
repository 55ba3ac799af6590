"""The report for programs: versioned, described by config/schema/check.schema.json."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hostward import __version__
from hostward.host import Host
from hostward.model import Result, as_json
from hostward.report.text import counts

SCHEMA = 1


def envelope(host: Host) -> dict[str, Any]:
    """What every document of hostward's begins with."""
    return {"schema": SCHEMA, "hostward": __version__, "host": {"root": as_json(host.root), "live": host.live}}


def check_document(host: Host, results: Iterable[Result], status: int) -> dict[str, Any]:
    results = list(results)
    return {
        **envelope(host),
        "status": status,
        "summary": counts(results),
        "results": [{**as_json(r), "severity": None if r.severity is None else r.severity.word} for r in results],
    }


def dump(document: dict[str, Any]) -> str:
    import json

    return json.dumps(document, indent=2, ensure_ascii=False)
