"""KVM's modules on the running kernel: which are there, how they are meant to be loaded, what keeps them out."""

from __future__ import annotations

from dataclasses import dataclass, field

from hostward.facts import fact
from hostward.facts.boot import Boot
from hostward.facts.cpu import CpuVirtualization
from hostward.facts.kernel_profiles import KernelProfiles
from hostward.facts.kernels import RunningKernel
from hostward.facts.module_trees import ModuleTrees
from hostward.host import Host, HostError, Missing
from hostward.kmod.modprobe import ModprobeConfig

#: What RHEL 5 and 6 run from rc.sysinit at boot (BZ#501543).
SCRIPT = "/etc/sysconfig/modules/kvm.modules"


@dataclass(frozen=True)
class KvmModules:
    """`available` maps kvm and the vendor's module, where they are to be had, to a line on where; `vendor` is the
    module that drives this processor. `script` is SCRIPT where it is there and safe to run, else `script_problem`
    says why not.

    `kept_out` says what keeps them from ever being loaded, `not_by_itself` what keeps udev alone from loading them.
    """

    vendor: str
    available: dict[str, str] = field(default_factory=dict)
    script: str = ""
    script_problem: str = ""
    kept_out: str = ""
    not_by_itself: tuple[str, ...] = ()


@fact
def kvm_modules(
    host: Host,
    cpu: CpuVirtualization,
    boot: Boot,
    running: RunningKernel,
    profiles: KernelProfiles,
    trees: ModuleTrees,
    config: ModprobeConfig,
) -> KvmModules:
    names = [name for name in dict.fromkeys(("kvm", cpu.module)) if name]
    available: dict[str, str] = {}
    files = profiles.of(running.release)
    tree = trees.get(running.release)
    for name in names:
        outside = [] if tree is None else [m for m in tree.outside if m.name == name and not m.dangling]
        if outside:
            available[name] = f"{name}: {outside[0].path}"
        elif files is not None and name in files.modules_dep:
            available[name] = f"{name}: {files.kernel.modules_dir}/{files.modules_dep[name][0]}"
        elif files is not None and name in files.profile.builtin:
            available[name] = f"{name}: built into kernel {running.release}"
    refused = {n for value in boot.parameters("module_blacklist") for n in value.replace("-", "_").split(",")}
    kept_out = next((f"module_blacklist={name} on the kernel's command line" for name in names if name in refused), "")
    kept_out = kept_out or next(
        (f"modprobe.d has `install {name} {config.stops(name)}`" for name in names if config.stops(name)), ""
    )
    words = {n for value in boot.parameters("modprobe.blacklist") for n in value.replace("-", "_").split(",")}
    softly = [f"modprobe.blacklist={name} is on the kernel's command line" for name in names if name in words]
    softly += [f"modprobe.d has `blacklist {name}`" for name in names if name in config.blacklist]
    script = problem = ""
    try:
        host.lstat(SCRIPT)
        script = SCRIPT if host.trusted(SCRIPT) else ""
    except Missing:
        pass
    except HostError as error:
        problem = str(error)
    return KvmModules(cpu.module, available, script, problem, kept_out, tuple(softly))
