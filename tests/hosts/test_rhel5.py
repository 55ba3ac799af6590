"""The RHEL 5.6 tree against the real depmod, modinfo and readelf: the story it tells is true byte for byte."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts import rhel5
from tests.hosts.tree import Tree

pytestmark = pytest.mark.skipif(
    not (shutil.which("depmod") and shutil.which("readelf")), reason="kmod or binutils is not installed"
)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    yield rhel5.build(tmp_path / "rhel5")


def depmod(tree: Tree, release: str) -> list[str]:
    """What depmod says of a kernel of the tree, run inside it: its absolute links must lead into the tree."""
    program = shutil.which("depmod")
    assert program
    libraries = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout.split()
    for path in [program, *(word for word in libraries if word.startswith("/"))]:
        copy = Path(tree.at(path))
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(os.path.realpath(path), copy)
    inside = [program, "-n", "-e", "-C", "/etc/depmod.d/depmod.conf.dist", "-F", f"/boot/System.map-{release}", release]
    done = subprocess.run(
        ["unshare", "--map-root-user", "chroot", str(tree.root), *inside], capture_output=True, text=True
    )
    if "unshare failed" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    # 2.6.18 has neither file; depmod of today would like them
    return [
        line.removeprefix("depmod: ")
        for line in done.stderr.splitlines()
        if "modules.order" not in line and "modules.builtin" not in line
    ]


def test_depmod_gives_exactly_the_warning_of_the_release_note(tree: Tree) -> None:
    assert depmod(tree, rhel5.OLD) == [rhel5.WARNING]
    assert depmod(tree, rhel5.NEW) == []


def test_every_module_is_well_formed(tree: Tree) -> None:
    modules = [path for path in Path(tree.root).rglob("*.ko") if not path.is_symlink()]
    assert len(modules) == 12
    for path in modules:
        done = subprocess.run(["readelf", "-aW", str(path)], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
    path = Path(tree.at(f"{rhel5.KMOD_DIRECTORY}/ksm.ko"))
    done = subprocess.run(["modinfo", "-F", "vermagic", str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == "2.6.18-203.el5 SMP mod_unload gcc-4.1\n"


def test_links_are_laid_as_weak_modules_does(tree: Tree) -> None:
    def links(release: str) -> dict[str, str]:
        directory = Path(tree.at(f"/lib/modules/{release}/weak-updates/kmod-kvm"))
        return {path.name: os.readlink(path) for path in directory.iterdir()}

    everything = {f"{m.name}.ko": f"{rhel5.KMOD_DIRECTORY}/{m.name}.ko" for m in rhel5.kmod_kvm()}
    assert links(rhel5.NEW) == everything
    assert links(rhel5.OLD) == {"ksm.ko": f"{rhel5.KMOD_DIRECTORY}/ksm.ko"}


def test_made_by_hand(tmp_path: Path) -> None:
    from tests.hosts.__main__ import main

    assert main(["rhel5", str(tmp_path / "host")]) == 0
    assert (tmp_path / "host/etc/redhat-release").is_file()
    assert main(["rhel5", str(tmp_path / "host")]) == 2  # it is not empty any more
