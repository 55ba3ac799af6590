from __future__ import annotations

import os
import time
from pathlib import Path

from hostward.facts.kernels import kernels
from hostward.facts.module_trees import MODULES_MAX, ModuleTree, ModuleTrees, TreeModule, module_name, module_trees
from hostward.host import Host
from tests.hosts import hostile, rhel5
from tests.hosts.tree import Tree

R = "6.1.0-1-amd64"
BASE = f"/lib/modules/{R}"


def look(root: Path) -> ModuleTrees:
    host = Host.at(str(root))
    return module_trees(host, kernels(host))


def of(tree: Tree) -> ModuleTree:
    found = look(tree.root).get(R)
    assert found
    return found


def test_rhel5(tmp_path: Path) -> None:
    rhel5.build(tmp_path)
    trees = look(tmp_path)
    assert [tree.release for tree in trees.trees] == [rhel5.NEW, rhel5.OLD, rhel5.BUILT_FOR]
    old = trees.get(rhel5.OLD)
    target = f"{rhel5.KMOD_DIRECTORY}/ksm.ko"
    assert old == ModuleTree(
        rhel5.OLD,
        f"/lib/modules/{rhel5.OLD}",
        (
            TreeModule(
                rhel5.OLD,
                f"/lib/modules/{rhel5.OLD}/weak-updates/kmod-kvm/ksm.ko",
                "ksm",
                "weak-updates",
                target,
                target,
                rhel5.BUILT_FOR,
            ),
        ),
        in_tree=4,
    )
    assert len(trees.outside) == 4 + 1 + 4


def test_names() -> None:
    assert module_name("/x/kvm-intel.ko.xz") == "kvm_intel"
    assert [module_name(f"a.ko{s}") for s in ("", ".gz", ".xz", ".zst", ".bak", "x")] == ["a", "a", "a", "a", "", ""]


def test_where_modules_lie(tmp_path: Path) -> None:
    tree = Tree(tmp_path).directory(f"{BASE}/kernel")
    for path in (
        "top.ko",
        "kernel/in.ko",
        "extra/a/b/deep.ko.xz",
        "updates/dkms/zfs.ko",
        "vendor/odd.ko",
        "build/no.ko",
    ):
        tree.file(f"{BASE}/{path}")
    assert [(m.name, m.where) for m in of(tree).outside] == [
        ("deep", "extra"), ("top", ""), ("zfs", "updates"), ("odd", "vendor"),
    ]  # fmt: skip


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.link(f"{BASE}/weak-updates/gone.ko", "/lib/modules/6.1.0-0-amd64/extra/gone.ko")
    tree.link(f"{BASE}/weak-updates/loop.ko", "loop.ko").link(f"{BASE}/weak-updates/dir.ko", "..")
    tree.fifo(f"{BASE}/extra/pipe").link(f"{BASE}/weak-updates/pipe.ko", "../extra/pipe")
    tree.directory(f"{BASE}/kernel")
    found = {module.name: module for module in of(tree).outside}
    assert all(module.dangling and module.file == "" for module in found.values())
    assert found["gone"].problem == "leads to /lib/modules/6.1.0-0-amd64/extra/gone.ko, which does not exist"
    assert found["gone"].target_release == "6.1.0-0-amd64"
    assert "loop" in found["loop"].problem
    assert found["dir"].problem == f"leads to {BASE}, which is not a regular file"
    assert "not a regular file" in found["pipe"].problem


def test_links_never_lead_out_of_the_host(tmp_path: Path) -> None:
    outside = tmp_path / "secret.ko"
    outside.write_bytes(b"outside")
    tree = Tree(tmp_path / "root").directory(f"{BASE}/kernel")
    tree.link(f"{BASE}/extra/absolute.ko", str(outside)).link(f"{BASE}/extra/up.ko", "../" * 20 + str(outside)[1:])
    assert [module.target for module in of(tree).outside] == ["", ""]


def test_linked_directories_are_walked_once(tmp_path: Path) -> None:
    """depmod walks into directories behind links; loops must end."""
    tree = Tree(tmp_path).directory(f"{BASE}/kernel").file("/opt/driver/one.ko")
    tree.link(f"{BASE}/extra", "/opt/driver").link("/opt/driver/again", ".").link(f"{BASE}/updates", "updates")
    (module,) = of(tree).outside
    assert (module.path, module.where) == (f"{BASE}/extra/one.ko", "extra")


def test_usr_merge_and_target_releases(tmp_path: Path) -> None:
    tree = Tree(tmp_path).link("/lib", "usr/lib").directory(f"{BASE}/kernel")
    tree.file("/lib/modules/6.1.0-0-amd64/extra/x.ko")
    tree.link(f"{BASE}/weak-updates/x.ko", "/lib/modules/6.1.0-0-amd64/extra/x.ko")
    (module,) = of(tree).outside
    assert module.target == "/usr/lib/modules/6.1.0-0-amd64/extra/x.ko"
    assert module.target_release == "6.1.0-0-amd64"


def test_names_that_are_not_utf8_survive(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.ko")
    tree = Tree(tmp_path).directory(f"{BASE}/kernel").file(f"{BASE}/extra/{name}", b"x")
    (module,) = of(tree).outside
    assert os.fsencode(module.path).endswith(b"caf\xe9.ko")
    assert Host.at(str(tmp_path)).read(module.file) == b"x"


def test_in_tree_modules_are_counted_from_either_form_of_modules_dep(tmp_path: Path) -> None:
    tree = Tree(tmp_path).file(f"{BASE}/modules.dep", "kernel/a.ko.xz: kernel/b.ko.xz\nkernel/b.ko.xz:\nextra/c.ko:\n")
    tree.directory(f"{BASE}/kernel")
    assert of(tree).in_tree == 2
    tree.file(f"{BASE}/modules.dep", f"{BASE}/kernel/a.ko: {BASE}/kernel/b.ko\n{BASE}/extra/c.ko:\n")
    assert of(tree).in_tree == 1
    tree.remove(f"{BASE}/modules.dep")
    assert of(tree).in_tree is None


def test_an_endless_tree_ends_with_a_reason(tmp_path: Path) -> None:
    hostile.crowded(str(tmp_path))
    start = time.monotonic()
    trees = look(tmp_path)
    assert time.monotonic() - start < 2
    assert [len(tree.outside) for tree in trees.trees] == [0, 0]
    assert all("given up" in tree.problems[0] or "more than" in tree.problems[0] for tree in trees.trees)


def test_more_modules_than_make_sense(tmp_path: Path) -> None:
    tree = Tree(tmp_path).directory(f"{BASE}/kernel").file(f"{BASE}/extra/first.ko")
    for n in range(MODULES_MAX):
        os.link(tree.at(f"{BASE}/extra/first.ko"), tree.at(f"{BASE}/extra/{n}.ko"))
    assert of(tree).outside == ()
    assert f"{MODULES_MAX + 1} modules outside kernel/" in of(tree).problems[0]
