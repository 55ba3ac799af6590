"""What changed between what stands and what was judged anew: findings appear, change or go, checks go blind."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from hostward.host.moment import Moment
from hostward.host.state import Merged, Standing, Transition, bounded
from hostward.model import Finding, Outcome, Result, as_json

APPEARED, CHANGED, GONE, BLIND, SIGHTED = "appeared", "changed", "gone", "blind", "sighted"

#: A measured figure: what has a unit. One that differs from the last is no change of the finding.
_FIGURE = re.compile(
    r"(?<![\w.+-])[+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?(?=\s?(?:ns|us|µs|ms|s|min|h|ppm|ppb|%|days?|hours?)\b)"
)


def merge(
    old: dict[str, Standing],
    results: Iterable[Result],
    known: Iterable[str] | None,
    now: Moment,
    tentative: bool = False,
) -> Merged:
    """The standings that fresh results make of the old ones, the checks to forget, and the transitions between.

    `tentative`: only what is found counts, what is no longer found may come back within this same judgement.
    `known` are the ids of all checks there are when all of them were judged, None otherwise: what stands of others is
    then forgotten.
    """
    standings: dict[str, Standing] = {}
    transitions: list[Transition] = []
    for fresh in results:
        result = bounded(fresh)
        before = old.get(result.check)
        if tentative:
            result = _with_kept(result, before)
        standing, found = _judged(before, result, now)
        standings[result.check] = standing
        transitions += found
    forget = [] if known is None else sorted(set(old) - set(known) - set(standings))
    for id in forget:
        transitions += [_gone(id, f, now, "there is no such check any more") for f in old[id].result.findings]
    return standings, forget, transitions


def _with_kept(result: Result, before: Standing | None) -> Result:
    """A result that also has the findings of before which it does not have."""
    if before is None or not result.findings:
        return before.result if before is not None else result
    mine = _identified(result.findings)
    gone = [finding for key, finding in _identified(before.result.findings).items() if key not in mine]
    return replace(result, findings=(*result.findings, *gone))


def _judged(old: Standing | None, result: Result, now: Moment) -> tuple[Standing, list[Transition]]:
    was_blind = old is not None and _blind(old)
    blind = result.outcome is Outcome.FAILED or (result.outcome is Outcome.SKIPPED and result.applicable)
    transitions: list[Transition] = []
    kept = False
    if blind and old is not None and old.result.findings and (old.kept or old.result.reason != result.reason):
        # What it found before may still be so. But where it already could not judge the same part, and judged the
        # rest, its silence about the rest means that nothing is wrong there.
        result, kept = replace(result, findings=old.result.findings), True
    if blind and not was_blind:
        transitions.append(_sight(BLIND, result, now, result.reason))
    elif was_blind and not blind:
        transitions.append(_sight(SIGHTED, result, now, ""))
    if not kept:
        before = _identified(old.result.findings if old is not None else ())
        after = _identified(result.findings)
        why = ""
        if result.outcome is Outcome.DISABLED:
            why = f"the check is switched off: {result.reason}"
        elif result.outcome is Outcome.SKIPPED:
            why = result.reason
        for key, finding in after.items():
            if key not in before:
                transitions.append(_appeared(result, finding, now))
            elif _differs(before[key], finding):
                transitions.append(_changed(result, before[key], finding, now))
        transitions += [_gone(result.check, f, now, why) for key, f in before.items() if key not in after]
    same = old is not None and old.result.outcome is result.outcome and not any(transitions)
    since = old.since if old is not None and same else now
    return Standing(result, kept, since, now), transitions


def _blind(standing: Standing) -> bool:
    outcome = standing.result.outcome
    return outcome is Outcome.FAILED or (outcome is Outcome.SKIPPED and standing.result.applicable)


def _identified(findings: Iterable[Finding]) -> dict[tuple[str, int], Finding]:
    """Findings by their identity within a check: the subject, and a number where several share one."""
    found: dict[tuple[str, int], Finding] = {}
    for finding in sorted(findings, key=lambda f: (f.subject, -f.severity, f.summary)):
        number = 0
        while (finding.subject, number) in found:
            number += 1
        found[finding.subject, number] = finding
    return found


def _differs(before: Finding, after: Finding) -> bool:
    return before.severity is not after.severity or _words(before.summary) != _words(after.summary)


def _words(summary: str) -> str:
    """A summary without the figures that were measured."""
    return _FIGURE.sub("#", summary)


def _appeared(result: Result, finding: Finding, now: Moment) -> Transition:
    return Transition(
        0, now, result.check, finding.subject, APPEARED, finding.severity.word, finding.summary, _rest(finding)
    )


def _changed(result: Result, before: Finding, finding: Finding, now: Moment) -> Transition:
    document = {**_rest(finding), "before": {"severity": before.severity.word, "summary": before.summary}}
    return Transition(0, now, result.check, finding.subject, CHANGED, finding.severity.word, finding.summary, document)


def _gone(check: str, finding: Finding, now: Moment, why: str) -> Transition:
    document = {"why": why} if why else {}
    return Transition(0, now, check, finding.subject, GONE, finding.severity.word, finding.summary, document)


def _sight(what: str, result: Result, now: Moment, why: str) -> Transition:
    document: dict[str, Any] = {"why": why} if why else {}
    if result.findings and what == BLIND:
        document["kept"] = len(result.findings)
    severity = "warning" if what == BLIND else "info"
    return Transition(0, now, result.check, "", what, severity, result.title, document)


def _rest(finding: Finding) -> dict[str, Any]:
    document: dict[str, Any] = {
        "advice": finding.advice,
        "evidence": list(finding.evidence),
        "references": [r.url or r.text for r in finding.references],
        "remedies": list(finding.remedies),
    }
    return {key: as_json(value) for key, value in document.items() if value}
