"""`hostward facts`: what was observed, before any judgement."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from hostward.commands import common, engine_of
from hostward.model import as_json


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser("facts", help="print what is true of this host, before any judgement")
    parser.add_argument("names", nargs="*", metavar="FACT", help="names of facts such as ClockServices; all by default")
    common(parser)
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    from hostward import facts

    engine = engine_of(arguments)
    known = facts.load_all()
    names = arguments.names or sorted(known)
    for name in names:
        if name not in known:
            import difflib

            near = difflib.get_close_matches(name, known, 1, 0.3)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(known))}"
            raise LookupError(f"no fact is called {name}: {hint}")
    values = {name: as_json(engine.fact(name)) for name in names}
    if arguments.format == "json":
        from hostward.report.json import dump, envelope

        print(dump({**envelope(engine.host), "facts": values}))
        return 0
    from hostward.report.text import safe

    for name, value in values.items():
        print(name)
        for line in _lines(value, 1):
            print(safe(line))
    return 0


def _lines(value: Any, depth: int) -> Iterator[str]:
    """A JSON value as indented lines; an empty or plain one stands behind its key."""
    pad = "  " * depth
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, (dict, list)) and item:
                yield f"{pad}{key}:"
                yield from _lines(item, depth + 1)
            else:
                yield f"{pad}{key}: {_plain(item)}"
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, dict):
                first = True
                for line in _lines(item, depth + 1):
                    yield f"{pad}- {line.lstrip()}" if first else line
                    first = False
            else:
                yield f"{pad}- {_plain(item)}"
    else:
        yield f"{pad}{_plain(value)}"


def _plain(value: Any) -> str:
    if value is None:
        return "(can't be told)"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "(none)" if value in ("", [], {}) else str(value)
