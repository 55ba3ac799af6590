"""Every module of each kernel linked with each other kernel: the answers are those of the real depmod.

A tree is laid out for each pair: the modules of one kernel under the release of the other. `depmod -n -e -E` then
names the symbols that are unknown and those whose CRC differs; so does Links.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from itertools import permutations
from pathlib import Path

from hostward.kmod.exports import parse_symvers
from hostward.kmod.link import Links
from hostward.kmod.module import ModuleFile, parse_module
from tests.lab.debs import Kernel, NotAtHand, kernel

#: Five kernels of two series and two flavours.
ROLES = ("A", "B", "D", "C", "R")

_SAID = re.compile(r"WARNING: (\S+) (needs unknown symbol|disagrees about version of symbol) (\S+)$")
Said = set[tuple[str, str, str]]


def modules_of(of: Kernel) -> dict[str, ModuleFile]:
    """Modules by their path below the tree."""
    paths = sorted(path for path in of.modules.rglob("*.ko*") if path.is_file())
    return {str(path.relative_to(of.modules)): parse_module(path.read_bytes(), path.name) for path in paths}


def by_depmod(root: Path, theirs: Kernel, mine: Kernel, paths: list[str]) -> Said:
    depmod = shutil.which("depmod", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if depmod is None:
        raise NotAtHand("depmod is not installed")
    tree = root / "lib/modules" / theirs.release
    for path in paths:
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).symlink_to(mine.modules / path)
    done = subprocess.run(
        [depmod, "-n", "-e", "-E", str(theirs.symvers), "-b", str(root), theirs.release],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
    )
    found = set()
    for line in done.stderr.splitlines():
        match = _SAID.match(line.replace("depmod: ", "", 1))
        if match:
            path = match.group(1).partition(f"/lib/modules/{theirs.release}/")[2]
            found.add((path, match.group(2).split()[0], match.group(3)))
    return found


def linked(theirs: Kernel, modules: dict[str, ModuleFile]) -> Links:
    table = parse_symvers(theirs.symvers.read_bytes(), "Module.symvers")
    return Links({name: e for name, e in table.exports.items() if e.provider == "vmlinux"}, modules.values())


def by_links(links: Links, modules: dict[str, ModuleFile]) -> Said:
    return {
        (path, "needs" if trouble.missing else "disagrees", trouble.symbol)
        for number, path in enumerate(modules)
        for trouble in links.troubles(number)
    }


def test_all_pairs(tmp_path: Path) -> None:
    kernels = {role: kernel(role) for role in ROLES}
    modules = {role: modules_of(of) for role, of in kernels.items()}
    pairs = troubles = 0
    differences: list[tuple[str, ...]] = []
    explained: dict[str, int] = {}
    for mine, theirs in permutations(ROLES, 2):
        root = tmp_path / f"{mine}-{theirs}"
        said = by_depmod(root, kernels[theirs], kernels[mine], list(modules[mine]))
        links = linked(kernels[theirs], modules[mine])
        ours = by_links(links, modules[mine])
        pairs += len(modules[mine])
        troubles += len(said)
        for one in sorted(said ^ ours):
            rule = rule_that_depmod_ignores(one, modules[mine], links, said)
            explained[rule] = explained.get(rule, 0) + 1
            differences += [(mine, theirs, *one)] * (not rule)
        shutil.rmtree(root)
    print(f"{pairs} pairs of a module and a kernel, {troubles} symbols in trouble; explained differences: {explained}")
    assert not differences, (len(differences), differences[:10])
    assert pairs > 10_000 and troubles > 1000


def rule_that_depmod_ignores(
    one: tuple[str, str, str], modules: dict[str, ModuleFile], links: Links, said: Said
) -> str:
    """The kernel's rule that makes this difference, "" for none."""
    path, kind, symbol = one
    if kind == "needs" and one in said and symbol in modules[path].weak:
        return "simplify_symbols(): a weak symbol may stay unresolved"
    if kind == "disagrees" and symbol in links.contested:
        # depmod lets the module's export take the place of vmlinux's.
        return "find_symbol(): vmlinux is looked at before any module"
    return ""
