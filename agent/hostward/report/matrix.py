"""The matrix of modules and kernels for people: rows modules, columns kernels; then why what fails fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hostward.checks.modules import because
from hostward.facts.module_matrix import ABSENT, BUILT_IN, FAILS, LOADS, UNKNOWN, Cell, Row
from hostward.kmod.verdict import Reason
from hostward.report.text import Paint, safe

_COLOURS = {LOADS: "pass", FAILS: "error", UNKNOWN: "skip", BUILT_IN: "dim", ABSENT: "dim"}


@dataclass(frozen=True)
class Column:
    """A kernel of the matrix; `marks` are "running" and "next"."""

    release: str
    marks: tuple[str, ...] = ()


def lines(
    rows: Sequence[Row], columns: Sequence[Column], paint: Paint, width: int, evidence_lines: int
) -> Iterator[str]:
    """The matrix and what it leaves to be said, without the summary; empty for no rows."""
    if not rows:
        return
    yield from table(rows, columns, paint, width)
    yield ""
    said = False
    for part in (causes(rows, paint, evidence_lines), asides(rows, paint)):
        for line in part:
            said = True
            yield line
    if said:
        yield ""


def problem(text: str, paint: Paint) -> str:
    return f"{paint('could not look at', 'skip')} {safe(text)}"


def table(rows: Sequence[Row], columns: Sequence[Column], paint: Paint, width: int) -> Iterator[str]:
    """The aligned matrix. Where the releases would not fit into `width` columns of text, they are numbered and a
    legend stands in front."""
    names = [safe(row.title) for row in rows]
    first = max(map(len, ["module", *names]))
    heads = [safe(column.release) for column in columns]
    marks = [", ".join(column.marks) for column in columns]
    widths = _widths(rows, heads, marks)
    if first + sum(2 + w for w in widths) > width:
        numbers = [f"[{n}]" for n in range(1, len(columns) + 1)]
        release_width = max(map(len, heads))
        for number, head, mark in zip(numbers, heads, marks):
            yield f"{number.rjust(len(numbers[-1]))} {head.ljust(release_width)}  {mark}".rstrip()
        yield ""
        heads, marks = numbers, ["" for _ in marks]
        widths = _widths(rows, heads, marks)
    yield "  ".join(["module".ljust(first), *(h.ljust(w) for h, w in zip(heads, widths))]).rstrip()
    if any(marks):
        yield "  ".join([" " * first, *(_painted(m, w, paint, "dim") for m, w in zip(marks, widths))]).rstrip()
    for name, row in zip(names, rows):
        cells = [_painted(cell.word, w, paint, _COLOURS[cell.state]) for cell, w in zip(row.cells, widths)]
        yield "  ".join([name.ljust(first), *cells]).rstrip()


def _painted(text: str, width: int, paint: Paint, colour: str) -> str:
    return (paint(text, colour) if text else "") + " " * (width - len(text))


def _widths(rows: Sequence[Row], heads: Sequence[str], marks: Sequence[str]) -> list[int]:
    return [
        max(len(head), len(mark), *(len(row.cells[n].word) for row in rows), 1)
        for n, (head, mark) in enumerate(zip(heads, marks))
    ]


def causes(rows: Sequence[Row], paint: Paint, most: int) -> Iterator[str]:
    """Under a line for each cell that fails or can't be told, its reasons in the kernel's words, `most` at most."""
    for row in rows:
        for cell in row.cells:
            if cell.state in (FAILS, UNKNOWN):
                yield from _cause(row, cell, paint, most)


def _cause(row: Row, cell: Cell, paint: Paint, most: int) -> Iterator[str]:
    judged = cell.judged
    word = "unknown" if cell.state == UNKNOWN else "fails"
    phrase = ""
    if judged is not None and judged.verdict.reasons:
        phrase = f": {because(judged)}"
    head = f"{row.title} on {cell.release}: "
    yield f"{safe(head)}{paint(cell.word, _COLOURS[cell.state])}{safe(phrase)}"
    if judged is None:
        return
    where = judged.path + (f" -> {judged.file}" if judged.file and judged.file != judged.path else "")
    lines = [] if where == row.file else [where]
    lines += [line for reason in judged.verdict.reasons for line in reason_lines(reason) if line not in phrase]
    if word == "unknown":
        lines += judged.verdict.cannot_tell
    for line in lines[: most + 1] if len(lines) > most + 2 else lines:
        yield f"    {paint(safe(line), 'dim')}"
    if len(lines) > most + 2:
        yield paint(f"    ... and {len(lines) - most - 1} more lines (--explain and --format json have all)", "dim")


def asides(rows: Sequence[Row], paint: Paint) -> Iterator[str]:
    """What besides the kernels' rules bears on it: what a word was taken for, notes, files that are passed over."""
    by_word: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.how not in ("", "name", "file", "built-in"):
            by_word.setdefault((row.asked, row.how), []).append(row.name)
    for (word, how), names in by_word.items():
        yield safe(f"{word} ({how}): {', '.join(names)}")
    for row in rows:
        same: dict[str, list[str]] = {}
        for cell in row.cells:
            for note in (*cell.notes, *(f"{other.path} is passed over for {_path(cell)}" for other in cell.others)):
                same.setdefault(note, []).append(cell.release)
        for note, releases in same.items():
            on = "" if len(releases) == len(row.cells) or releases[0] in note else f" on {', '.join(releases)}"
            yield f"{safe(row.title)}{safe(on)}: {safe(note)}"


def _path(cell: Cell) -> str:
    return cell.judged.path if cell.judged is not None else "the one built in"


def reason_lines(reason: Reason) -> Iterator[str]:
    """A reason: what the kernel writes to its log, then what was wanted and what is there."""
    message = reason.message.split("\n") if reason.message else []
    there = "" if reason.rule in ("unknown-symbol", "provider-fails") else "there: "
    detail = [f"wants {reason.wanted}" if reason.wanted else "", f"{there}{reason.found}" if reason.found else ""]
    detail += [f"in {reason.provider}" if reason.provider else ""]
    said = ", ".join(part for part in detail if part)
    if not message:
        yield said.removeprefix("there: ") if not reason.wanted else said
        return
    yield message[0] + (f"  ({said})" if said else "")
    yield from message[1:]


def counts(rows: Sequence[Row]) -> dict[str, int]:
    """How many cells are in each state; those of modules that a kernel has not are not counted."""
    tally = dict.fromkeys((LOADS, FAILS, UNKNOWN, BUILT_IN), 0)
    for row in rows:
        for cell in row.cells:
            if cell.state != ABSENT:
                tally[cell.state] += 1
    return tally


def summary(rows: Sequence[Row], kernels: int, every: bool = False) -> str:
    tally = counts(rows)
    words = {LOADS: ("loads", "load"), FAILS: ("fails", "fail"), UNKNOWN: ("can't be told", "can't be told")}
    words[BUILT_IN] = ("is built in", "are built in")
    parts = [f"{n} {words[state][n != 1]}" for state, n in tally.items() if n or state == LOADS]
    if not rows:
        return "no modules" if every else "no module lies outside the kernels' own trees"
    total = f"{len(rows)} module{'s' * (len(rows) != 1)} on {kernels} kernel{'s' * (kernels != 1)}"
    return f"{total}: {', '.join(parts)}"
