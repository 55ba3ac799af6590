"""Which known issues are met on this host: the declarative matches, evaluated."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from hostward.facts import domain_path, fact
from hostward.facts.domain import Domain
from hostward.facts.domain_xml import BadXml, parse
from hostward.facts.guests import Guest, Guests
from hostward.facts.issue_scope import ApplicableIssues
from hostward.facts.known_issues import DomainMatch, KnownIssue, Match
from hostward.facts.loaded import LoadedModules
from hostward.facts.unit_files import UnitFiles
from hostward.host import Host, HostError, Missing
from hostward.model import NotApplicable, Unavailable

_FILE_MAX = 1 << 20
_LINE_MAX = 10_000  # characters of a line that a pattern is tried on
_SHOWN = 3


@dataclass(frozen=True)
class MatchedIssue:
    """An issue that is met: on a guest, or on the host itself (`guest` ""). `evidence` are the lines that show it."""

    issue: KnownIssue
    guest: str
    evidence: tuple[str, ...]


@dataclass(frozen=True)
class IssueMatches:
    """`cannot_tell` are the entries that could not be judged, with the reason of each."""

    found: tuple[MatchedIssue, ...] = ()
    cannot_tell: tuple[str, ...] = ()


@fact
def issue_matches(
    host: Host, scope: ApplicableIssues, guests: Guests | Unavailable, loaded: LoadedModules | Unavailable
) -> IssueMatches:
    """Raises NotApplicable where no known issue with a match concerns this host."""
    if not scope.matches:
        raise NotApplicable("no known issue with a match concerns this host")
    about_host: list[tuple[KnownIssue, tuple[str, ...]]] = []
    found: list[MatchedIssue] = []
    cannot: list[str] = []
    for issue in scope.matches:
        assert issue.match is not None
        try:
            evidence = _on_host(host, loaded, issue.match)
        except Unavailable as reason:
            cannot.append(f"{issue.id}: {reason.reason}")
            continue
        if evidence is None:
            continue
        if issue.match.domain is None:
            found.append(MatchedIssue(issue, "", tuple(evidence)))
        else:
            about_host.append((issue, tuple(evidence)))
    if about_host and isinstance(guests, Unavailable):
        if not isinstance(guests, NotApplicable):
            cannot += [f"{issue.id}: {guests.reason}" for issue, _ in about_host]
    elif about_host:
        assert isinstance(guests, Guests)
        for guest in guests.guests:
            found += _on_guest(guest, about_host)
        cannot += guests.problems
    return IssueMatches(tuple(found), tuple(cannot))


def _on_host(host: Host, loaded: LoadedModules | Unavailable, match: Match) -> list[str] | None:
    """The evidence for the parts about the host, None when one does not hold.  Raises Unavailable."""
    evidence: list[str] = []
    for wanted in match.files:
        try:
            text = host.text(wanted.path, _FILE_MAX)
        except Missing:
            if wanted.exists:
                return None
            evidence.append(f"{wanted.path} is not there")
            continue
        except HostError as error:
            raise Unavailable(str(error)) from None
        if not wanted.exists:
            return None
        lines = [line for line in text.splitlines() or [""] if re.search(wanted.matches, line[:_LINE_MAX])]
        if not lines:
            return None
        evidence += [f"{wanted.path}: {line}" for line in lines[:_SHOWN]]
    if match.module is not None:
        if isinstance(loaded, Unavailable):
            raise loaded
        name, there = match.module
        if loaded.present(name) != there:
            return None
        evidence.append(f"module {name} is {'loaded' if there else 'not loaded'}")
    if match.unit is not None:
        said = _unit(host, *match.unit)
        if not said:
            return None
        evidence.append(said)
    return evidence


def _unit(host: Host, name: str, state: str) -> str:
    """The line that shows a unit in that state, "" when it is in another.  Raises Unavailable."""
    if state in ("active", "inactive"):
        if not host.live:
            raise NotApplicable("this tree is not running, so no unit of it is active")
        try:
            said = host.run(["systemctl", "is-active", name]).stdout.strip()
        except HostError as error:
            raise Unavailable(str(error)) from None
        return f"{name}: {said}" if (said == "active") == (state == "active") else ""
    file = UnitFiles(host).get(name)
    return f"{name}: {file.state}" if file.state.startswith(state) else ""


def _on_guest(guest: Guest, issues: list[tuple[KnownIssue, tuple[str, ...]]]) -> Iterator[MatchedIssue]:
    """The issues that a guest's definitions meet; each once, of the stored definition where both do."""
    left = {issue.id: (issue, evidence) for issue, evidence in issues}
    for domain, which in ((guest.stored, "stored"), (guest.live, "live")):
        if domain is None:
            continue
        for id, evidence in _in_definition(domain, which, list(left.values())):
            issue, of_host = left.pop(id)
            yield MatchedIssue(issue, guest.name, (*(f"{domain.source}: {line}" for line in evidence), *of_host))


def _in_definition(
    domain: Domain, which: str, issues: list[tuple[KnownIssue, tuple[str, ...]]]
) -> Iterator[tuple[str, list[str]]]:
    """(issue's id, evidence) of those that a definition meets; its XML is parsed only when one can."""
    text = domain._xml
    escaped = b"&#" in text or text[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in text[:4]
    root = None
    for issue, _ in issues:
        match = issue.match.domain if issue.match is not None else None
        if match is None or match.which not in ("any", which):
            continue
        if match.os and not domain.os_id.startswith(match.os):
            continue
        if not escaped and not _can(text, match):
            continue
        if root is None:
            try:
                root = parse(text)
            except BadXml:  # it was read once, so this can't be
                return
            if root.tag != "domain":
                root = root.find("domain")
                if root is None:
                    return
        evidence = _meets(root, match, domain)
        if evidence is not None:
            yield issue.id, evidence


def _can(text: bytes, match: DomainMatch) -> bool:
    """Whether the words of its paths stand in a definition at all, which most do not in most."""

    def there(path: str) -> bool:
        return all(word in text for word in domain_path.literals(path))

    needed = (*match.has, *(path for path, _ in match.above), *(path for path, _ in match.count_above))
    return all(map(there, needed)) and (not match.has_any or any(map(there, match.has_any)))


def _meets(root: object, match: DomainMatch, domain: Domain) -> list[str] | None:
    """What shows that a definition has all that is asked for, None when it has not."""
    from xml.etree.ElementTree import Element

    assert isinstance(root, Element)
    evidence = [f"libosinfo: {domain.os_id}"] if match.os else []
    for path in match.has:
        elements = domain_path.find(root, path)
        if not elements:
            return None
        evidence += [domain_path.shown(element) for element in elements[:_SHOWN]]
    if match.has_any:
        elements = [element for path in match.has_any for element in domain_path.find(root, path)]
        if not elements:
            return None
        evidence += [domain_path.shown(element) for element in elements[:_SHOWN]]
    if any(domain_path.find(root, path) for path in match.lacks):
        return None
    for path, limit in match.above:
        over = [e for e in domain_path.find(root, path) if _number(domain_path.text_of(e, path)) > limit]
        if not over:
            return None
        evidence += [domain_path.shown(element) for element in over[:_SHOWN]]
    for path, most in match.count_above:
        count = len(domain_path.find(root, path))
        if count <= most:
            return None
        evidence.append(f"{count} of {path}")
    return evidence


def _number(text: str) -> float:
    return float(text) if re.fullmatch(r"\d{1,15}(\.\d{1,6})?", text) else -1.0
