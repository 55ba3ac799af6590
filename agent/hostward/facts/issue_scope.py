"""Which known issues concern this host: its distribution and release, its packages, its kernel."""

from __future__ import annotations

from dataclasses import dataclass

from hostward.facts import fact
from hostward.facts.boot import Boot
from hostward.facts.cpu import CpuVirtualization
from hostward.facts.issue_packages import IssuePackages
from hostward.facts.kernels import Kernels, RunningKernel
from hostward.facts.known_issues import KnownIssue, KnownIssues
from hostward.facts.operating_system import OperatingSystem
from hostward.model import Unavailable
from hostward.versions import satisfies


@dataclass(frozen=True)
class ScopedIssue:
    """An entry, and whether it concerns this host: None where that can't be told. `why` says what decided it."""

    issue: KnownIssue
    applies: bool | None
    why: str


@dataclass(frozen=True)
class ApplicableIssues:
    """Every known issue, judged by where it applies (not yet by whether it is met here)."""

    entries: tuple[ScopedIssue, ...]

    def of_check(self, id: str) -> tuple[KnownIssue, ...]:
        """The entries that concern this host and that a check in code answers for."""
        return tuple(e.issue for e in self.entries if e.applies and e.issue.check == id)

    def unclear(self, id: str) -> str:
        """Why it can't be told whether an entry of this check concerns this host; "" when it can of each."""
        return next((e.why for e in self.entries if e.applies is None and e.issue.check == id), "")

    @property
    def matches(self) -> tuple[KnownIssue, ...]:
        """The entries that concern this host and that a match decides."""
        return tuple(e.issue for e in self.entries if e.applies and e.issue.match is not None)


@fact
def applicable_issues(
    issues: KnownIssues,
    system: OperatingSystem | Unavailable,
    running: RunningKernel | Unavailable,
    kernels: Kernels | Unavailable,
    cpu: CpuVirtualization | Unavailable,
    packages: IssuePackages | Unavailable,
    boot: Boot | Unavailable,
) -> ApplicableIssues:
    releases: list[str] | None = None
    if not isinstance(running, Unavailable):
        releases = [running.release]
    elif not isinstance(kernels, Unavailable):
        releases = [kernel.release for kernel in kernels.installed]
    scope = _Scope(system, releases, cpu, packages, boot)
    return ApplicableIssues(tuple(ScopedIssue(issue, *scope.judge(issue)) for issue in issues.entries))


class _Scope:
    def __init__(
        self,
        system: OperatingSystem | Unavailable,
        kernels: list[str] | None,
        cpu: CpuVirtualization | Unavailable,
        packages: IssuePackages | Unavailable,
        boot: Boot | Unavailable,
    ) -> None:
        self.system = system
        self.kernels = kernels
        self.cpu = cpu
        self.packages = packages
        self.boot = boot

    def judge(self, issue: KnownIssue) -> tuple[bool | None, str]:
        """One part that does not hold decides, whatever could not be told of the others."""
        unknown = ""
        for part in (self.by_system, self.by_package, self.by_kernel, self.by_machine):
            applies, why = part(issue)
            if applies is False:
                return False, why
            if applies is None:
                unknown = unknown or why
        return (None, unknown) if unknown else (True, issue.needs)

    def by_system(self, issue: KnownIssue) -> tuple[bool | None, str]:
        if not issue.distributions:
            return True, ""
        if isinstance(self.system, Unavailable):
            return None, self.system.reason
        here = f"{self.system.id} {self.system.version}".strip()
        if not {self.system.id, self.system.family} & set(issue.distributions):
            return False, f"this is {here}"
        if issue.releases and not self.system.version:
            return None, f"{here} names no version"
        if issue.releases and not satisfies(self.system.version, issue.releases):
            return False, f"this is {here}"
        return True, ""

    def by_package(self, issue: KnownIssue) -> tuple[bool | None, str]:
        if not issue.package:
            return True, ""
        if isinstance(self.packages, Unavailable):
            return None, self.packages.reason
        if self.packages.cannot_tell:
            return None, self.packages.cannot_tell
        installed = self.packages.versions.get(issue.package, ())
        if not installed:
            return False, f"{issue.package} is not installed"
        if issue.versions and not any(satisfies(version, issue.versions) for version in installed):
            return False, f"{issue.package} is {', '.join(installed)}"
        fixed = self.packages.fixed.get(issue.package, frozenset()) & set(issue.bugs)
        if fixed:
            return False, f"the changelog of {issue.package} {installed[-1]} names {', '.join(sorted(fixed))} as done"
        return True, ""

    def by_kernel(self, issue: KnownIssue) -> tuple[bool | None, str]:
        if not issue.kernel:
            return True, ""
        if self.kernels is None:
            return None, "no kernel is known here"
        if not any(satisfies(release, issue.kernel) for release in self.kernels):
            return False, f"kernel {', '.join(self.kernels)}"
        return True, ""

    def by_machine(self, issue: KnownIssue) -> tuple[bool | None, str]:
        if issue.on == "guest":
            if isinstance(self.boot, Unavailable):
                return None, self.boot.reason
            if not self.boot.hypervisor:
                return False, "this machine is no guest"
        if issue.architectures:
            if isinstance(self.cpu, Unavailable):
                return None, self.cpu.reason
            if self.cpu.architecture not in issue.architectures:
                return False, f"this machine is {self.cpu.architecture}"
        return True, ""
