from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from hostward.facts.cpu import cpu_virtualization, judge
from hostward.facts.kernels import RunningKernel, running_kernel
from hostward.facts.kvm_device import KvmDevice, kvm_device
from hostward.facts.loaded import LoadedModule, loaded_modules
from hostward.host import Host, HostError, Missing, NotRegular
from hostward.host.kvm import api_version
from hostward.model import NotApplicable
from tests.hosts.tree import Tree


def cpu(tmp_path: Path, cpuinfo: str) -> Host:
    return Host.at(str(Tree(tmp_path).file("/proc/cpuinfo", cpuinfo).root))


@pytest.mark.parametrize(
    ("architecture", "cpuinfo", "expected"),
    [
        ("x86_64", "vendor_id : AuthenticAMD\nflags : fpu svm\n", ("svm", True, "kvm_amd")),
        ("x86_64", "vendor_id : GenuineIntel\nflags : fpu vmx\n", ("vmx", True, "kvm_intel")),
        ("x86_64", "vendor_id : GenuineIntel\nflags : fpu vmxoff\n", ("", False, "")),
        ("x86_64", "vendor_id : GenuineIntel\nflags : fpu hypervisor\n", ("", False, "")),
        ("i686", "flags : fpu svm\n", ("svm", True, "kvm_amd")),
        ("s390x", "vendor_id : IBM/S390\nfeatures : esan3 zarch sie \n", ("sie", True, "kvm")),
        ("s390x", "vendor_id : IBM/S390\nfeatures : esan3 zarch\n", ("", False, "")),
        ("ppc64le", "cpu : POWER9\nplatform : PowerNV\n", ("hv", True, "kvm_hv")),
        ("ppc64le", "cpu : POWER9\nplatform : pSeries\n", ("", None, "kvm_hv")),
        ("aarch64", "processor : 0\n", ("", None, "kvm")),
        ("riscv64", "", ("", None, "kvm")),
    ],
)
def test_who_can_run_guests(architecture: str, cpuinfo: str, expected: tuple[object, ...], tmp_path: Path) -> None:
    found = judge(cpu(tmp_path, cpuinfo), architecture)
    assert (found.extension, found.able, found.module) == expected
    assert found.reason


def test_the_reason_knows_a_guest_from_a_switch_in_the_firmware(tmp_path: Path) -> None:
    assert "hypervisor does not pass it on" in judge(cpu(tmp_path, "flags : fpu hypervisor\n"), "x86_64").reason
    assert "firmware setup" in judge(cpu(tmp_path, "flags : fpu\n"), "x86_64").reason


def test_this_processor() -> None:
    found = cpu_virtualization(Host.running())
    flags = Path("/proc/cpuinfo").read_text()
    assert found.architecture == os.uname().machine
    if found.extension in ("svm", "vmx"):
        assert f" {found.extension} " in flags


def test_a_tree_has_no_processor(tmp_path: Path) -> None:
    with pytest.raises(NotApplicable):
        cpu_virtualization(Host.at(str(tmp_path)))


# /dev/kvm


def test_kvm_of_this_machine() -> None:
    found = kvm_device(Host.running())
    assert found.exists == Path("/dev/kvm").exists()
    if found.exists:
        assert found.mode == stat.S_IMODE(os.stat("/dev/kvm").st_mode)
        assert found.api_version == 12 or found.problem


def test_a_fifo_for_dev_kvm_neither_hangs_nor_raises(tmp_path: Path) -> None:
    tree = Tree(tmp_path).fifo("/dev/kvm")
    with pytest.raises(NotRegular, match="not a character device"):
        api_version(tree.at("/dev/kvm"))
    with pytest.raises(Missing):
        api_version(tree.at("/dev/nothing"))


def test_a_device_that_is_not_kvm() -> None:
    with pytest.raises(HostError, match="does not answer KVM_GET_API_VERSION: Inappropriate ioctl"):
        api_version("/dev/null")


def test_owner_and_group_by_name(tmp_path: Path) -> None:
    tree = Tree(tmp_path).file("/etc/group", "kvm:x:36:\n").file("/etc/passwd", "qemu:x:107:107::/:/sbin/nologin\n")
    tree.fifo("/dev/kvm")
    try:
        os.chown(tree.at("/dev/kvm"), 107, 36)
    except OSError as error:
        if error.errno != errno.EPERM:
            raise
        pytest.skip("only root gives files away")
    os.chmod(tree.at("/dev/kvm"), 0o660)
    found = kvm_device(Host(str(tmp_path), live=True))
    assert (found.exists, found.mode, found.owner, found.group) == (True, 0o660, "qemu", "kvm")


def test_no_device(tmp_path: Path) -> None:
    assert kvm_device(Host(str(tmp_path), live=True)) == KvmDevice(False, problem="/dev/kvm does not exist")
    with pytest.raises(NotApplicable):
        kvm_device(Host.at(str(tmp_path)))


# loaded modules


def test_proc_modules_and_sys_module(tmp_path: Path) -> None:
    tree = Tree(tmp_path).file(
        "/proc/modules",
        "kvm_amd 155648 0 - Live 0xffffffffc0a00000\n"
        "kvm 1105920 1 kvm_amd, Live 0xffffffffc0800000\n"
        "zfs 3821568 6 - Loading 0xffffffffc0000000 (POE)\n"
        "broken line\n",
    )
    tree.file("/sys/module/kvm/srcversion", "ABCDEF0123456789ABCDEF0\n").file("/sys/module/kvm/taint", "\n")
    tree.file("/sys/module/zfs/taint", "POE\n").directory("/sys/module/8250")
    tree.file(
        "/lib/modules/6.1.0/modules.builtin", "kernel/fs/ext4/ext4.ko\nkernel/drivers/char/hw_random/rng-core.ko\n"
    )
    found = loaded_modules(Host(str(tmp_path), live=True), RunningKernel("6.1.0", "", "x86_64"))
    assert found.get("kvm") == LoadedModule("kvm", 1105920, ("kvm_amd",), "live", "", "ABCDEF0123456789ABCDEF0")
    assert found.modules["zfs"].taint == "POE"
    assert found.builtin == {"8250", "ext4", "rng_core"}
    assert [found.present(name) for name in ("kvm-amd", "zfs", "ext4", "rng-core", "xfs")] == [
        True, False, True, True, False,
    ]  # fmt: skip


def test_a_kernel_without_modules(tmp_path: Path) -> None:
    host = Host(str(Tree(tmp_path).directory("/sys/module/kvm").root), live=True)
    assert loaded_modules(host, RunningKernel("6.1.0", "", "x86_64")).present("kvm")


def test_this_machine() -> None:
    host = Host.running()
    found = loaded_modules(host, running_kernel(host))
    if not Path("/proc/modules").exists():
        assert found.modules == {} and found.builtin  # a kernel built without modules
        return
    assert len(found.modules) == len(Path("/proc/modules").read_text().splitlines())
