"""`hostward watch`: the daemon. It judges this host when something changes, and repairs what it may."""

from __future__ import annotations

import argparse
import sys
from typing import Any

ALREADY = 3


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser("watch", help="the daemon: judge when something changes, repair what it may")
    parser.add_argument("--config", metavar="FILE", default="", help="instead of the installed configuration")
    parser.add_argument("--no-repair", action="store_true", help="judge and tell, repair nothing")
    parser.add_argument("--once", action="store_true", help="one judgement, with its exit status as check has it")
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    from hostward.host.lock import Held, Lock
    from hostward.host.place import runtime_directory

    options: dict[str, Any] = {"no_repair": arguments.no_repair}
    if arguments.config:
        options["config"] = arguments.config
    try:
        with Lock("watch", path=f"{runtime_directory()}/watch.lock"):
            if arguments.once:
                return _once(options)
            from hostward.daemon.loop import Daemon

            return Daemon(options).run()
    except Held as error:
        print(f"hostward: {error.reason.partition('; ')[0].replace(' holds it', ' runs already')}", file=sys.stderr)
        return ALREADY


def _once(options: dict[str, Any]) -> int:
    from hostward.daemon.judge import run

    answer = run({**options, "events": ["all"], "reason": "asked to judge once", "first": False})
    print(answer["status"])
    return {"ok": 0, "warning": 1, "error": 2}.get(str(answer["severity"]), 3)
