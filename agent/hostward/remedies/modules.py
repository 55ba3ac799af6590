"""Remedies for kernel modules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostward.model import LoadModule, Remedy, RunProgram, Step
from hostward.remedies import NoRemedy, remedy

if TYPE_CHECKING:
    from hostward.facts.kvm_modules import KvmModules
    from hostward.facts.loaded import LoadedModules


@remedy("modules.load-kvm", title="load the KVM modules")
def load_kvm(kvm: KvmModules, loaded: LoadedModules) -> Remedy:
    """The note's own way (BZ#501543): the script that runs at boot; where there is none, modprobe in order."""
    if kvm.kept_out:
        raise NoRemedy(f"KVM is kept out on purpose: {kvm.kept_out}")
    if not kvm.vendor:
        raise NoRemedy("no module is known that would drive this processor")
    steps: tuple[Step, ...]
    if kvm.script:
        steps = (RunProgram((kvm.script,), any_status=True),)
        why = f"{kvm.script} is what loads them at boot"
    else:
        steps = tuple(LoadModule(name) for name in ("kvm", kvm.vendor) if not loaded.present(name))
        if not steps:
            raise NoRemedy(f"kvm and {kvm.vendor} are loaded already")
        why = kvm.script_problem or f"there is no script that loads them; {kvm.vendor} drives this processor"
    return Remedy("modules.load-kvm", "Load the KVM modules", steps, why)
