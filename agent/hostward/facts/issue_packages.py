"""The packages that known issues ask about: which versions are installed, and which bugs their changelogs name.

A fix that was backported shows in the changelog of a package whose version is below the first one that had it, so
the changelog has the last word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from hostward.facts import fact
from hostward.facts.known_issues import KnownIssue, KnownIssues
from hostward.facts.rpmdb import database, named
from hostward.host import Host, HostError, Missing
from hostward.versions import satisfies

_DPKG_STATUS = "/var/lib/dpkg/status"
_CHANGELOG_MAX = 16 << 20
_BUG = re.compile(r"(?:bz ?#|rhbz ?#|BZ ?#)(\d+(?:[ ,]+#?\d+)*)|\b(RHEL-\d+)\b", re.I)


@dataclass(frozen=True)
class IssuePackages:
    """`versions` are the installed [epoch:]version-releases of each package that an entry names and that is there;
    `fixed` the bug numbers that the changelog of each such package names, where it was looked into.

    `cannot_tell` says why nothing could be asked, "" where it could.
    """

    versions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    fixed: dict[str, frozenset[str]] = field(default_factory=dict)
    cannot_tell: str = ""


@fact
def issue_packages(host: Host, issues: KnownIssues) -> IssuePackages:
    """Nothing is asked where no entry names a package."""
    names = sorted({issue.package for issue in issues.entries if issue.package})
    if not names:
        return IssuePackages()
    path, kind = database(host)
    try:
        if _dpkg_in_use(host):
            return IssuePackages(_dpkg(host, names))
        if not path:
            return IssuePackages(cannot_tell="neither an rpm nor a dpkg database is here")
        if host.live:
            return _rpm(host, names, issues.entries)
        if kind != "sqlite":
            name = {"bdb": "Berkeley DB", "ndb": "ndb"}[kind]
            return IssuePackages(cannot_tell=f"{path} is in the {name} format, which only that host's own rpm can read")
        found = named(host, path, names)
    except HostError as error:
        return IssuePackages(cannot_tell=str(error))
    return IssuePackages(
        {name: tuple(package.evr for package, _ in packages) for name, packages in found.items()},
        {name: bugs_in("\n".join(text for _, text in packages)) for name, packages in found.items()},
    )


def bugs_in(changelog: str) -> frozenset[str]:
    """The bug numbers that a changelog names: `bz#2124856`, `(rhbz#1, #2)`, `RHEL-1234`."""
    found = set()
    for numbers, key in _BUG.findall(changelog[:_CHANGELOG_MAX]):
        found.update([key.upper()] if key else re.findall(r"\d+", numbers))
    return frozenset(found)


def _rpm(host: Host, names: list[str], issues: Iterable[KnownIssue]) -> IssuePackages:
    """One question for the versions; one more for each package of which some entry's versions are installed."""
    said = host.run(["rpm", "-q", "--qf", r"%{NAME}\t%{EPOCHNUM}:%{VERSION}-%{RELEASE}\n", *names], timeout_s=20.0)
    versions: dict[str, tuple[str, ...]] = {}
    for line in said.stdout.splitlines():
        name, tab, evr = line.partition("\t")
        if tab and name in names:
            versions[name] = (*versions.get(name, ()), evr[2:] if evr.startswith("0:") else evr)
    affected = {
        issue.package
        for issue in issues
        if issue.bugs and issue.versions and any(satisfies(v, issue.versions) for v in versions.get(issue.package, ()))
    }
    fixed = {}
    for name in sorted(affected):
        fixed[name] = bugs_in(host.run(["rpm", "-q", "--changelog", name], timeout_s=20.0).stdout)
    return IssuePackages(versions, fixed)


def _dpkg_in_use(host: Host) -> bool:
    try:
        return host.stat(_DPKG_STATUS).st_size > 0
    except HostError:
        return False


def _dpkg(host: Host, names: list[str]) -> dict[str, tuple[str, ...]]:
    """From dpkg's own status file: paragraphs of `Package:`, `Status:` and `Version:`."""
    found: dict[str, tuple[str, ...]] = {}
    try:
        data = host.read(_DPKG_STATUS, 64 << 20)
    except Missing:
        return found
    for name in names:
        for match in re.finditer(rb"^Package: " + re.escape(name.encode()) + rb"\n((?:.+\n?)*)", data, re.M):
            body = match.group(1)
            version = re.search(rb"^Version: (\S+)", body, re.M)
            if version and re.search(rb"^Status: \S+ \S+ installed", body, re.M):
                found[name] = (*found.get(name, ()), version.group(1).decode("utf-8", "surrogateescape"))
    return found
