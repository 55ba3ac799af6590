"""A host of real Debian kernels as a directory: their images, configurations and whole module trees, with depmod run.

The module files are hard links to those of the cache where both lie on one file system.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.hosts.tree import Tree
from tests.lab.debs import Kernel, NotAtHand

#: Red Hat's search order, under which weak-updates comes last.
SEARCH = "search updates extra built-in weak-updates\n"


def build(root: str | os.PathLike[str], *kernels: Kernel) -> Tree:
    """The host, without any module outside kernel/.  Raises NotAtHand."""
    if shutil.which("modprobe") is None or shutil.which("depmod") is None:
        raise NotAtHand("modprobe and depmod are not installed")
    tree = Tree(root)
    tree.file("/etc/depmod.d/dist.conf", SEARCH)
    for kernel in kernels:
        base = Path(tree.at(f"/lib/modules/{kernel.release}"))
        base.mkdir(parents=True)
        for entry in kernel.modules.iterdir():
            if entry.is_dir():
                shutil.copytree(entry, base / entry.name, copy_function=_link)
            else:
                shutil.copy(entry, base / entry.name)
        (tree.root / "boot").mkdir(exist_ok=True)
        for name in (f"vmlinuz-{kernel.release}", f"config-{kernel.release}"):
            _link(kernel.tree / "boot" / name, tree.root / "boot" / name)
        depmod(tree, kernel.release)
    return tree


def _link(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)


def depmod(tree: Tree, release: str) -> None:
    """What depmod of that host would write."""
    argv = ["depmod", "-b", str(tree.root), "-C", tree.at("/etc/depmod.d"), release]
    subprocess.run(argv, check=True, capture_output=True)
