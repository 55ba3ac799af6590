"""Remedies for what boots next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostward.model import EditFile, Remedy, RepairClass, RunProgram, Step
from hostward.remedies import NoRemedy, remedy

if TYPE_CHECKING:
    from hostward.facts.boot_default import BootDefault
    from hostward.facts.next_kernel import NextKernel


@remedy("boot.keep-running", title="keep the running kernel the default until the next one has its modules")
def keep_running(default: BootDefault, following: NextKernel) -> Remedy:
    """The kernel that works stays the default; the check boot.kept-kernel tells when the other one is ready."""
    if following.release == default.release:
        raise NoRemedy(f"kernel {default.release}, which runs, is the default already")
    if following.once:
        raise NoRemedy(f"kernel {following.release} was chosen for one boot only: {following.why}")
    by_tool = RunProgram(default.set_, undo=default.back)
    step: Step = by_tool if default.edit is None else EditFile(*default.edit)
    return Remedy(
        "boot.keep-running",
        f"Keep kernel {default.release} the default",
        (step,),
        f"kernel {following.release}, which would boot next, lacks modules that are in use",
        (f"once kernel {following.release} has them, `hostward undo` makes it the default again",),
    )


@remedy("boot.reboot", title="reboot", kind=RepairClass.ADVICE, at_most=RepairClass.ADVICE)
def reboot(following: NextKernel) -> Remedy:
    """Never done by hostward: only a person knows what runs here."""
    why = f"kernel {following.release} boots next ({following.why})"
    return Remedy("boot.reboot", "Reboot when the guests allow it", (RunProgram(("systemctl", "reboot")),), why)
