"""The daemon's state for people and for programs: what stands since when, how old that is, whether the daemon runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hostward import __version__
from hostward.host.moment import Moment, date_words
from hostward.host.state import Picture, Run, Standing
from hostward.model import Outcome, Severity, as_json
from hostward.report.text import Paint, safe, status_word

SCHEMA = 1
#: The daemon judges everything at least once a day; an hour is left for it. What is older tells nothing of now.
STALE_S = 25 * 3600.0
_ORDER = ("error", "fail", "warn", "skip", "info", "off", "pass")


def stale(run: Run, now: Moment) -> str:
    """Why the state says nothing of this machine as it is now, "" when it does."""
    if not run.when.same_boot(now):
        return "it is of another boot"
    if run.when.age_s(now) > STALE_S:
        return f"it was judged {run.when.age_words(now)}"
    return ""


def _blind(standing: Standing) -> bool:
    return standing.result.outcome is Outcome.FAILED or standing.result.blind


def lines(picture: Picture, run: Run, now: Moment, daemon_runs: bool, everything: bool, paint: Paint) -> Iterator[str]:
    """The summary first, then what stands, worst first; `everything` also tells the checks that passed."""
    old = stale(run, now)
    age = run.when.age_words(now)
    reason = str(run.document.get("reason", ""))
    because = f", because of: {safe(reason)}" if reason else ""
    yield f"{safe(str(run.document.get('summary', '')))} (judged {age} in {run.duration_s:.1f} s{because})"
    if old:
        yield f"{paint('stale:', 'warn')} {old}; `hostward check` judges now"
    if daemon_runs:
        yield f"the daemon runs (process {run.document.get('daemon', 0)}, version {run.document.get('version', '')})"
    else:
        yield f"{paint('the daemon does not run', 'warn')}: nothing is watched; `systemctl start hostward`"
    shown = [s for s in picture.standings.values() if everything or s.result.findings or _blind(s)]
    if shown:
        yield ""
    width = max((len(standing.result.check) for standing in shown), default=0)
    for standing in sorted(shown, key=lambda s: (_ORDER.index(_word(s)), s.result.check)):
        yield from _standing(standing, now, width, paint)


def _word(standing: Standing) -> str:
    if standing.kept:
        worst = standing.result.severity or Severity.INFO
        return {Severity.ERROR: "error", Severity.WARNING: "warn", Severity.INFO: "info"}[worst]
    return status_word(standing.result)


def _standing(standing: Standing, now: Moment, width: int, paint: Paint) -> Iterator[str]:
    result = standing.result
    word = _word(standing)
    since = f"since {date_words(standing.since.at)}, {standing.since.age_words(now)}"
    title = result.title if result.findings or not result.reason else result.reason
    yield f"{paint(word.upper().ljust(5), word)}  {result.check.ljust(width)}  {safe(title)} ({since})"
    for finding in result.findings:
        yield f"       {finding.severity.word}: {safe(finding.summary)}"
        if finding.advice:
            yield f"         -> {safe(finding.advice)}"
    if standing.kept:
        yield f"       {paint('not judged since:', 'skip')} {safe(result.reason)}; this is what was found before"
    elif result.reason and result.findings:
        yield f"       {paint('not judged:', 'skip')} {safe(result.reason)}"


def document(picture: Picture, run: Run, now: Moment, daemon_runs: bool, status: int) -> dict[str, Any]:
    """As config/schema/status.schema.json describes it."""
    return {
        "schema": SCHEMA,
        "hostward": __version__,
        "status": status,
        "stale": stale(run, now),
        "judged": {**moment(run.when), "age_s": round(run.when.age_s(now), 3), "duration_s": run.duration_s},
        "daemon": {"runs": daemon_runs, "pid": int(run.document.get("daemon", 0))},
        "summary": str(run.document.get("summary", "")),
        "severity": str(run.document.get("severity", "unknown")),
        "reason": str(run.document.get("reason", "")),
        "version": str(run.document.get("version", "")),
        "checks": [
            {
                **as_json(standing.result),
                "severity": None if standing.result.severity is None else standing.result.severity.word,
                "blind": _blind(standing),
                "kept": standing.kept,
                "since": moment(standing.since),
                "judged": moment(standing.judged),
            }
            for standing in picture.standings.values()
        ],
    }


def moment(when: Moment) -> dict[str, Any]:
    return {"at": when.at, "boot": when.boot, "up": when.up}
