"""What the agent itself left behind: repairs that were interrupted, a kernel kept as the default for too long."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hostward.checks import check
from hostward.checks.modules import lacking
from hostward.model import Finding, Severity

if TYPE_CHECKING:
    from hostward.facts.cpu import CpuVirtualization
    from hostward.facts.kernels import RunningKernel
    from hostward.facts.loaded import LoadedModules
    from hostward.facts.module_trees import ModuleTrees
    from hostward.facts.next_modules import ModulesOf
    from hostward.facts.repairs import Repairs
    from hostward.facts.verdicts import ModuleVerdicts


@check("repairs.interrupted", title="every repair that was begun came to an end")
def interrupted(repairs: Repairs) -> Iterator[Finding]:
    """Before each step of a repair its intent is written to the journal, and at the end how the repair ended. A repair
    without an end was interrupted by a kill, a full disk or a power cut: its steps may have been done in part.
    `hostward undo` takes back what was done; `hostward fix` begins again from what is there now.
    """
    for repair in repairs.repairs:
        if repair.damage:
            yield Finding(
                Severity.WARNING,
                f"the journal of repair {repair.number} is damaged",
                subject=f"repair {repair.number}",
                evidence=(repair.damage,),
                advice="See that the host is as it should be (`hostward check`), then remove the file.",
            )
        elif not repair.outcome and repair.steps:
            again = "the machine went down meanwhile" if repair.boot != repairs.boot else "hostward was ended meanwhile"
            later = [other for other in repairs.repairs if other.number > repair.number and other.outcome == "helped"]
            if any(other.remedy == repair.remedy for other in later):
                continue  # the same was done again, and helped
            yield Finding(
                Severity.WARNING,
                f"repair {repair.number} ({repair.title}) was interrupted after {repair.steps} of its steps were begun",
                subject=f"repair {repair.number}",
                evidence=(again,),
                advice=f"`hostward undo {repair.number}` takes back what was done; `hostward fix` begins again.",
            )


@check("boot.kept-kernel", title="a kernel that was kept as the default is still the better one")
def kept_kernel(
    repairs: Repairs,
    running: RunningKernel,
    modules: ModulesOf,
    verdicts: ModuleVerdicts,
    trees: ModuleTrees,
    loaded: LoadedModules,
    cpu: CpuVirtualization,
) -> Iterator[Finding]:
    """`boot.keep-running` makes the running kernel the default because the next one lacks modules that are in use. Once
    they are there, that is to be taken back, or the host never boots a newer kernel again.
    """
    for repair in repairs.in_force:
        if repair.remedy != "boot.keep-running":
            continue
        for release in dict.fromkeys(subject.rpartition(" on ")[2] for _, subject in repair.findings):
            following = modules.of(release)
            if following is None or following.missing:
                continue
            if not list(lacking(following, running, verdicts, trees, loaded, cpu)):
                yield Finding(
                    Severity.WARNING,
                    f"kernel {release} has every module that is in use by now, and repair {repair.number} still keeps "
                    "another kernel as the default",
                    subject=f"repair {repair.number}",
                    advice=f"`hostward undo {repair.number}` makes the default what it was.",
                )
