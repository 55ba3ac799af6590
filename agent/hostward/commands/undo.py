"""`hostward undo`: take a repair back, the last one or the one with this number."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hostward.host import Host
    from hostward.host.journal import Entry

UNDONE, LEFT, REFUSED = 0, 1, 3


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser("undo", help="take a repair back")
    parser.add_argument(
        "number", nargs="?", type=int, metavar="NUMBER", help="as `hostward log` tells it; the last one by default"
    )
    parser.add_argument("--dry-run", action="store_true", help="only show what would be taken back")
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    from hostward.commands.fix import _report
    from hostward.host import Host, HostError
    from hostward.remedies.executor import begun, cant_undo, show
    from hostward.repair import journal_of, lock_of, undo
    from hostward.report.text import safe

    host = Host.running()
    if os.geteuid() != 0:
        print("hostward: undoing needs root; nothing was changed", file=sys.stderr)
        return REFUSED
    try:
        with lock_of(host, "undo", 30.0, lambda holder: print(f"waiting for {safe(holder)}", file=sys.stderr)):
            entry = journal_of(host).entry(arguments.number) if arguments.number is not None else _last(host)
            if entry is None:
                print("Nothing to undo: no repair is in force.")
                return UNDONE
            steps = list(begun(entry))
            print(f"Repair {entry.number}: {safe(str(entry.records[0].get('title')))}")
            if not steps:
                print("Nothing of it is in force.")
                return UNDONE
            if arguments.dry_run:
                for one in reversed(steps):
                    print(f"  would take back  {safe(show(one.step))}")
                for reason in cant_undo(entry):
                    print(f"  {safe(reason)}")
                return LEFT
            whole = undo(host, entry, _report)
    except HostError as error:
        print(f"hostward: {safe(str(error))}", file=sys.stderr)
        return REFUSED
    print("It is as it was before." if whole else "Not all of it could be taken back; see above.")
    return UNDONE if whole else LEFT


def _last(host: Host) -> Entry | None:
    """The newest repair that has a step in force."""
    from hostward.host import HostError
    from hostward.remedies.executor import begun
    from hostward.repair import journal_of

    for entry in journal_of(host).entries():
        try:
            if any(True for _ in begun(entry)):
                return entry
        except HostError:
            continue
    return None
