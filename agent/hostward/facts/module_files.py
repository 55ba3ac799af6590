"""Module files beside what is loaded of them, and which of them are signed where signatures are asked for."""

from __future__ import annotations

from dataclasses import dataclass

from hostward.facts import fact
from hostward.facts.enforcement import secure_boot
from hostward.facts.kernel_profiles import KernelProfiles, read_module
from hostward.facts.kernels import RunningKernel
from hostward.facts.loaded import LoadedModules
from hostward.facts.module_trees import ModuleTrees
from hostward.facts.verdicts import ModuleVerdicts
from hostward.host import Host, HostError
from hostward.kmod.module import BadModule
from hostward.model import NotApplicable


@dataclass(frozen=True)
class LoadedFile:
    path: str
    srcversion: str


@dataclass(frozen=True)
class LoadedFiles:
    """The files that modprobe would take today for the loaded modules from outside kernel/, by module name."""

    files: dict[str, LoadedFile]


@fact
def loaded_files(
    host: Host, trees: ModuleTrees, loaded: LoadedModules, running: RunningKernel, verdicts: ModuleVerdicts
) -> LoadedFiles:
    found: dict[str, LoadedFile] = {}
    for judged in verdicts.of(running.release):
        if judged.chosen is True and judged.name in loaded.modules:
            try:
                found[judged.name] = LoadedFile(judged.path, read_module(host, judged.file).srcversion)
            except (BadModule, HostError):
                continue
    return LoadedFiles(found)


@dataclass(frozen=True)
class UnsignedModules:
    """(path, kernel) of modules without a signature, and why that matters here."""

    why: str
    unsigned: tuple[tuple[str, str], ...]


@fact
def unsigned_modules(
    host: Host, trees: ModuleTrees, running: RunningKernel, profiles: KernelProfiles
) -> UnsignedModules:
    """Raises NotApplicable where neither the firmware nor the kernel asks for signatures."""
    why = ""
    if secure_boot(host):
        why = "Secure Boot is on"
    if not why:
        files = profiles.of(running.release) if any(not m.dangling for m in trees.outside) else None
        if files is not None and (files.profile.sig_enforced or files.profile.lockdown):
            why = "the running kernel enforces signatures"
    if not why:
        raise NotApplicable("Secure Boot is off and the running kernel does not enforce signatures")
    unsigned = []
    for module in trees.outside:
        if module.dangling:
            continue
        try:
            if read_module(host, module.file).signature is None:
                unsigned.append((module.path, module.release))
        except (BadModule, HostError):
            continue
    return UnsignedModules(why, tuple(unsigned))
