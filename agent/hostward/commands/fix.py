"""`hostward fix`: show the steps that would make failing checks pass, ask, apply them, and check again."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from hostward.commands import common, engine_of, paint_of

if TYPE_CHECKING:
    from hostward.engine import Engine
    from hostward.model import Remedy, Result
    from hostward.remedies.executor import Applied

DONE, LEFT, REFUSED = 0, 1, 3


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser("fix", help="make failing checks pass: shows the steps, asks, applies, checks again")
    parser.add_argument("ids", nargs="*", metavar="ID", help="check ids or globs; all by default")
    parser.add_argument("--dry-run", action="store_true", help="only show the steps")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--choose",
        metavar="WAY",
        action="append",
        default=[],
        help="another way than the default, e.g. disable-hwclock",
    )
    common(parser, formats=("text",))
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    from hostward import remedies
    from hostward.engine import select
    from hostward.remedies.executor import apply
    from hostward.report import text

    engine = engine_of(arguments)
    known = remedies.load_all()
    ways = {kind.choice for kind in known.values() if kind.choice}
    for way in arguments.choose:
        if way not in ways:
            raise LookupError(f"--choose {way}: no remedy is called so; known: {', '.join(sorted(ways))}")
    selected = select(arguments.ids)
    before = engine.check(selected)
    for line in text.lines(before, paint_of(arguments), engine.config.evidence_lines):
        print(line)
    plans, left = _plans(engine, before, arguments.choose)
    print()
    for line in left:
        print(f"left to you: {text.safe(line)}")
    if not plans:
        nothing = not any(result.findings for result in before)
        if not left:
            print("Nothing to repair." if nothing else "No remedy is known for what was found; see the advice above.")
        return _verdict(before, before)
    _show(plans)
    if arguments.dry_run:
        print("\nDry run: nothing was changed.")
        return LEFT
    refusal = _refusal(engine, arguments.yes)
    if refusal:
        print(f"hostward: {refusal}", file=sys.stderr)
        return REFUSED
    for plan in plans:
        print(f"\n{plan.title}")
        apply(engine.host, plan, _report)
    engine.forget()
    after = engine.check(selected)
    print("\nChecked again:")
    for line in text.lines(after, paint_of(arguments), engine.config.evidence_lines):
        print(line)
    print(f"\n{text.summary(after)}")
    return _verdict(before, after)


def _plans(engine: Engine, results: list[Result], choose: list[str]) -> tuple[list[Remedy], list[str]]:
    """The remedies to apply, each once, and a line for each finding that none fits, with why."""
    from hostward.remedies import REMEDIES, NoRemedy

    plans: dict[str, Remedy] = {}
    left: list[str] = []
    for result in results:
        for finding in result.findings:
            ways = [REMEDIES[id] for id in finding.remedies]
            chosen = [kind for kind in ways if kind.choice in choose] or [kind for kind in ways if not kind.choice]
            for kind in chosen[:1]:
                try:
                    plans.setdefault(kind.id, engine.plan(kind.id))
                except NoRemedy as error:
                    left.append(f"{result.check}: {error.reason}")
    return list(plans.values()), list(dict.fromkeys(left))


def _show(plans: list[Remedy]) -> None:
    from hostward.remedies.executor import show
    from hostward.report.text import safe

    print("To be done:")
    for plan in plans:
        print(f"  {plan.title}  [{plan.id}]")
        if plan.why:
            print(f"    because {safe(plan.why)}")
        for step in plan.steps:
            print(f"      {safe(show(step))}")


def _refusal(engine: Engine, yes: bool) -> str:
    """Why nothing may be applied, or "" after a yes."""
    if not engine.host.live:
        return "a tree looked at through --root is never changed; --dry-run shows the steps"
    if os.geteuid() != 0:
        return "repairing needs root; nothing was changed"
    if yes:
        return ""
    if not sys.stdin.isatty():
        return "nobody to ask on standard input; say --yes to apply these steps. Nothing was changed"
    try:
        answer = input("\nApply these steps? [y/N] ").strip().lower()
    except EOFError:
        answer = ""
    return "" if answer in ("y", "yes") else "not applied, as you said"


def _report(applied: Applied) -> None:
    from hostward.remedies.executor import show
    from hostward.report.text import safe

    print(f"  {'done  ' if applied.done else 'FAILED'} {safe(show(applied.step))}")
    for line in applied.said.splitlines()[:5]:
        print(f"         {safe(line)}")


def _verdict(before: list[Result], after: list[Result]) -> int:
    """Whether what was found is now true: no warning or error is left, and nothing that was found went blind."""
    from hostward.model import Outcome, Severity

    found = {result.check for result in before if result.findings}
    for result in after:
        if (result.severity or Severity.INFO) > Severity.INFO or result.outcome is Outcome.FAILED:
            return LEFT
        if result.outcome is Outcome.SKIPPED and result.check in found:
            return LEFT
    return DONE
