"""`hostward explain`: what a check judges, why, and what can be done; without an id, the list of all."""

from __future__ import annotations

import argparse
import textwrap
from typing import Any

from hostward.commands import common, engine_of
from hostward.model import Unavailable


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser("explain", help="say what a check judges and why; without ID, list all")
    parser.add_argument("ids", nargs="*", metavar="ID", help="check ids or globs")
    common(parser)
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    from hostward import remedies
    from hostward.engine import parameter_types, select
    from hostward.facts.known_issues import KnownIssues

    engine = engine_of(arguments)
    known = engine.fact("KnownIssues")
    if isinstance(known, KnownIssues) and arguments.ids and all(known.get(id) for id in arguments.ids):
        from hostward.commands import known_issues

        # an issue's id says as much as a check's: told by the command that lists them
        arguments.release, arguments.all = "", True
        return known_issues.main(arguments)
    chosen = select(arguments.ids)
    if isinstance(known, Unavailable):
        if arguments.format == "text":
            print(f"(known issues can't be read: {known.reason})\n")
        known = KnownIssues(())
    all_remedies = remedies.load_all()
    if arguments.format == "json":
        from hostward.model import as_json
        from hostward.report.json import dump, envelope

        print(
            dump(
                {
                    **envelope(engine.host),
                    "checks": [
                        {
                            "check": check.id,
                            "title": check.title,
                            "why": check.why,
                            "facts": [kind for _, kind, _ in parameter_types(check.function)],
                            "references": as_json(check.references),
                            "known_issues": as_json(known.of_check(check.id)),
                        }
                        for check in chosen
                    ],
                    "remedies": [{"remedy": r.id, "title": r.title, "choice": r.choice} for r in all_remedies.values()],
                }
            )
        )
        return 0
    if not arguments.ids:
        width = max(len(id) for id in [*(c.id for c in chosen), *all_remedies])
        print("Checks")
        for check in chosen:
            print(f"  {check.id.ljust(width)}  {check.title}")
        print("\nRemedies")
        for remedy in all_remedies.values():
            choice = f"  (fix --choose {remedy.choice})" if remedy.choice else ""
            print(f"  {remedy.id.ljust(width)}  {remedy.title}{choice}")
        return 0
    for number, check in enumerate(chosen):
        if number:
            print()
        print(f"{check.id}: {check.title}")
        if check.why:
            print(f"\n{check.why}")
        print(f"\nReads: {', '.join(kind for _, kind, _ in parameter_types(check.function)) or 'nothing'}")
        for reference in check.references:
            print(f"See:   {reference.text}  {reference.url}".rstrip())
        for issue in known.of_check(check.id):
            print(f"\nKnown issue of {issue.product} {issue.release} ({issue.section}): {issue.title}")
            for paragraph in (issue.happens, issue.advice):
                print(textwrap.fill(paragraph, 100, initial_indent="  ", subsequent_indent="  "))
    return 0
