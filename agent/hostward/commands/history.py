"""`hostward history`: what appeared, changed and went, and when."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hostward.host.state import DIRECTORY, TRANSITIONS_MAX

if TYPE_CHECKING:
    from hostward.host.moment import Moment

_SPAN = re.compile(r"(\d{1,9})\s*(s|min|h|d|w)")
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DATES = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d")


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser("history", help="tell what appeared, changed and went, and when")
    parser.add_argument("id", nargs="?", default="*", metavar="ID", help="a check's id or a glob such as 'clock.*'")
    parser.add_argument(
        "--since", type=_since, metavar="WHEN", help="a span back from now (30min, 2h, 3d) or a date (2026-11-23 14:00)"
    )
    parser.add_argument("-n", type=int, default=100, metavar="COUNT", help="the last COUNT (100)")
    parser.add_argument("--state", metavar="DIR", default="", help=f"where the state is, instead of {DIRECTORY}")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--color", choices=("auto", "always", "never"), default="auto")
    parser.set_defaults(main=main)


def _since(text: str) -> Callable[[Moment, Moment], bool]:
    """Whether an instant counts, given now.  A span goes by the time since boot where it can, so that a step of the
    clock does not hide anything; a date goes by the dates as they were written."""
    span = _SPAN.fullmatch(text.strip())
    if span:
        seconds = int(span.group(1)) * _SECONDS[span.group(2)]
        return lambda when, now: when.age_s(now) <= seconds
    from datetime import datetime

    for form in _DATES:
        try:
            at = datetime.strptime(text.strip(), form).timestamp()
        except (ValueError, OverflowError, OSError):
            continue
        return lambda when, now: when.at >= at
    raise argparse.ArgumentTypeError(
        f"{text}: neither a span such as 30min, 2h, 3d nor a date such as 2026-11-23 14:00"
    )


def main(arguments: argparse.Namespace) -> int:
    import sys

    from hostward.commands.status import latest
    from hostward.host.moment import now
    from hostward.report import history as report

    _, state = latest(arguments.state)
    moment = now()
    count = max(arguments.n, 0)
    found = state.transitions(arguments.id, TRANSITIONS_MAX if arguments.since else count)
    if arguments.since:
        found = [t for t in found if arguments.since(t.when, moment)]
    found = found[len(found) - min(count, len(found)) :]
    if arguments.format == "json":
        from hostward.report.json import dump

        print(dump(report.document(found)))
    else:
        from hostward.report.text import painter

        if not found:
            print("Nothing is known to have changed.")
        for line in report.lines(found, moment, painter(sys.stdout, arguments.color)):
            print(line)
    return 0
