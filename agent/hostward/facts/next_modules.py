"""What the kernel that boots next has of modules."""

from __future__ import annotations

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


@fact
def next_modules(following: NextKernel, profiles: KernelProfiles, trees: ModuleTrees) -> NextModules:
    """Raises Unavailable for a kernel that is named by the boot loader and not installed."""
    files = profiles.of(following.release)
    if files is None:
        raise Unavailable(
            f"kernel {following.release} boots next ({following.why}), and no file of it is among the installed kernels"
        )
    tree = trees.get(following.release)
    outside = () if tree is None else tree.outside
    gone = {module.path for module in outside if module.dangling}
    listed = (n for n, (path, _) in files.modules_dep.items() if f"{files.kernel.modules_dir}/{path}" not in gone)
    names = frozenset((*listed, *(m.name for m in outside if not m.dangling))) | files.profile.builtin
    missing = tuple(what for what in files.kernel.missing if what != "image")
    return NextModules(following.release, following.why, names, missing)
