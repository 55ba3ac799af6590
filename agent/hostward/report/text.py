"""The report for people: one line a check, evidence and remedy under each finding, a summary line."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO

from hostward.model import Finding, Outcome, Reference, Result, Severity

_COLOURS = {"pass": "32", "warn": "33", "error": "31", "fail": "35", "skip": "36", "off": "2", "info": "34", "dim": "2"}
_WIDTH = 5  # of the longest status word

Paint = Callable[[str, str], str]


def painter(stream: TextIO, when: str = "auto") -> Paint:
    """Colours text by a status word, or leaves it as it is: only on a terminal, and not under NO_COLOR."""
    wanted = when == "always" or (
        when == "auto" and stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    )
    if not wanted:
        return lambda text, _: text
    return lambda text, status: f"\x1b[{_COLOURS[status]}m{text}\x1b[0m"


def safe(text: str) -> str:
    """Text from a host, fit for a terminal: control characters and undecodable bytes become escapes."""
    if text.isprintable():
        return text
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def status_word(result: Result) -> str:
    if result.outcome is Outcome.FINDINGS:
        return {Severity.INFO: "info", Severity.WARNING: "warn", Severity.ERROR: "error"}[
            result.severity or Severity.INFO
        ]
    return {Outcome.PASSED: "pass", Outcome.SKIPPED: "skip", Outcome.FAILED: "fail", Outcome.DISABLED: "off"}[
        result.outcome
    ]


def lines(results: Iterable[Result], paint: Paint, evidence_lines: int) -> Iterator[str]:
    """The report, line by line, without the summary."""
    results = list(results)
    width = max((len(result.check) for result in results), default=0)
    for result in results:
        word = status_word(result)
        head = f"{paint(word.upper().ljust(_WIDTH), word)}  {result.check.ljust(width)}"
        if result.outcome is not Outcome.FINDINGS:
            references = _references(result.references) if result.reason else ""
            yield f"{head}  {safe(result.reason or result.title)}{references}".rstrip()
            continue
        yield f"{head}  {safe(result.title)}"
        for finding in result.findings:
            yield from _finding(finding, paint, evidence_lines)
        if result.reason:
            yield f"       {paint('not judged:', 'skip')} {safe(result.reason)}"


def _finding(finding: Finding, paint: Paint, evidence_lines: int) -> Iterator[str]:
    word = {Severity.INFO: "info", Severity.WARNING: "warn", Severity.ERROR: "error"}[finding.severity]
    yield f"       {paint(finding.severity.word + ':', word)} {safe(finding.summary)}{_references(finding.references)}"
    shown = finding.evidence[:evidence_lines]
    if len(finding.evidence) == evidence_lines + 1:
        shown = finding.evidence
    for line in shown:
        yield f"           {paint(safe(line), 'dim')}"
    more = len(finding.evidence) - len(shown)
    if more:
        yield f"           {paint(f'... and {more} more (--format json has all)', 'dim')}"
    if finding.advice:
        yield f"         -> {safe(finding.advice)}"
    if finding.remedies:
        yield f"         -> remedy: {', '.join(finding.remedies)}  (hostward fix --dry-run shows the steps)"


def _references(references: Iterable[Reference]) -> str:
    names = ", ".join(reference.text for reference in references)
    return f" ({names})" if names else ""


def counts(results: Iterable[Result]) -> dict[str, int]:
    """How many checks ended how; findings are counted each."""
    tally = dict.fromkeys(("errors", "warnings", "notes", "passed", "skipped", "failed", "disabled"), 0)
    words = {Severity.ERROR: "errors", Severity.WARNING: "warnings", Severity.INFO: "notes"}
    for result in results:
        if result.outcome is Outcome.FINDINGS:
            for finding in result.findings:
                tally[words[finding.severity]] += 1
        else:
            tally[result.outcome.value] += 1
    return tally


def summary(results: Iterable[Result]) -> str:
    tally = counts(results)
    words = {"errors": ("error", "errors"), "warnings": ("warning", "warnings"), "notes": ("note", "notes")}
    parts = []
    for key, number in tally.items():
        if number or key == "passed":
            parts.append(f"{number} {words.get(key, (key, key))[number != 1]}")
    return ", ".join(parts)
