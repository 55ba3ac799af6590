"""What a transaction touched, by the names of its files."""

from __future__ import annotations

import pytest

from hostward.facts.module_trees import TreeModule
from hostward.facts.verdicts import JudgedModule
from hostward.kmod.verdict import LOADS, Verdict
from hostward.scriptlet.touched import EVERYTHING, by_files

EXTRA = "/lib/modules/5/extra/kmod-kvm/kvm.ko"
LINK = "/lib/modules/6/weak-updates/kmod-kvm/kvm.ko"
LOADED = Verdict(LOADS)


def judged(path: str, file: str = "", release: str = "6", providers: tuple[JudgedModule, ...] = ()) -> JudgedModule:
    return JudgedModule(release, "kvm", path, file or path, LOADED, providers=providers)


@pytest.mark.parametrize("prefix", ["", "/usr"])
def test_a_link_is_touched_with_the_file_behind_it(prefix: str) -> None:
    touched = by_files([prefix + EXTRA])
    assert touched.files == {EXTRA} and not touched.kernels
    assert touched.module(TreeModule("6", LINK, "kvm", "weak-updates", link=EXTRA, target="/usr" + EXTRA))
    assert touched.judged(judged(LINK, EXTRA))
    assert not touched.judged(judged("/lib/modules/6/extra/other/x.ko"))


def test_a_module_is_touched_with_what_it_needs() -> None:
    touched = by_files([EXTRA])
    deep = judged("/lib/modules/6/extra/a.ko", providers=(judged("/m/b.ko", providers=(judged(LINK, EXTRA),)),))
    assert touched.judged(deep)


def test_a_kernel_is_touched_by_its_own_files_alone() -> None:
    for name in ("kernel/arch/x86/kvm/kvm.ko.xz", "modules.builtin", "vmlinuz"):
        assert by_files([f"/lib/modules/6/{name}"]).kernels == {"6"}
    assert by_files([EXTRA, "/lib/modules/6/weak-updates/x/kvm.ko"]).kernels == frozenset()
    assert by_files(["/lib/modules/6/vmlinuz"]).judged(judged(LINK, EXTRA))


def test_names_of_no_concern() -> None:
    assert by_files(["", "/lib/modules", "/lib/modules/6", "/etc/passwd", "/lib/modules/6/extra/x/README"]).nothing
    assert by_files(["/etc/sysconfig/modules/kvm.modules"]).scripts


def test_modules_by_name() -> None:
    touched = by_files(["/lib/modules/6/extra/kmod-kvm/kvm-amd.ko.xz"])
    assert touched.named({"kvm_amd"}) and not touched.named({"kvm"})
    assert EVERYTHING.named({"kvm"})
