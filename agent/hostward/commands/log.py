"""`hostward log`: what was repaired, when, by whom and what became of it."""

from __future__ import annotations

import argparse
from typing import Any


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser("log", help="tell what was repaired, and what became of it")
    parser.add_argument("number", nargs="?", type=int, metavar="NUMBER", help="one repair, step by step")
    parser.add_argument("-n", type=int, metavar="COUNT", default=20, help="the last COUNT repairs (20)")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    from hostward.host import Host
    from hostward.repair import journal_of
    from hostward.report import log

    journal = journal_of(Host.running())
    if arguments.number is not None:
        entries = [journal.entry(arguments.number)]
    else:
        entries = [journal.entry(number) for number in journal.numbers()[-max(arguments.n, 0) :]]
    if arguments.format == "json":
        from hostward.report.json import dump

        print(dump(log.document(entries)))
        return 0
    for line in log.one(entries[0]) if arguments.number is not None else log.table(entries):
        print(line)
    return 0
