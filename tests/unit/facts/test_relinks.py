"""Links in weak-updates: which are wrong, which build they should lead to, and whether modules.dep knows the modules.

The trees hold byte-true modules of RHEL 5; whether a build loads is the verdict's word, as in tests/lab it is the
kernel's.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from hostward import remedies
from hostward.config import Config
from hostward.engine import Engine
from hostward.facts.module_maps import ModuleMaps
from hostward.facts.relinks import Relink, Relinks
from hostward.host import Host
from hostward.model import Remedy
from hostward.remedies import NoRemedy
from hostward.remedies.steps import show
from tests.hosts import rhel5
from tests.hosts.elfwriter import EL5
from tests.hosts.tree import Tree

LINK = f"/lib/modules/{rhel5.OLD}/weak-updates/kmod-kvm/ksm.ko"
OLDER = "2.6.18-164.el5"


def engine(tree: Tree) -> Engine:
    return Engine(Host.at(str(tree.root)), Config())


def relinks(tree: Tree) -> tuple[Relink, ...]:
    found = engine(tree).fact("Relinks")
    assert isinstance(found, Relinks), found
    return found.relinks


def build_for(tree: Tree, release: str, needs: str = "printk misc_register") -> str:
    """A build of kmod-kvm's ksm for another kernel; the path of the file."""
    path = f"/lib/modules/{release}/extra/kmod-kvm/ksm.ko"
    tree.file(path, rhel5._module("ksm", release, needs).build(EL5))
    return path


def plan(tree: Tree, remedy: str) -> Remedy:
    remedies.load_all()
    return engine(tree).plan(remedy)


def test_without_another_build_the_link_is_to_go(tmp_path: Path) -> None:
    tree = rhel5.build(tmp_path)
    (found,) = relinks(tree)
    assert (found.release, found.package, found.source) == (rhel5.OLD, "kmod-kvm", "")
    assert found.links == ((LINK, f"{rhel5.KMOD_DIRECTORY}/ksm.ko", ""),)
    assert "kvm_ksm_spte_count" in found.why[0]
    assert [show(s) for s in plan(tree, "modules.relink").steps] == [f"rm -- {LINK}", f"depmod {rhel5.OLD}"]


def test_the_newest_build_that_loads_is_taken(tmp_path: Path) -> None:
    tree = rhel5.build(tmp_path)
    build_for(tree, "2.6.18-128.el5")
    fits = build_for(tree, OLDER)
    build_for(tree, "2.6.18-238.el5", needs="printk no_such_symbol")
    (found,) = relinks(tree)
    assert (found.source, found.links) == (OLDER, ((LINK, f"{rhel5.KMOD_DIRECTORY}/ksm.ko", fits),))
    made = plan(tree, "modules.relink")
    assert [show(s) for s in made.steps] == [f"ln -sfn -- {fits} {LINK}", f"depmod {rhel5.OLD}"]
    assert made.why == f"the build of kmod-kvm for kernel {OLDER} loads on {rhel5.OLD}"


def test_a_build_that_lacks_what_the_others_of_it_need_does_not_fit(tmp_path: Path) -> None:
    tree = rhel5.build(tmp_path)
    build_for(tree, OLDER, needs=f"printk {rhel5.SYMBOL}")
    (found,) = relinks(tree)
    assert found.source == ""


def test_a_link_that_dangles_is_relinked_or_removed(tmp_path: Path) -> None:
    tree = rhel5.build(tmp_path)
    tree.remove(f"{rhel5.KMOD_DIRECTORY}/ksm.ko")
    both = {r.release: r.links[0][2] for r in relinks(tree)}
    assert both == {rhel5.OLD: "", rhel5.NEW: ""}
    dangling = [show(s) for s in plan(tree, "modules.remove-dangling").steps]
    new = f"rm -- /lib/modules/{rhel5.NEW}/weak-updates/kmod-kvm/ksm.ko"
    assert dangling == [new, f"depmod {rhel5.NEW}", f"rm -- {LINK}", f"depmod {rhel5.OLD}"]
    fits = build_for(tree, OLDER)
    # On the newer kernel the rest of the package is linked to the build for 203, which has no ksm any more.
    assert {r.release: r.links[0][2] for r in relinks(tree)} == {rhel5.OLD: fits, rhel5.NEW: ""}


def test_links_that_lead_to_what_loads_are_left_alone(tmp_path: Path) -> None:
    tree = rhel5.build(tmp_path)
    tree.remove(LINK)
    assert relinks(tree) == ()
    with pytest.raises(NoRemedy, match="no link in weak-updates is wrong"):
        plan(tree, "modules.relink")
    with pytest.raises(NoRemedy, match="not in weak-updates"):
        plan(tree, "modules.remove-dangling")


def test_a_kernel_that_is_gone_gets_no_map(tmp_path: Path) -> None:
    tree = rhel5.build(tmp_path)
    tree.link(f"/lib/modules/{OLDER}/weak-updates/kmod-kvm/ksm.ko", "/lib/modules/none/ksm.ko")
    steps = [show(s) for s in plan(tree, "modules.remove-dangling").steps]
    assert steps == [f"rm -- /lib/modules/{OLDER}/weak-updates/kmod-kvm/ksm.ko"]


def stale(tree: Tree) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    found = engine(tree).fact("ModuleMaps")
    assert isinstance(found, ModuleMaps), found
    return [(one.release, one.gone, one.unlisted) for one in found.stale]


def test_the_map_of_the_release_note_is_up_to_date(tmp_path: Path) -> None:
    assert stale(rhel5.build(tmp_path)) == []


def test_a_module_that_depmod_never_saw(tmp_path: Path) -> None:
    tree = rhel5.build(tmp_path)
    path = f"/lib/modules/{rhel5.NEW}/extra/more/new.ko"
    tree.file(path, rhel5._module("new", rhel5.NEW, "printk").build(EL5))
    assert stale(tree) == [(rhel5.NEW, (), (path,))]
    assert [show(s) for s in plan(tree, "modules.rebuild-map").steps] == [f"depmod {rhel5.NEW}"]


def test_one_that_should_shadow_the_kernels_own(tmp_path: Path) -> None:
    tree = rhel5.build(tmp_path)
    path = f"/lib/modules/{rhel5.NEW}/extra/mii.ko"
    tree.file(path, rhel5._module("mii", rhel5.NEW, "printk", "mii_link_ok mii_check_link").build(EL5))
    assert stale(tree) == [(rhel5.NEW, (), (path,))]


def test_one_that_the_kernels_own_shadows_is_not_missed(tmp_path: Path) -> None:
    tree = rhel5.build(tmp_path)
    path = f"/lib/modules/{rhel5.NEW}/weak-updates/mii.ko"
    tree.file(path, rhel5._module("mii", rhel5.NEW, "printk", "mii_link_ok mii_check_link").build(EL5))
    assert stale(tree) == []


def test_a_file_that_depmod_cannot_read_either_is_not_missed(tmp_path: Path) -> None:
    tree = rhel5.build(tmp_path)
    tree.file(f"/lib/modules/{rhel5.NEW}/extra/broken.ko", b"no module at all")
    assert stale(tree) == []


def test_a_module_that_is_gone_and_still_listed(tmp_path: Path) -> None:
    tree = rhel5.build(tmp_path)
    gone = f"/lib/modules/{rhel5.NEW}/extra/gone.ko"
    dep = f"/lib/modules/{rhel5.NEW}/modules.dep"
    tree.file(dep, Path(tree.at(dep)).read_text() + f"{gone}:\n")
    assert stale(tree) == [(rhel5.NEW, (gone,), ())]
    with pytest.raises(NoRemedy):
        plan(rhel5.build(tmp_path / "whole"), "modules.rebuild-map")
