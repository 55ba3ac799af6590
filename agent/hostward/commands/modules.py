"""`hostward modules`: which modules load on which installed kernel, and why not."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from hostward.commands import common, engine_of, paint_of
from hostward.model import Unavailable

if TYPE_CHECKING:
    from hostward.engine import Engine
    from hostward.facts.module_matrix import Row
    from hostward.report.matrix import Column


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "modules",
        help="say which kernel modules load on which installed kernel, and why not",
        epilog="Exit status: 0 all load, 2 something fails, 3 could not tell.",
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="NAME|FILE|PACKAGE",
        help="modules by name or alias, files, packages; by default every module outside the kernels' own trees",
    )
    parser.add_argument(
        "--kernel",
        metavar="KERNEL",
        action="append",
        default=[],
        help="running, next, all (the default) or a release",
    )
    common(parser)
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    from hostward.facts import module_matrix
    from hostward.report import matrix

    engine = engine_of(arguments)
    columns = _columns(engine, arguments.kernel)
    trees, judges = _fact(engine, "ModuleTrees"), _fact(engine, "Judges")
    releases = [column.release for column in columns]
    rows: list[Row] = []
    if arguments.words:
        rows = [module_matrix.by_name(w.replace("-", "_"), releases, trees, judges) for w in arguments.words]
    else:
        rows = module_matrix.out_of_tree(releases, trees, judges)
    if not rows:
        print("No module lies outside the kernels' own trees.")
        return 0
    paint = paint_of(arguments)
    for line in matrix.table(rows, columns, paint, 80):
        print(line)
    print()
    for line in matrix.causes(rows, paint, engine.config.evidence_lines):
        print(line)
    print(f"\n{matrix.summary(rows, len(columns))}")
    return _status(rows)


def _fact(engine: Engine, name: str) -> Any:
    """A fact without which nothing can be said.  Raises LookupError with the reason."""
    value = engine.fact(name)
    if isinstance(value, Unavailable):
        raise LookupError(value.reason)
    return value


def _columns(engine: Engine, wanted: list[str]) -> list[Column]:
    """The kernels to judge on, newest first.  Raises LookupError for one that is not there."""
    import hostward.facts.next_kernel  # noqa: F401
    from hostward.report.matrix import Column

    kernels = _fact(engine, "Kernels")
    marks: dict[str, list[str]] = {}
    named: dict[str, str] = {}
    for word, kind in (("running", "RunningKernel"), ("next", "NextKernel")):
        value = engine.fact(kind)
        if not isinstance(value, Unavailable):
            named[word] = value.release
            marks.setdefault(value.release, []).append(word)
        elif word in wanted:
            raise LookupError(f"--kernel {word}: {value.reason}")
    there = [kernel.release for kernel in kernels.installed]
    if not there:
        raise LookupError("no kernel is installed here: nothing to judge modules by")
    if not wanted or "all" in wanted:
        chosen = there
    else:
        asked = [named.get(word, word) for word in wanted]
        for release in asked:
            if release not in there:
                import difflib

                near = difflib.get_close_matches(release, there, 3, 0.3) or there[:3]
                raise LookupError(f"no kernel {release} is installed: there are {', '.join(near)}")
        chosen = [release for release in there if release in asked]
    return [Column(release, tuple(marks.get(release, ()))) for release in chosen]


def _status(rows: list[Row]) -> int:
    states = {cell.state for row in rows for cell in row.cells}
    return 2 if "fails" in states else 3 if "unknown" in states else 0
