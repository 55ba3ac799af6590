"""Each module check, called with plain facts: it fires, stays silent, or says why it can't or need not judge."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from hostward.checks import modules as checks
from hostward.facts.boot import Boot
from hostward.facts.cpu import CpuVirtualization
from hostward.facts.kernels import Kernel, Kernels, RunningKernel
from hostward.facts.known_issues import KnownIssue, KnownIssues
from hostward.facts.kvm_device import KvmDevice
from hostward.facts.kvm_modules import KvmModules
from hostward.facts.loaded import LoadedModule, LoadedModules
from hostward.facts.module_files import LoadedFile, LoadedFiles, UnsignedModules
from hostward.facts.module_trees import ModuleTree, ModuleTrees, TreeModule
from hostward.facts.next_modules import NextModules
from hostward.facts.packages import Owner, Packages
from hostward.facts.verdicts import JudgedModule, ModuleVerdicts
from hostward.kmod.verdict import FAILS, LOADS, UNKNOWN, Reason, Verdict
from hostward.model import BZ, Finding, NotApplicable, Severity, Unavailable

OLD, NEW = "2.6.18-194.el5", "2.6.18-238.el5"
RUNNING = RunningKernel(OLD, "#1 SMP", "x86_64")
NO_PACKAGES = Unavailable("rpm's database can't be read")


def module(release: str, path: str, target: str = "", problem: str = "") -> TreeModule:
    """A module below a kernel's directory; a link where it has a target or a problem."""
    full = f"/lib/modules/{release}/{path}"
    name = path.rpartition("/")[2][:-3].replace("-", "_")
    link = target or ("/gone.ko" if problem else "")
    return TreeModule(release, full, name, path.partition("/")[0], link, target, "", problem)


def trees(*modules: TreeModule) -> ModuleTrees:
    releases = dict.fromkeys((NEW, OLD, *(m.release for m in modules)))
    return ModuleTrees(
        tuple(
            ModuleTree(release, f"/lib/modules/{release}", tuple(m for m in modules if m.release == release), 10)
            for release in releases
        )
    )


def kernels(*releases: str) -> Kernels:
    return Kernels(tuple(Kernel(release) for release in releases or (NEW, OLD)))


def until_blind(check: Iterator[Finding]) -> tuple[list[Finding], str]:
    """The findings of a check, and what it could not judge."""
    found: list[Finding] = []
    try:
        for finding in check:
            found.append(finding)
    except Unavailable as blind:
        assert not isinstance(blind, NotApplicable)
        return found, blind.reason
    return found, ""


# modules.kernel-floor

FLOOR = KnownIssues(
    (
        KnownIssue(
            "floor", "RHEL", "5.6", "4.15", "needs a newer kernel", "", "Boot the newer one.",
            check="modules.kernel-floor", references=(BZ(509361),), package="kmod-kvm", kernel="< 2.6.18-203.el5",
        ),
    )
)  # fmt: skip


def floor(
    there: ModuleTrees, packages: Packages | Unavailable = NO_PACKAGES, installed: Kernels | None = None
) -> list[Finding]:
    return list(checks.kernel_floor(there, installed or kernels(), FLOOR, packages))


def test_floor_fires_for_a_kernel_below_it_and_not_for_one_above() -> None:
    weak = [module(r, "weak-updates/kmod-kvm/ksm.ko", "/lib/modules/x/extra/kmod-kvm/ksm.ko") for r in (NEW, OLD)]
    (finding,) = floor(trees(*weak))
    assert finding.severity is Severity.WARNING and OLD in finding.summary and NEW not in finding.summary
    assert finding.evidence == (f"{weak[1].path} -> {weak[1].link}",)
    assert finding.advice == "Boot the newer one." and finding.references == (BZ(509361),)


def test_floor_asks_the_package_manager_before_the_directory() -> None:
    elsewhere = module(OLD, "extra/virt/ksm.ko")
    assert floor(trees(elsewhere)) == []
    owned = Packages("rpm", {elsewhere.path: Owner("kmod-kvm", "83-224.el5", "rpm")})
    assert len(floor(trees(elsewhere), owned)) == 1
    taken = Packages("rpm", {elsewhere.path: Owner("kmod-other", "1-1", "rpm")})
    assert floor(trees(module(OLD, "extra/kmod-kvm/ksm.ko")), Packages("rpm", {})) != []
    assert floor(trees(elsewhere), taken) == []


def test_floor_leaves_kernels_alone_that_are_gone() -> None:
    assert floor(trees(module(OLD, "extra/kmod-kvm/ksm.ko")), installed=kernels(NEW)) == []


@pytest.mark.parametrize(
    ("release", "below"),
    [("2.6.18-202.el5", True), ("2.6.18-203.el5", False), ("2.6.18-203.1.el5", False), ("2.6.18-92.el5", True)],
)
def test_floor_compares_as_rpm_does(release: str, below: bool) -> None:
    found = floor(trees(module(release, "extra/kmod-kvm/ksm.ko")), installed=kernels(release))
    assert bool(found) is below


# modules.weak-updates-dangling


def test_dangling_links_are_errors_where_the_kernel_is_there() -> None:
    gone = module(OLD, "weak-updates/zfs.ko", problem="leads to /gone.ko, which does not exist")
    left_over = module("2.6.18-8.el5", "weak-updates/a.ko", problem="leads to /gone.ko, which does not exist")
    good = module(NEW, "weak-updates/zfs.ko", "/lib/modules/x/extra/zfs.ko")
    found = list(checks.weak_updates_dangling(trees(gone, left_over, good), kernels()))
    assert [(f.severity, f.subject) for f in found] == [
        (Severity.ERROR, OLD),
        (Severity.WARNING, "2.6.18-8.el5"),
    ]
    assert found[0].evidence == (f"{gone.path} leads to /gone.ko, which does not exist",)
    assert f"depmod {OLD}" in found[0].advice and "is gone" in found[1].summary


def test_links_that_lead_to_modules_are_silent() -> None:
    good = module(NEW, "weak-updates/zfs.ko", "/lib/modules/x/extra/zfs.ko")
    assert list(checks.weak_updates_dangling(trees(good), kernels())) == []


def test_trees_that_were_not_seen_whole_leave_the_check_blind_after_its_findings() -> None:
    gone = module(OLD, "weak-updates/zfs.ko", problem="leads to /gone.ko, which does not exist")
    seen = trees(gone)
    partly = ModuleTrees(tuple(replace(tree, problems=(f"{tree.path}: given up",)) for tree in seen.trees))
    found, blind = until_blind(checks.weak_updates_dangling(partly, kernels()))
    assert [f.subject for f in found] == [OLD]
    assert blind == f"/lib/modules/{NEW}: given up; /lib/modules/{OLD}: given up"


# modules.weak-updates-symbols

MISSING = Reason("unknown-symbol", "ENOENT", "ksm: Unknown symbol kvm_ksm_spte_count", "kvm_ksm_spte_count")


def judged(
    outcome: str,
    *reasons: Reason,
    release: str = OLD,
    name: str = "ksm",
    chosen: bool | None = True,
    cannot: tuple[str, ...] = (),
    providers: tuple[JudgedModule, ...] = (),
) -> JudgedModule:
    path = f"/lib/modules/{release}/weak-updates/kmod-kvm/{name}.ko"
    verdict = Verdict(outcome, reasons[-1].errno if reasons and outcome == FAILS else "", reasons, "", cannot)
    return JudgedModule(release, name, path, f"/real/{name}.ko", verdict, chosen, "", providers)


def symbols(*modules: JudgedModule, running: RunningKernel | Unavailable = RUNNING) -> list[Finding]:
    return list(checks.weak_updates_symbols(ModuleVerdicts(modules), running))


def test_a_module_that_fails_is_named_in_depmods_words() -> None:
    (finding,) = symbols(judged(FAILS, MISSING))
    assert finding.severity is Severity.ERROR
    assert finding.summary == (
        f"ksm does not load on kernel {OLD}, which runs: needs unknown symbol kvm_ksm_spte_count"
    )
    path = f"/lib/modules/{OLD}/weak-updates/kmod-kvm/ksm.ko"
    assert finding.evidence == (
        f"{path} -> /real/ksm.ko",
        f"WARNING: {path} needs unknown symbol kvm_ksm_spte_count",
        "finit_module answers ENOENT",
    )
    assert "remove the link" in finding.advice


def test_only_the_running_kernel_runs() -> None:
    for running in (RunningKernel(NEW, "", ""), Unavailable("a tree")):
        assert "which runs" not in symbols(judged(FAILS, MISSING), running=running)[0].summary


def test_what_loads_and_what_is_shadowed_is_silent() -> None:
    assert symbols(judged(LOADS), judged(FAILS, MISSING, chosen=False), judged(UNKNOWN, chosen=False)) == []


def test_a_file_that_may_be_chosen_is_judged() -> None:
    assert len(symbols(judged(FAILS, MISSING, chosen=None))) == 1


def test_what_cannot_be_told_is_a_note_after_the_errors_and_no_pass() -> None:
    verdicts = ModuleVerdicts(
        (judged(UNKNOWN, cannot=("no CRCs are known",)), judged(FAILS, MISSING, name="kvm")), ("/lib/modules/x: gone",)
    )
    found, blind = until_blind(checks.weak_updates_symbols(verdicts, RUNNING))
    assert [f.severity for f in found] == [Severity.ERROR, Severity.INFO]
    assert found[1].evidence == ("no CRCs are known",)
    assert blind == f"/lib/modules/x: gone; ksm on {OLD}"


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (Reason("symbol-crc", "EINVAL", "", "mmput", "0x1", "0x2"), "disagrees about version of symbol mmput"),
        (Reason("no-version", "EINVAL", "m: no symbol version for f\nm: ...", "f"), "without a version for symbol f"),
        (Reason("btf", "EINVAL", "m: one line\nanother"), "m: one line"),
        (Reason("gpl-only", "ENOENT", "", "f", "", "exported for GPL modules only"), "license is not GPL-compatible"),
        (Reason("namespace", "EINVAL", "", "f", "", "in namespace NS"), "does not import the namespace of f"),
        (Reason("module-layout", "ENOEXEC", "", "module_layout", "0x1", "0x2"), "built for another kind of kernel"),
        (Reason("vermagic", "ENOEXEC", "", "", "A SMP", "B SMP"), "built for A SMP, the kernel is B SMP"),
        (Reason("this-module-size", "ENOEXEC", "", "", "1", "2"), "a kernel of another series"),
        (Reason("architecture", "ENOEXEC", "", "", "aarch64", "x86_64"), "built for aarch64, the kernel is x86_64"),
        (Reason("signature", "EKEYREJECTED", "", found="unsigned module"), "its signature: unsigned module"),
        (Reason("blacklist", "EPERM", "", wanted="ksm"), "module_blacklist= on the kernel's command line"),
        (Reason("duplicate-export", "ENOEXEC", "", "f", "", "exported by kernel"), "exports f, which is exported by"),
        (Reason("builtin", "EINVAL", ""), "the kernel has it built in"),
        (Reason("elf", "ENOEXEC", "", found="the ELF header is cut short"), "the ELF header is cut short"),
    ],
)  # fmt: skip
def test_every_rule_has_its_phrase(reason: Reason, said: str) -> None:
    (finding,) = symbols(judged(FAILS, reason))
    assert said in finding.summary and finding.advice


def test_many_symbols_are_named_in_part_and_listed_whole() -> None:
    many = [Reason("unknown-symbol", "ENOENT", "", f"s{n}") for n in range(9)]
    (finding,) = symbols(judged(FAILS, *many))
    assert finding.summary.endswith("needs unknown symbol s0, s1, s2 and 6 more")
    assert sum("needs unknown symbol" in line for line in finding.evidence) == 9


def test_a_provider_that_fails_is_to_blame() -> None:
    kvm = judged(FAILS, MISSING, name="kvm")
    reason = Reason("provider-fails", "ENOENT", "kvm_amd: Unknown symbol f", "f", provider=kvm.path)
    (finding,) = symbols(judged(FAILS, reason, name="kvm_amd", providers=(kvm,)))
    assert "kvm, which it needs, does not load there" in finding.summary


# modules.kvm-not-loaded

CPU = CpuVirtualization("x86_64", "AuthenticAMD", "svm", True, "kvm_amd", "/proc/cpuinfo has the flag svm")
NO_DEVICE = KvmDevice(False, problem="does not exist")
BOOT = Boot((), "", "", "", "", "systemd", True)
KVM = KvmModules("kvm_amd", {"kvm": "kvm: here", "kvm_amd": "kvm_amd: here"})


def loaded(*names: str) -> LoadedModules:
    return LoadedModules({name: LoadedModule(name, 4096, (), "live") for name in names})


def kvm(
    cpu: CpuVirtualization = CPU,
    device: KvmDevice = NO_DEVICE,
    there: LoadedModules | None = None,
    modules: KvmModules = KVM,
    boot: Boot = BOOT,
) -> list[Finding]:
    return list(checks.kvm_not_loaded(cpu, device, there or loaded(), modules, boot, RUNNING))


@pytest.mark.proves("rhel-5.6.kvm.not-loaded-after-install")
def test_kvm_installed_and_not_loaded_is_an_error_with_a_remedy() -> None:
    (finding,) = kvm(modules=replace(KVM, script="/etc/sysconfig/modules/kvm.modules"))
    assert finding.severity is Severity.ERROR and finding.remedies == ("modules.load-kvm",)
    assert "kvm and kvm_amd are not loaded" in finding.summary
    assert finding.advice == "Run /etc/sysconfig/modules/kvm.modules, or load kvm_amd."
    assert "kvm_amd: not loaded" in finding.evidence and "/dev/kvm: does not exist" in finding.evidence


def test_kvm_alone_is_not_enough() -> None:
    (finding,) = kvm(there=loaded("kvm"))
    assert "but kvm_amd is not loaded" in finding.summary


def test_kvm_loaded_and_silent_has_no_remedy() -> None:
    (finding,) = kvm(device=KvmDevice(True, problem="permission denied"), there=loaded("kvm", "kvm_amd"))
    assert finding.remedies == () and "does not answer: permission denied" in finding.summary


def test_kvm_blacklisted_may_be_meant() -> None:
    (finding,) = kvm(modules=replace(KVM, not_by_itself=("modprobe.d has `blacklist kvm_amd`",)))
    assert finding.severity is Severity.WARNING and "modprobe.d has `blacklist kvm_amd`" in finding.evidence


def test_kvm_that_answers_is_silent() -> None:
    assert kvm(device=KvmDevice(True, 0o660, "root", "kvm", 12)) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"boot": replace(BOOT, container="docker")}, "a container (docker) loads no modules"),
        ({"cpu": replace(CPU, able=False, reason="no flag svm or vmx")}, "can't run guests: no flag svm or vmx"),
        ({"modules": KvmModules("kvm_amd")}, "has no KVM modules and no package brought any"),
        ({"modules": replace(KVM, kept_out="module_blacklist=kvm")}, "on purpose: module_blacklist=kvm"),
    ],
)  # fmt: skip
def test_kvm_is_not_asked_for_where_it_makes_no_sense(changed: dict[str, object], said: str) -> None:
    with pytest.raises(NotApplicable) as why:
        kvm(**changed)  # type: ignore[arg-type]
    assert said in why.value.reason


def test_kvm_on_a_processor_nobody_knows_is_unavailable() -> None:
    with pytest.raises(Unavailable) as why:
        kvm(cpu=replace(CPU, able=None, reason="unknown machine"))
    assert not isinstance(why.value, NotApplicable) and "can't be told: unknown machine" in why.value.reason


# modules.next-boot

NEXT = NextModules(NEW, "default=0 in /boot/grub/grub.conf", frozenset({"ext3"}), ())


def next_boot(
    *verdicts: JudgedModule,
    here: ModuleTrees | None = None,
    there: LoadedModules | None = None,
    following: NextModules = NEXT,
) -> list[Finding]:
    here = here or trees(module(OLD, "extra/zfs.ko"))
    return list(checks.next_boot(ModuleVerdicts(verdicts), here, there or loaded("zfs"), RUNNING, CPU, following))


def test_a_module_in_use_that_the_next_kernel_lacks() -> None:
    (finding,) = next_boot()
    assert finding.severity is Severity.ERROR and finding.subject == f"zfs on {NEW}"
    assert finding.summary == f"zfs is in use, and kernel {NEW}, which boots next, has no such module"
    assert finding.evidence == (f"next boot: {NEW} (default=0 in /boot/grub/grub.conf)",)


def test_a_module_in_use_that_the_next_kernel_refuses() -> None:
    (finding,) = next_boot(judged(FAILS, MISSING, release=NEW, name="zfs"))
    assert "which boots next, refuses it: needs unknown symbol kvm_ksm_spte_count" in finding.summary
    assert any("WARNING: " in line for line in finding.evidence)


def test_a_module_that_loads_on_the_next_kernel_is_silent() -> None:
    assert next_boot(judged(LOADS, release=NEW, name="zfs")) == []
    assert next_boot(following=replace(NEXT, names=frozenset({"zfs"}))) == []


def test_a_shadowed_file_of_the_next_kernel_does_not_count() -> None:
    shadowed = judged(FAILS, MISSING, release=NEW, name="zfs", chosen=False)
    assert next_boot(shadowed, following=replace(NEXT, names=frozenset({"zfs"}))) == []
    assert len(next_boot(shadowed)) == 1


def test_modules_that_are_not_in_use_or_of_the_kernels_own_are_not_missed() -> None:
    assert next_boot(there=loaded("ext4")) == []


def test_kvm_in_use_is_missed_even_of_the_kernels_own_tree() -> None:
    found = next_boot(here=trees(), there=loaded("kvm", "kvm_amd", "ext4"))
    assert [f.subject for f in found] == [f"kvm on {NEW}", f"kvm_amd on {NEW}"]


def test_the_kernel_that_runs_boots_again() -> None:
    assert next_boot(following=replace(NEXT, release=OLD)) == []


def test_a_next_kernel_that_is_not_whole() -> None:
    (finding,) = next_boot(following=replace(NEXT, missing=("modules.dep", "kernel/")))
    assert "is not whole: modules.dep, kernel/ is missing" in finding.summary and finding.subject == NEW


# modules.stale-on-disk


def stale(loaded_srcversion: str, file_srcversion: str) -> list[Finding]:
    there = LoadedModules({"zfs": LoadedModule("zfs", 4096, (), "live", "PO", loaded_srcversion)})
    return list(
        checks.stale_on_disk(there, LoadedFiles({"zfs": LoadedFile("/lib/modules/x/extra/zfs.ko", file_srcversion)}))
    )


def test_a_module_updated_on_disk() -> None:
    (finding,) = stale("AAA", "BBB")
    assert finding.severity is Severity.WARNING and finding.subject == "zfs"
    assert finding.evidence == ("loaded: srcversion AAA", "/lib/modules/x/extra/zfs.ko: srcversion BBB")


@pytest.mark.parametrize(("of_loaded", "of_file"), [("AAA", "AAA"), ("", "BBB"), ("AAA", "")])
def test_the_same_module_or_one_without_srcversion(of_loaded: str, of_file: str) -> None:
    assert stale(of_loaded, of_file) == []


# modules.unsigned-under-secure-boot


def test_unsigned_modules_are_told_with_why_it_matters() -> None:
    files = UnsignedModules("Secure Boot is on", (("/lib/modules/x/extra/zfs.ko", "x"),))
    (finding,) = checks.unsigned_under_secure_boot(files)
    assert finding.summary == "zfs.ko is not signed, and Secure Boot is on"
    assert finding.severity is Severity.ERROR and finding.subject == "/lib/modules/x/extra/zfs.ko on x"
    assert list(checks.unsigned_under_secure_boot(UnsignedModules("Secure Boot is on", ()))) == []
