"""`hostward fix`: show the steps that would make failing checks pass, ask, apply them, and check again."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from hostward.commands import common, engine_of, paint_of

if TYPE_CHECKING:
    from hostward.engine import Engine
    from hostward.model import Result
    from hostward.remedies.executor import Applied
    from hostward.repair import Plan, Planned, Repaired

DONE, LEFT, REFUSED = 0, 1, 3


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser("fix", help="make failing checks pass: shows the steps, asks, applies, checks again")
    parser.add_argument("ids", nargs="*", metavar="ID", help="check ids or globs; all by default")
    parser.add_argument("--dry-run", action="store_true", help="only show the steps")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--unattended",
        action="store_true",
        help="apply only what the configuration lets happen with nobody watching, and do not ask",
    )
    parser.add_argument(
        "--choose",
        metavar="WAY",
        action="append",
        default=[],
        help="another way than the default, e.g. disable-hwclock",
    )
    parser.add_argument("--only", metavar="REMEDY", action="append", default=[], help="no other remedy than this id")
    common(parser, formats=("text", "sh", "json"))
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    from hostward import remedies
    from hostward.engine import select
    from hostward.repair import plans
    from hostward.report import text

    engine = engine_of(arguments)
    _known(arguments, remedies.load_all())
    selected = select(arguments.ids)
    before = engine.check(selected)
    planned = plans(engine, before, arguments.choose, arguments.only)
    if arguments.format != "text":
        # A plan to be read or run by something else: nothing is applied.
        return _hand_over(engine, planned, arguments.format)
    paint = paint_of(arguments)
    for line in text.lines(before, paint, engine.config.evidence_lines):
        print(line)
    print()
    for line in planned.left:
        print(f"left to you: {text.safe(line)}")
    _show(planned.advice, "For you to do, as hostward does not do this by itself:")
    if arguments.unattended and not arguments.dry_run:
        return _unattended(engine, before)
    if not planned.to_apply:
        nothing = not any(result.findings for result in before)
        if not planned.left and not planned.advice:
            print("Nothing to repair." if nothing else "No remedy is known for what was found; see the advice above.")
        return _verdict(before, before)
    _show(planned.to_apply, "To be done:")
    if arguments.dry_run:
        print("\nDry run: nothing was changed.")
        return LEFT
    refusal = _refusal(engine, arguments.yes)
    if refusal:
        print(f"hostward: {refusal}", file=sys.stderr)
        return REFUSED
    status = _apply(engine, planned)
    if status != DONE:
        return status
    engine.forget()
    after = engine.check(selected)
    print("\nChecked again:")
    for line in text.lines(after, paint, engine.config.evidence_lines):
        print(line)
    print(f"\n{text.summary(after)}")
    return _verdict(before, after)


def _known(arguments: argparse.Namespace, known: dict[str, Any]) -> None:
    """Raises LookupError for a way or remedy that there is not."""
    from hostward.yamldoc import nearest

    ways = {kind.choice for kind in known.values() if kind.choice}
    for way in arguments.choose:
        if way not in ways:
            raise LookupError(f"--choose {way}: no remedy is called so; known: {', '.join(sorted(ways))}")
    for id in arguments.only:
        if id not in known:
            raise LookupError(f"--only {id}: no remedy is called so{nearest(id, known)}")


def _hand_over(engine: Engine, planned: Planned, form: str) -> int:
    from hostward.report import plan

    if form == "json":
        from hostward.report.json import dump

        print(dump(plan.document(engine.host, planned)))
    else:
        print("\n".join(plan.script(engine.host, planned)))
    return LEFT if planned.plans or planned.left else DONE


def _apply(engine: Engine, planned: Planned) -> int:
    """Applies the plans in turn, under the lock; DONE when all were begun, whatever became of them."""
    from hostward.host.lock import Held
    from hostward.repair import apply, lock_of
    from hostward.report.text import safe

    def waiting(holder: str) -> None:
        print(f"waiting for {safe(holder)}", file=sys.stderr)

    try:
        with lock_of(engine.host, "fix", engine.config.lock_wait_s, waiting):
            for plan in planned.to_apply:
                print(f"\n{plan.remedy.title}")
                repaired = apply(engine, plan, "fix", _report)
                _tell(repaired)
                if repaired.outcome == "refused":
                    return REFUSED
    except Held as error:
        print(f"hostward: {safe(str(error))}", file=sys.stderr)
        return REFUSED
    return DONE


def _unattended(engine: Engine, before: list[Result]) -> int:
    from hostward.repair import unattended

    refusal = _refusal(engine, True)
    if refusal:
        print(f"hostward: {refusal}", file=sys.stderr)
        return REFUSED
    made = unattended(engine, before, "unattended", _report)
    for repaired in made:
        print(f"{repaired.plan.remedy.title}")
        _tell(repaired)
    if not made:
        print("Nothing here may be repaired with nobody watching (repair.classes in the configuration).")
    engine.forget()
    from hostward.engine import select

    return _verdict(before, engine.check(select([result.check for result in before])))


def _tell(repaired: Repaired) -> None:
    from hostward.report.text import safe

    number = f"  repair {repaired.number}: " if repaired.number else "  "
    words = {"helped": "it helped", "did-not-help": "it did not help", "undone": "it did not help"}
    said = f": {repaired.said}" if repaired.said else ""
    print(safe(f"{number}{words.get(repaired.outcome, repaired.outcome)}{said}"))
    if repaired.outcome == "helped":
        for note in repaired.plan.remedy.notes:
            print(safe(f"  still to be done: {note}"))


def _show(plans: tuple[Plan, ...], title: str) -> None:
    from hostward.remedies.executor import show
    from hostward.report.text import safe

    if not plans:
        return
    print(title)
    for plan in plans:
        print(f"  {plan.remedy.title}  [{plan.remedy.id}]")
        if plan.remedy.why:
            print(f"    because {safe(plan.remedy.why)}")
        if plan.remedy.ask:
            print(f"    only when it is asked for: {safe(plan.remedy.ask)}")
        for step in plan.remedy.steps:
            print(f"      {safe(show(step))}")
        for note in plan.remedy.notes:
            print(f"    then: {safe(note)}")


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

    word = "FAILED" if not applied.done else "undone" if applied.back else "done  "
    print(f"  {word} {safe(show(applied.step))}")
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
