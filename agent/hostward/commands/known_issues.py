"""`hostward known-issues`: vendors' release notes as data, and what of them concerns this host."""

from __future__ import annotations

import argparse
import re
import textwrap
from typing import TYPE_CHECKING, Any

from hostward.commands import common, engine_of, paint_of
from hostward.model import NotApplicable, Unavailable

if TYPE_CHECKING:
    from hostward.facts.issue_scope import ScopedIssue
    from hostward.facts.known_issues import KnownIssue

#: What can be said of an entry here: seen on this host, concerning it, not concerning it, or not to be told.
MET, APPLIES, ELSEWHERE, UNCLEAR, LISTED = "met", "applies", "elsewhere", "unclear", "listed"
_COLOUR = {MET: "warn", APPLIES: "info", ELSEWHERE: "dim", UNCLEAR: "skip", LISTED: "dim"}


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "known-issues", help="list the known issues of releases, and which concern this host; with ID, tell each whole"
    )
    parser.add_argument("ids", nargs="*", metavar="ID", help="ids or globs of issues")
    parser.add_argument(
        "--release",
        metavar="R",
        default="",
        help="those of a release such as 5.6 or 'rhel 9.4', whatever this host runs",
    )
    parser.add_argument("--all", action="store_true", help="also those that do not concern this host")
    common(parser)
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    """0 when the list could be made, whatever is on it: judging is what `check` is for.  3 when it could not."""
    from hostward.facts.issue_scope import ApplicableIssues

    engine = engine_of(arguments)
    scope = engine.fact("ApplicableIssues")
    if isinstance(scope, Unavailable):
        raise LookupError(scope.reason)
    assert isinstance(scope, ApplicableIssues)
    entries = _chosen(scope.entries, arguments)
    states: dict[str, tuple[str, str]] = {}
    seen: dict[str, list[str]] = {}
    blind: list[str] = []
    if arguments.release:
        states = {entry.issue.id: (LISTED, entry.issue.needs) for entry in entries}
    else:
        matches = engine.fact("IssueMatches")
        if not isinstance(matches, Unavailable):
            for found in matches.found:
                seen.setdefault(found.issue.id, []).append(found.guest)
            blind = list(matches.cannot_tell)
        elif not isinstance(matches, NotApplicable):
            blind = [matches.reason]
        states = {entry.issue.id: _state(entry, seen) for entry in entries}
    if not arguments.release and not arguments.all and not arguments.ids:
        entries = [entry for entry in entries if states[entry.issue.id][0] != ELSEWHERE]
    if arguments.format == "json":
        from hostward.report.json import dump, envelope

        issues = [_json(entry.issue, states[entry.issue.id], seen.get(entry.issue.id, [])) for entry in entries]
        print(dump({**envelope(engine.host), "release": arguments.release, "issues": issues, "not_judged": blind}))
        return 0
    if arguments.ids:
        for entry in entries:
            _tell(entry.issue, states[entry.issue.id])
        return 0
    _list(entries, states, arguments)
    if blind:
        print(f"\nnot judged: {'; '.join(blind)}")
    return 0


def _chosen(entries: tuple[ScopedIssue, ...], arguments: argparse.Namespace) -> list[ScopedIssue]:
    """The entries that the ids and the release select.  Raises LookupError for an id or release that none has."""
    import fnmatch

    chosen = list(entries)
    if arguments.ids:
        for pattern in arguments.ids:
            if not any(fnmatch.fnmatchcase(e.issue.id, pattern) for e in entries):
                import difflib

                near = difflib.get_close_matches(pattern, [e.issue.id for e in entries], 2, 0.4)
                hint = f"did you mean {' or '.join(near)}?" if near else "`hostward known-issues --all` lists them"
                raise LookupError(f"no known issue is called {pattern}: {hint}")
        chosen = [e for e in chosen if any(fnmatch.fnmatchcase(e.issue.id, p) for p in arguments.ids)]
    if arguments.release:
        match = re.fullmatch(r"(?:([A-Za-z]+)[ -]?)?(\d+(?:\.\d+)*)", arguments.release.strip())
        if not match:
            raise LookupError(f"--release {arguments.release}: not a release such as 5.6 or 'rhel 9.4'")
        system, version = (match.group(1) or "").lower(), match.group(2)
        chosen = [e for e in chosen if of_release(e.issue, system, version)]
        if not chosen:
            raise LookupError(f"no known issue concerns release {arguments.release}")
    return chosen


def of_release(issue: KnownIssue, system: str, version: str) -> bool:
    """Whether an entry concerns a release: by its condition, else by the release its notes are of."""
    from hostward.versions import satisfies

    if system and issue.distributions and system not in issue.distributions:
        return False
    if issue.releases:
        return satisfies(version, issue.releases)
    return issue.release in (version, version.split(".")[0])


def _state(entry: ScopedIssue, seen: dict[str, list[str]]) -> tuple[str, str]:
    if entry.applies is None:
        return UNCLEAR, entry.why
    if not entry.applies:
        return ELSEWHERE, entry.why
    guests = seen.get(entry.issue.id)
    if guests is not None:
        names = [name for name in guests if name]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return MET, ", ".join(names[:3]) + more if names else "on this host"
    if entry.issue.check:
        return APPLIES, f"judged by {entry.issue.check}"
    return APPLIES, "not met" if entry.issue.match else "nothing judges it"


def _json(issue: KnownIssue, state: tuple[str, str], guests: list[str]) -> dict[str, Any]:
    from hostward.model import as_json

    return {
        "id": issue.id,
        "product": issue.product,
        "release": issue.release,
        "section": issue.section,
        "title": issue.title,
        "happens": issue.happens,
        "advice": issue.advice,
        "severity": issue.severity.word,
        "applies": issue.needs,
        "judged_by": issue.check or ("match" if issue.match else ""),
        "references": as_json(issue.references),
        "source": issue.source,
        "state": state[0],
        "why": state[1],
        "guests": as_json([name for name in guests if name]),
    }


def _tell(issue: KnownIssue, state: tuple[str, str]) -> None:
    from hostward.report.text import safe

    print(f"{issue.id}: {issue.title}")
    print(f"  {issue.product} {issue.release}, {issue.section}  ({issue.source})")
    for paragraph in (issue.happens, issue.advice):
        print(textwrap.fill(paragraph, 100, initial_indent="  ", subsequent_indent="  "))
    for reference in issue.references:
        print(f"  See:     {reference.text}  {reference.url if reference.url != reference.text else ''}".rstrip())
    print(f"  Applies: {issue.needs}")
    print(f"  Here:    {state[0]}: {safe(state[1])}")
    print(f"  Judged:  {'by ' + issue.check if issue.check else 'by its match' if issue.match else 'by nothing'}\n")


def _list(entries: list[ScopedIssue], states: dict[str, tuple[str, str]], arguments: argparse.Namespace) -> None:
    from hostward.report.text import safe

    paint = paint_of(arguments)
    if not entries:
        print("No known issue concerns this host (--all lists every one).")
        return
    width = max(len(entry.issue.id) for entry in entries)
    release = ""
    for entry in entries:
        issue = entry.issue
        if f"{issue.product} {issue.release}" != release:
            release = f"{issue.product} {issue.release}"
            print(release)
        state, why = states[issue.id]
        bugs = "".join(f" {r.text}" for r in issue.references if r.text.startswith(("BZ#", "RHEL-")))
        print(f"  {paint(state.ljust(9), _COLOUR[state])}  {issue.id.ljust(width)}  {issue.title}{bugs}  ({safe(why)})")
