"""What a kernel has of modules, above all the one that boots next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hostward.facts import fact
from hostward.facts.kernel_profiles import KernelProfiles
from hostward.facts.module_trees import ModuleTrees
from hostward.facts.next_kernel import NextKernel
from hostward.model import Unavailable


@dataclass(frozen=True)
class NextModules:
    """`names` are the modules that modules.dep of that kernel lists (unless their links dangle by now), those outside
    kernel/, and its built-in ones; `missing` is what keeps the kernel from being whole, `why` why it boots next."""

    release: str
    why: str
    names: frozenset[str]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class ModulesOf:
    """What each installed kernel has, looked up when it is asked for."""

    _find: Callable[[str], NextModules | None]

    def of(self, release: str, why: str = "") -> NextModules | None:
        """None for a kernel that is not installed."""
        found = self._find(release)
        return None if found is None else NextModules(release, why, found.names, found.missing)


@fact
def modules_of(profiles: KernelProfiles, trees: ModuleTrees) -> ModulesOf:
    def find(release: str) -> NextModules | None:
        files = profiles.of(release)
        if files is None:
            return None
        tree = trees.get(release)
        outside = () if tree is None else tree.outside
        gone = {module.path for module in outside if module.dangling}
        listed = (n for n, (path, _) in files.modules_dep.items() if f"{files.kernel.modules_dir}/{path}" not in gone)
        names = frozenset((*listed, *(m.name for m in outside if not m.dangling))) | files.profile.builtin
        missing = tuple(what for what in files.kernel.missing if what != "image")
        return NextModules(release, "", names, missing)

    return ModulesOf(find)


@fact
def next_modules(following: NextKernel, modules: ModulesOf) -> NextModules:
    """Raises Unavailable for a kernel that is named by the boot loader and not installed."""
    found = modules.of(following.release, following.why)
    if found is None:
        raise Unavailable(
            f"kernel {following.release} boots next ({following.why}), and no file of it is among the installed kernels"
        )
    return found
