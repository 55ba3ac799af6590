"""`hostward status`: what the daemon found last, at once and without looking at the machine."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from hostward.host.state import DIRECTORY, FALLBACK, State

if TYPE_CHECKING:
    from hostward.host.state import Picture

COULD_NOT_TELL = 3
_STATUS = {"ok": 0, "warning": 1, "error": 2}


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser("status", help="tell what the daemon found last, and how old that is")
    parser.add_argument("--all", action="store_true", help="also the checks that passed or do not apply")
    parser.add_argument("--state", metavar="DIR", default="", help=f"where the state is, instead of {DIRECTORY}")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--color", choices=("auto", "always", "never"), default="auto")
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    import sys

    from hostward.host import liveness
    from hostward.host.moment import now
    from hostward.report import status as report

    picture, _ = latest(arguments.state)
    run = picture.run
    assert run is not None
    moment = now()
    pid, started = run.document.get("daemon", 0), run.document.get("daemon_started", 0)
    daemon_runs = run.when.same_boot(moment) and liveness.runs(int(pid), int(started))
    status = COULD_NOT_TELL
    if not report.stale(run, moment):
        status = _STATUS.get(str(run.document.get("severity")), COULD_NOT_TELL)
    if arguments.format == "json":
        from hostward.report.json import dump

        print(dump(report.document(picture, run, moment, daemon_runs, status)))
    else:
        from hostward.report.text import painter

        for line in report.lines(
            picture, run, moment, daemon_runs, arguments.all, painter(sys.stdout, arguments.color)
        ):
            print(line)
    return status


def latest(directory: str) -> tuple[Picture, State]:
    """The state that was written last: the daemon keeps it in /run while /var can't be written.

    Raises HostError where there is none.
    """
    from hostward.host import HostError, Missing

    found: list[tuple[Picture, State]] = []
    trouble: list[HostError] = []
    for place in [directory] if directory else [DIRECTORY, FALLBACK]:
        state = State.at(place)
        try:
            picture = state.picture()
            if picture.run is None:
                raise Missing(state.path, "holds no judgement yet: the daemon's first one is under way, or never ended")
            found.append((picture, state))
        except HostError as error:
            trouble.append(error)
    if not found:
        raise trouble[0]
    if len(found) == 2:
        one, two = found[0][0].run, found[1][0].run
        assert one is not None and two is not None
        # /run is of this boot alone.
        if not one.when.same_boot(two.when) or two.when.up > one.when.up:
            return found[1]
    return found[0]
