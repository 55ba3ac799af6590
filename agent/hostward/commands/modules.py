"""`hostward modules`: which modules load on which installed kernel, and why not."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hostward.commands import common, engine_of, paint_of
from hostward.model import Unavailable

if TYPE_CHECKING:
    from hostward.engine import Engine
    from hostward.facts.module_matrix import Cell, Matrix, Row
    from hostward.facts.module_story import Story
    from hostward.facts.packages import Packages
    from hostward.report.matrix import Column

LOAD, FAIL, COULD_NOT_TELL = 0, 2, 3


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
        help="running, next, all (the default) or a release; may be given several times",
    )
    parser.add_argument("--all", action="store_true", help="the kernels' own modules too; shows those that fail")
    parser.add_argument("--explain", action="store_true", help="everything about one module on one kernel")
    common(parser)
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    from hostward.report import matrix as report

    if arguments.all and arguments.words:
        raise LookupError("--all means every module there is; leave out the names, or --all")
    if arguments.explain and len(arguments.words) != 1:
        raise LookupError("--explain tells of one module: hostward modules --explain NAME [--kernel KERNEL]")
    engine = engine_of(arguments)
    columns, problems = _columns(engine, arguments.kernel, arguments.explain)
    matrix = _matrix(engine, columns)
    if arguments.words:
        rows = _named(engine, matrix, arguments.words)
    else:
        progress = _progress(arguments.all)
        if arguments.all:
            matrix.read_all(progress)
        rows = matrix.rows(matrix.all_names() if arguments.all else matrix.outside_names(), progress)

    def explain(row: Row, cell: Cell) -> Story:
        from hostward.facts.module_story import story_of

        files = engine.fact("KernelProfiles").of(cell.release)
        return story_of(matrix, files, _fact(engine, "SearchOrder"), row, cell)

    for column in columns:
        problems += matrix.problems(column.release, arguments.all)
    status = _status(rows, bool(problems))
    shown = [row for row in rows if row.bad] if arguments.all else rows
    if arguments.format == "json":
        from hostward.report.json import dump
        from hostward.report.matrix_json import document

        print(dump(document(engine, columns, rows, shown, problems, status, explain if arguments.explain else None)))
        return status
    paint = paint_of(arguments)
    if arguments.explain:
        from hostward.report.story import story_lines

        for n, (told, cell) in enumerate((row, cell) for row in rows for cell in row.cells):
            for line in (*[""] * (n > 0), *story_lines(explain(told, cell), paint)):
                print(line)
        return status
    for line in report.lines(shown, columns, paint, _width(), engine.config.evidence_lines):
        print(line)
    for problem in problems:
        print(report.problem(problem, paint))
    print(report.summary(rows, len(columns), arguments.all))
    return status


def _fact(engine: Engine, name: str) -> Any:
    """A fact without which nothing can be said.  Raises LookupError with the reason."""
    value = engine.fact(name)
    if isinstance(value, Unavailable):
        raise LookupError(value.reason)
    return value


def _matrix(engine: Engine, columns: list[Column]) -> Matrix:
    from hostward.facts.module_matrix import Matrix

    facts = (_fact(engine, name) for name in ("ModuleTrees", "Judges", "Modprobes"))
    return Matrix(engine.host, [column.release for column in columns], *facts)


def _named(engine: Engine, matrix: Matrix, words: list[str]) -> list[Row]:
    """The rows of all words; what several words mean is told once."""
    from hostward.facts.module_words import rows_of

    def packages() -> Packages | None:
        found = engine.fact("Packages")
        return None if isinstance(found, Unavailable) else found

    rows: dict[tuple[str, str], Row] = {}
    for word in words:
        for row in rows_of(word, matrix, packages, os.getcwd()):
            rows.setdefault((row.name, row.file), row)
    return list(rows.values())


def _columns(engine: Engine, wanted: list[str], one: bool) -> tuple[list[Column], list[str]]:
    """The kernels to judge on, newest first, and what can't be told of them. With nothing wanted all of them or, with
    `one`, the one that boots next (that runs, that is the newest).

    Raises LookupError for one that is not there.
    """
    from hostward.report.matrix import Column

    kernels = _fact(engine, "Kernels")
    marks: dict[str, list[str]] = {}
    named: dict[str, str] = {}
    notes = []
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
    if "next" in named and named["next"] not in there:
        notes.append(f"kernel {named['next']}, which boots next: it is not installed")
    chosen = []
    if not wanted:
        wanted = [next((named[w] for w in ("next", "running") if named.get(w) in there), there[0])] if one else ["all"]
    for word in there if "all" in wanted else wanted:
        release = named.get(word, word)
        if release not in there:
            import difflib

            near = difflib.get_close_matches(release, there, 3, 0.3) or there[:3]
            raise LookupError(f"no kernel {release} is installed; there: {', '.join(near)}")
        chosen.append(release)
    return [Column(r, tuple(marks.get(r, ()))) for r in there if r in chosen], notes


def _status(rows: list[Row], problems: bool) -> int:
    """The convention of check: a failure outranks what could not be told."""
    states = {cell.state for row in rows for cell in row.cells}
    return FAIL if "fails" in states else COULD_NOT_TELL if "unknown" in states or problems else LOAD


def _width() -> int:
    if not sys.stdout.isatty():
        return 80
    import shutil

    return shutil.get_terminal_size().columns


def _progress(long: bool) -> Callable[[str], None] | None:
    """Shows on a terminal what a scan is at, ten times a second at most; "" wipes it away again.

    A scan that is not known to be long shows nothing in its first half second.
    """
    if not sys.stderr.isatty():
        return None
    shown, last = False, 0.0 if long else time.monotonic() + 0.4

    def show(text: str) -> None:
        nonlocal shown, last
        now = time.monotonic()
        if (text and now - last > 0.1) or (not text and shown):
            shown, last = bool(text), now
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    return show
