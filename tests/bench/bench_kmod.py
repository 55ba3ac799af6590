"""Load verdicts beside depmod: a whole tree, the out-of-tree modules of a host with four kernels, and a second run.

Real Debian kernels are used; what can't be had is said. depmod runs as `depmod -n -e -E Module.symvers`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from hostward.host.cache import Cache
from tests.bench.compare import compare, show
from tests.lab import edits
from tests.lab.debs import Kernel, NotAtHand, kernel

HOSTWARD = [sys.executable, "-I", "-c", "import sys; sys.path.insert(0, 'agent'); from hostward.cli import run; run()"]
#: Reads every module of a tree and resolves every symbol with its CRC, as depmod -e -E does; full verdicts are more.
LINK = """
import sys
sys.path.insert(0, "agent")
from hostward.host import Host
from hostward.kmod.exports import parse_symvers
from hostward.kmod.link import Links, collector_paused
from hostward.kmod.module import parse_module

def read(directory):
    for name, kind in directory.entries():
        if kind == "dir":
            with directory.sub(name) as sub:
                yield from read(sub)
        elif ".ko" in name:
            with directory.open(name) as file:
                yield parse_module(file, name)

tree, symvers = sys.argv[1:]
with open(symvers, "rb") as file:
    table = parse_symvers(file.read(), symvers)
with Host.at("/").directory(tree) as directory, collector_paused():
    modules = list(read(directory))
    links = Links({name: e for name, e in table.exports.items() if e.provider == "vmlinux"}, modules)
    print(len(modules), sum(bool(links.troubles(n)) for n in range(len(modules))))
"""
#: What the checks cost once the interpreter is up: observing the fact ModuleVerdicts, timed inside the process.
FACT = """
import sys, time
sys.path.insert(0, "agent")
from hostward.config import Config
from hostward.engine import Engine
from hostward.facts import load_all
from hostward.host import Host
load_all()
start = time.perf_counter()
verdicts = Engine(Host.at(sys.argv[1]), Config()).fact("ModuleVerdicts")
print(len(verdicts.modules), time.perf_counter() - start)
"""
MEMORY_MIB = 120


def depmod(of: Kernel, root: Path) -> list[str]:
    found = shutil.which("depmod", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if found is None:
        raise NotAtHand("depmod is not installed")
    return [found, "-n", "-e", "-E", str(of.symvers), "-b", str(root), of.release]


def whole_tree(of: Kernel) -> None:
    base = f"depmod -n -e -E on {of.release}"
    ours = "read and link the same, one process"
    sides = {base: depmod(of, of.tree), ours: [sys.executable, "-I", "-c", LINK, str(of.modules), str(of.symvers)]}
    print(f"  modules, modules in trouble: {subprocess.check_output(sides[ours], text=True).strip()}")
    figures = compare(sides, runs=7)
    show("A whole tree", figures, base=base, targets={ours: 1.0})
    memory(figures[ours].peak_mib)


def four_kernels(kernels: list[Kernel], root: Path) -> None:
    """A host with four kernels, three modules in extra/ of one and linked into the others' weak-updates/."""
    first = kernels[0]
    for of in kernels:
        (root / "usr/lib/modules").mkdir(parents=True, exist_ok=True)
        tree = root / "usr/lib/modules" / of.release
        shutil.copytree(of.modules, tree, symlinks=True, ignore_dangling_symlinks=True)
        (root / "boot").mkdir(exist_ok=True)
        shutil.copy(of.image, root / "boot")
        shutil.copy(of.tree / "boot" / f"config-{of.release}", root / "boot")
    (root / "lib").symlink_to("usr/lib")
    (root / "etc").mkdir()
    names = {"dummy": "dummz", "veth": "vetz", "bonding": "bonzing"}
    for of in kernels:
        for name, new in names.items():
            place = root / "usr/lib/modules" / of.release
            if of is first:
                (place / "extra/kmod-test").mkdir(parents=True, exist_ok=True)
                (place / f"extra/kmod-test/{new}.ko").write_bytes(edits.renamed(edits.in_tree(of, name), {name: new}))
            else:
                (place / "weak-updates/kmod-test").mkdir(parents=True, exist_ok=True)
                (place / f"weak-updates/kmod-test/{new}.ko").symlink_to(
                    f"../../../{first.release}/extra/kmod-test/{new}.ko"
                )
        subprocess.run(["/sbin/depmod", "-b", str(root), of.release], check=True)
    base = f"depmod -n -e -E on {first.release}"
    command = [*HOSTWARD, "check", "modules.weak-updates-symbols", "--root", str(root)]
    cold, warm = "hostward check, nothing cached", "hostward check, second run"
    forget = f"import os, shutil, sys; shutil.rmtree({Cache.of_this_agent().directory!r}, True); "
    run = forget + "os.execv(sys.argv[1], sys.argv[1:])"
    sides = {base: depmod(first, root), cold: [sys.executable, "-I", "-c", run, *command], warm: command}
    figures = compare(sides, runs=5)
    show("Out-of-tree modules of a host with 4 kernels", figures, base=base, targets={cold: 0.2, warm: 0.1})
    memory(max(figures[cold].peak_mib, figures[warm].peak_mib))
    count, seconds = subprocess.check_output([sys.executable, "-I", "-c", FACT, str(root)], text=True).split()
    print(f"  of the second run, the {count} verdicts themselves take {float(seconds) * 1000:.1f} ms")


def memory(peak_mib: float) -> None:
    print(f"  peak memory {peak_mib:.1f} MiB, target {MEMORY_MIB}: {'met' if peak_mib <= MEMORY_MIB else 'MISSED'}")


def main() -> None:
    try:
        full = kernel("F")
        whole_tree(full)
        with tempfile.TemporaryDirectory() as root:
            four_kernels([full, kernel("A"), kernel("B"), kernel("C")], Path(root))
    except NotAtHand as lacking:
        print(f"Load verdicts: left out, {lacking}")


if __name__ == "__main__":
    main()
