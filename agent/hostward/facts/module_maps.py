"""Whether modules.dep, by which modprobe finds modules, still says what lies in the tree."""

from __future__ import annotations

from dataclasses import dataclass

from hostward.facts import fact
from hostward.facts.kernel_profiles import KernelProfiles, read_module
from hostward.facts.module_trees import ModuleTrees
from hostward.host import Host, HostError
from hostward.kmod.module import BadModule
from hostward.kmod.search import SearchOrder


@dataclass(frozen=True)
class ModuleMap:
    """`gone` are files outside kernel/ that modules.dep names and that are not there; `unlisted` are modules outside
    kernel/ that depmod would list and it does not: modprobe does not find them, or takes another file of that name."""

    release: str
    gone: tuple[str, ...]
    unlisted: tuple[str, ...]


@dataclass(frozen=True)
class ModuleMaps:
    maps: tuple[ModuleMap, ...]

    @property
    def stale(self) -> tuple[ModuleMap, ...]:
        return tuple(one for one in self.maps if one.gone or one.unlisted)


@fact
def module_maps(host: Host, trees: ModuleTrees, profiles: KernelProfiles, order: SearchOrder) -> ModuleMaps:
    """Of installed kernels that have a modules.dep; a kernel without one is not whole, which is another matter.

    Dangling links and files that depmod can't read either are passed over: depmod would not list them.
    """
    found = []
    for tree in trees.trees:
        files = profiles.of(tree.release)
        if files is None or not files.modules_dep or tree.problems:
            continue
        listed = {name: path for name, (path, _) in files.modules_dep.items() if not path.startswith("kernel/")}
        whole = (path if path.startswith("/") else f"{tree.path}/{path}" for path in listed.values())
        gone = tuple(sorted(path for path in whole if not host.exists(path) and not host.is_link(path)))
        unlisted = []
        for module in tree.outside:
            below = module.path[len(tree.path) + 1 :]
            known = files.modules_dep.get(module.name, ("",))[0]
            if module.dangling or known in (below, module.path) or module.name in files.profile.builtin:
                continue
            if known and order.choose(module.name, tree.release, [known, below]) != (below, True):
                continue
            if _readable(host, module.file):
                unlisted.append(module.path)
        found.append(ModuleMap(tree.release, gone, tuple(unlisted)))
    return ModuleMaps(tuple(found))


def _readable(host: Host, file: str) -> bool:
    try:
        read_module(host, file)
    except (BadModule, HostError):
        return False
    return True
