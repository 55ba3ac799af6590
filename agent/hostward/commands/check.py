"""`hostward check`: judge a host and say what is wrong."""

from __future__ import annotations

import argparse
import time
from typing import Any

from hostward.commands import common, engine_of, paint_of


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser("check", help="judge this host, or the one in --root DIR")
    parser.add_argument("ids", nargs="*", metavar="ID", help="check ids or globs such as 'clock.*'; all by default")
    common(parser, ("text", "json", "prometheus"))
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    from hostward.engine import exit_status, select

    engine = engine_of(arguments)
    started = time.monotonic()
    results = engine.check(select(arguments.ids))
    status = exit_status(results)
    if arguments.format == "json":
        from hostward.report.json import check_document, dump

        print(dump(check_document(engine.host, results, status)))
    elif arguments.format == "prometheus":
        from hostward.report import prometheus

        measures = prometheus.gather(engine.facts)
        print(prometheus.text(results, measures, time.time(), time.monotonic() - started), end="")
    else:
        from hostward.report import text

        for line in text.lines(results, paint_of(arguments), engine.config.evidence_lines):
            print(line)
        print(f"\n{text.summary(results)}")
    return status
