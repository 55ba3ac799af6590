"""Known issues: vendors' release notes as data (config/known-issues/*.yaml and the site's own)."""

from __future__ import annotations

from dataclasses import dataclass

from hostward.facts import fact
from hostward.host import Host, Missing
from hostward.model import Reference, Severity, Unavailable
from hostward.yamldoc import ConfigError

SITE = "/etc/hostward/known-issues.d"


@dataclass(frozen=True)
class DomainMatch:
    """What of a guest's definition an issue is about. Every part that is given must hold.

    `has`, `has_any` and `lacks` are path expressions from <domain> down (see docs/known-issues.md): all of them match,
    at least one, none;
    `above` are (path, number) of a number in the text or attribute that is greater; `count_above` (path, number) of
    more elements than that. `os` are prefixes of libosinfo's identifier of the guest's system, one of which it has.
    `which` is stored, live or any of the two definitions.
    """

    has: tuple[str, ...] = ()
    has_any: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    above: tuple[tuple[str, float], ...] = ()
    count_above: tuple[tuple[str, int], ...] = ()
    os: tuple[str, ...] = ()
    which: str = "any"


@dataclass(frozen=True)
class FileMatch:
    """A file of the host, of /sys, or a configuration: it has to be there (or not), and a pattern to be found in it."""

    path: str
    matches: str = ""
    exists: bool = True


@dataclass(frozen=True)
class Match:
    """What must be seen on a host for an issue to be told; every part that is given must hold.

    `module` is (name, whether it must be loaded), `unit` (name, the word of its state: active, inactive, enabled,
    disabled or masked).
    """

    domain: DomainMatch | None = None
    module: tuple[str, bool] | None = None
    unit: tuple[str, str] | None = None
    files: tuple[FileMatch, ...] = ()


@dataclass(frozen=True)
class KnownIssue:
    """One entry of a vendor's release notes.

    Where it applies: `distributions` are ids or families as in os-release (empty: any), `releases` a condition on the
    distribution's version, `package` with `versions` an installed package, `kernel` a condition on a kernel's
    release, `architectures` uname's names; "" or empty where they do not matter. `on` is host, guest or any: which
    kind of machine. It is judged by the check in code called `check`, or by `match`; one with neither is only told.
    `source` is file and line.
    """

    id: str
    product: str
    release: str
    section: str
    title: str
    happens: str
    advice: str
    check: str = ""
    references: tuple[Reference, ...] = ()
    package: str = ""
    kernel: str = ""
    versions: str = ""
    distributions: tuple[str, ...] = ()
    releases: str = ""
    architectures: tuple[str, ...] = ()
    on: str = "any"
    severity: Severity = Severity.WARNING
    match: Match | None = None
    source: str = ""

    @property
    def bugs(self) -> tuple[str, ...]:
        """The numbers of its bugs, as a package's changelog names them: 2124856, RHEL-1234."""
        return tuple(r.text.replace("BZ#", "") for r in self.references if r.text.startswith(("BZ#", "RHEL-")))

    @property
    def needs(self) -> str:
        """Where it applies, in a line."""
        parts = [" or ".join(self.distributions) + (f" {self.releases}" if self.releases else "")]
        parts += [f"{self.package} {self.versions}".strip(), f"kernel {self.kernel}" if self.kernel else ""]
        parts += [" or ".join(self.architectures), "" if self.on == "any" else f"on a {self.on}"]
        return ", ".join(part for part in parts if part) or "everywhere"


@dataclass(frozen=True)
class KnownIssues:
    entries: tuple[KnownIssue, ...]

    def of_check(self, id: str) -> tuple[KnownIssue, ...]:
        """The entries that a check in code answers for, wherever they apply."""
        return tuple(entry for entry in self.entries if entry.check == id)

    def get(self, id: str) -> KnownIssue | None:
        return next((entry for entry in self.entries if entry.id == id), None)


@fact
def known_issues() -> KnownIssues:
    """Reads the shipped entries and the site's.  A broken file makes the fact unavailable, with file and line."""
    from hostward.facts.known_issue_file import parse_known_issues
    from hostward.host.data import data_directory

    here = Host.running()
    entries: dict[str, KnownIssue] = {}
    for directory in (f"{data_directory()}/known-issues", SITE):
        try:
            names = here.names(directory)
        except Missing:
            continue
        for name in names:
            if not name.endswith(".yaml"):
                continue
            path = f"{directory}/{name}"
            try:
                for entry in parse_known_issues(path, here.read(path), ours=directory != SITE):
                    if entry.id in entries:
                        raise ConfigError(entry.source, f"{entry.id} stands in {entries[entry.id].source} too")
                    entries[entry.id] = entry
            except ConfigError as error:
                raise Unavailable(str(error)) from None
    return KnownIssues(tuple(entries.values()))
