"""`hostward clock`: the clock on one screen: who keeps it, how right it is, how fast it runs away."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from hostward.commands import common, engine_of, paint_of

#: The facts that make the picture, in the order they are told.
FACTS = ("ClockServices", "KeeperStates", "KernelClock", "ClockSource", "PtpReading", "RtcReading", "AdjtimeFile",
         "ClockSetAtBoot", "ClockDrift")  # fmt: skip


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser("clock", help="the clock on one screen: who keeps it, how right it is, its drift")
    parser.add_argument("--watch", action="store_true", help="look again and again until interrupted")
    parser.add_argument("--interval", type=_seconds, default=10.0, metavar="S", help="seconds between looks (10)")
    common(parser)
    parser.set_defaults(main=main)


def _seconds(text: str) -> float:
    value = float(text)
    if not 1 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"{text}: from 1 to 86400 seconds")
    return value


def main(arguments: argparse.Namespace) -> int:
    from hostward.engine import exit_status, select
    from hostward.report import clock as report

    engine = engine_of(arguments)
    checks = select(["clock.*"])
    paint = paint_of(arguments)
    while True:
        engine.forget()
        facts = {name: engine.fact(name) for name in FACTS}
        results = engine.check(checks)
        status = exit_status(results)
        if arguments.format == "json":
            from hostward.report.json import dump

            print(dump(report.document(engine.host, facts, results, status)), flush=True)
        else:
            _clear(arguments.watch)
            for line in report.lines(facts, results, paint):
                print(line)
            sys.stdout.flush()
        if not arguments.watch or not engine.host.live:
            return status
        try:
            time.sleep(arguments.interval)
        except KeyboardInterrupt:
            return status


def _clear(watch: bool) -> None:
    """A fresh screen on a terminal, a blank line between looks elsewhere."""
    if watch and sys.stdout.isatty():
        print("\x1b[H\x1b[2J", end="")
    elif watch:
        print()
