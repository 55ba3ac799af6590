"""What the kernel that boots next has of modules: by its lists and its files, each held against the other."""

from __future__ import annotations

from pathlib import Path

from hostward.config import Config
from hostward.engine import Engine
from hostward.facts.next_modules import NextModules
from hostward.host import Host
from hostward.model import Unavailable
from tests.hosts import rhel5
from tests.hosts.elfwriter import EL5
from tests.hosts.tree import Tree


def next_modules(tree: Tree) -> NextModules | Unavailable:
    found = Engine(Host.at(str(tree.root)), Config()).fact("NextModules")
    assert isinstance(found, (NextModules, Unavailable))
    return found


def test_the_modules_of_the_next_kernel(tmp_path: Path) -> None:
    tree = rhel5.build(tmp_path)
    tree.file(f"/lib/modules/{rhel5.NEW}/extra/unlisted.ko", rhel5.kmod_kvm()[0].build(EL5))
    found = next_modules(tree)
    assert isinstance(found, NextModules)
    assert (found.release, found.missing) == (rhel5.NEW, ())
    assert found.names == {"jbd", "ext3", "mii", "8139too", "kvm", "kvm_intel", "kvm_amd", "ksm", "unlisted"}


def test_a_listed_link_that_dangles_is_no_module(tmp_path: Path) -> None:
    tree = rhel5.build(tmp_path)
    tree.remove(f"{rhel5.KMOD_DIRECTORY}/kvm-amd.ko")
    found = next_modules(tree)
    assert isinstance(found, NextModules)
    assert "kvm_amd" not in found.names and "kvm_intel" in found.names


def test_a_next_kernel_that_is_not_installed(tmp_path: Path) -> None:
    tree = rhel5.build(tmp_path)
    for path in (f"/lib/modules/{rhel5.NEW}", f"/boot/vmlinuz-{rhel5.NEW}"):
        tree.remove(path)
    found = next_modules(tree)
    assert isinstance(found, Unavailable) and rhel5.NEW in found.reason
