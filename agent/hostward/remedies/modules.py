"""Remedies for kernel modules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hostward.kmod.verdict import FAILS
from hostward.model import (
    LoadModule,
    MakeLink,
    RebuildModuleMap,
    Remedy,
    RemoveLink,
    RepairClass,
    RunProgram,
    Step,
    Unavailable,
)
from hostward.remedies import NoRemedy, remedy

if TYPE_CHECKING:
    from hostward.facts.initramfs import InitramfsModules
    from hostward.facts.kernels import Kernels
    from hostward.facts.kvm_modules import KvmModules
    from hostward.facts.loaded import LoadedModules
    from hostward.facts.module_maps import ModuleMaps
    from hostward.facts.module_trees import ModuleTrees
    from hostward.facts.packages import Owner, Packages
    from hostward.facts.relinks import Relinks
    from hostward.facts.verdicts import JudgedModule, ModuleVerdicts


@remedy("modules.load-kvm", title="load the KVM modules", kind=RepairClass.UNATTENDED)
def load_kvm(kvm: KvmModules, loaded: LoadedModules) -> Remedy:
    """The note's own way (BZ#501543): the script that runs at boot; where there is none, modprobe in order."""
    if kvm.kept_out:
        raise NoRemedy(f"KVM is kept out on purpose: {kvm.kept_out}")
    if not kvm.vendor:
        raise NoRemedy("no module is known that would drive this processor")
    steps: tuple[Step, ...]
    if kvm.script:
        steps = (RunProgram((kvm.script,), any_status=True, loads_modules=True),)
        why = f"{kvm.script} is what loads them at boot"
    else:
        steps = tuple(LoadModule(name) for name in ("kvm", kvm.vendor) if not loaded.present(name))
        if not steps:
            raise NoRemedy(f"kvm and {kvm.vendor} are loaded already")
        why = kvm.script_problem or f"there is no script that loads them; {kvm.vendor} drives this processor"
    ask = f"somebody may have meant it: {kvm.not_by_itself[0]}" if kvm.not_by_itself else ""
    return Remedy("modules.load-kvm", "Load the KVM modules", steps, why, ask=ask)


@remedy(
    "modules.remove-dangling",
    title="remove weak-updates links that lead nowhere, and rebuild the map with depmod",
    kind=RepairClass.UNATTENDED,
)
def remove_dangling(trees: ModuleTrees, kernels: Kernels) -> Remedy:
    """Only links in weak-updates, which weak-modules makes anew when there is something to link to."""
    installed = {kernel.release for kernel in kernels.installed}
    steps: list[Step] = []
    for tree in trees.trees:
        links = [m.path for m in tree.outside if m.dangling and m.where == "weak-updates"]
        steps += [RemoveLink(path) for path in links]
        if links and tree.release in installed:
            steps.append(RebuildModuleMap(tree.release))
    if not steps:
        raise NoRemedy("the links that dangle are not in weak-updates: whoever made them has to mend them")
    why = "what they led to is gone; modprobe fails on them, and building an initramfs may"
    return Remedy("modules.remove-dangling", "Remove the links that lead nowhere", tuple(steps), why)


@remedy("modules.rebuild-map", title="rebuild the module map with depmod", kind=RepairClass.UNATTENDED)
def rebuild_map(maps: ModuleMaps) -> Remedy:
    stale = maps.stale
    if not stale:
        raise NoRemedy("modules.dep of every kernel is up to date")
    steps = tuple(RebuildModuleMap(one.release) for one in stale)
    return Remedy("modules.rebuild-map", "Rebuild the module map", steps, "modules.dep is older than the modules")


@remedy("modules.relink", title="link weak-updates to builds that load, and remove the links that can't")
def relink(relinks: Relinks, initramfs: InitramfsModules | Unavailable) -> Remedy:
    """As weak-modules means to do: the newest build of the same package whose every module loads on that kernel."""
    if not relinks.relinks:
        raise NoRemedy("no link in weak-updates is wrong: what does not load is a file of its own")
    steps: list[Step] = []
    why = []
    for release in relinks.releases:
        for one in relinks.relinks:
            if one.release != release:
                continue
            for path, _, target in one.links:
                steps.append(MakeLink(path, target, replace=True) if target else RemoveLink(path))
            package = one.package or "a package"
            why.append(
                f"the build of {package} for kernel {one.source} loads on {release}"
                if one.source
                else f"no build of {package} here loads on {release}"
            )
        steps.append(RebuildModuleMap(release))
    return Remedy(
        "modules.relink",
        "Link weak-updates to builds that load",
        tuple(steps),
        "; ".join(why),
        tuple(_stale(relinks, initramfs)),
    )


def _stale(relinks: Relinks, initramfs: InitramfsModules | Unavailable) -> Iterable[str]:
    """The initramfs images that hold a module whose link moves: they go on loading the build they hold."""
    if isinstance(initramfs, Unavailable):
        yield f"whether an initramfs holds the old builds can't be told: {initramfs.reason}"
        return
    for image in initramfs.images:
        names = {_name(path) for one in relinks.relinks if one.release == image.release for path, _, _ in one.links}
        held = sorted(names & set(image.modules))
        if held:
            yield f"{image.path} holds {', '.join(held)} in the old build; make it anew"


def _name(path: str) -> str:
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


def _failing(verdicts: ModuleVerdicts) -> list[JudgedModule]:
    found = [m for m in verdicts.modules if m.verdict.outcome == FAILS and m.chosen is not False]
    if not found:
        raise NoRemedy("no module outside a kernel's own tree fails to load")
    return found


def _owners(verdicts: ModuleVerdicts, packages: Packages) -> dict[JudgedModule, Owner]:
    owners = {m: packages.owner(m.file or m.path) for m in _failing(verdicts)}
    return {module: owner for module, owner in owners.items() if owner is not None}


@remedy(
    "modules.rebuild",
    title="build the module for that kernel (dkms, akmods)",
    kind=RepairClass.ADVICE,
    at_most=RepairClass.ADVICE,
)
def rebuild(verdicts: ModuleVerdicts, packages: Packages) -> Remedy:
    """A build takes minutes, a compiler and kernel headers, and may fail half-way: a person does it."""
    steps: list[Step] = []
    for module, owner in _owners(verdicts, packages).items():
        if owner.how == "dkms":
            what = f"{owner.package}/{owner.version}"
            steps.append(RunProgram(("dkms", "install", "--force", what, "-k", module.release), timeout_s=1800.0))
        elif "akmod" in owner.package or "/akmods/" in module.path:
            steps.append(RunProgram(("akmods", "--force", "--kernels", module.release), timeout_s=1800.0))
    if not steps:
        raise NoRemedy("neither dkms nor akmods built the modules that do not load")
    unique = tuple(dict.fromkeys(steps))
    return Remedy("modules.rebuild", "Build the modules for that kernel", unique, "they were built on this host")


@remedy(
    "modules.reinstall",
    title="install the package again, in a build for that kernel",
    kind=RepairClass.ADVICE,
    at_most=RepairClass.ADVICE,
)
def reinstall(verdicts: ModuleVerdicts, packages: Packages) -> Remedy:
    """What a repository offers and what it brings along is for a person to see."""
    names = sorted({o.package for o in _owners(verdicts, packages).values() if o.how in ("rpm", "dpkg")})
    if not names:
        raise NoRemedy("no package is known to have brought the modules that do not load")
    argv = ("apt-get", "install", "--reinstall") if packages.manager == "dpkg" else ("dnf", "reinstall")
    why = f"{', '.join(names)} brought the modules that do not load; look for a newer build first"
    return Remedy("modules.reinstall", "Install the package again", (RunProgram((*argv, *names)),), why)
