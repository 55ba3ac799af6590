"""`hostward compare`: two hosts' facts side by side, and whether the guests of each would migrate to the other."""

from __future__ import annotations

import argparse
import os
from typing import Any

from hostward.commands import common, engine_of, paint_of
from hostward.host import Host, HostError

_FILE_MAX = 256 << 20


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser("compare", help="would guests migrate between two hosts, by their facts?")
    parser.add_argument("a", metavar="A", help="what `hostward facts --format json` printed on a host")
    parser.add_argument(
        "b", metavar="B", nargs="?", default="", help="the same of another; this running host if left out"
    )
    common(parser)
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    from hostward.compare import compare

    names = (arguments.a, arguments.b or "this host")
    sides = (_read(arguments.a), _read(arguments.b) if arguments.b else _observed(arguments))
    found = compare(*sides)
    from hostward.report import compare as report

    if arguments.format == "json":
        from hostward.report.json import dump

        print(dump(report.document(found, names)))
    else:
        for line in report.lines(found, names, paint_of(arguments)):
            print(line)
    return found.status


def _read(path: str) -> dict[str, Any]:
    """The facts of a file.  Raises HostError where it holds none."""
    import json

    try:
        document = json.loads(Host.running().read(os.path.abspath(path), _FILE_MAX))
    except (ValueError, RecursionError) as error:
        raise HostError(path, f"is not JSON: {error}") from None
    facts = document.get("facts") if isinstance(document, dict) else None
    if not isinstance(facts, dict):
        raise HostError(path, "holds no facts: it must be what `hostward facts --format json` prints")
    return facts


def _observed(arguments: argparse.Namespace) -> dict[str, Any]:
    from hostward.compare import FACTS
    from hostward.model import as_json

    engine = engine_of(arguments)
    return {name: as_json(engine.fact(name)) for name in FACTS}
