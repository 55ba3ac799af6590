"""Which system a guest runs, the card it gets by default, and the one to give it instead."""

from __future__ import annotations

import pytest

from hostward.facts.domain import Domain, Nic
from hostward.facts.guest_os import better_nic, default_nic_model, system_of, system_of_command
from hostward.facts.qemu_command import parse_command


def domain(
    os_id: str = "", machine: str = "pc-q35-7.2", arch: str = "x86_64", type: str = "kvm", clock: str = "utc"
) -> Domain:
    return Domain("g", "u", type, os_id=os_id, machine=machine, arch=arch, clock_offset=clock)


@pytest.mark.parametrize(
    ("os_id", "family", "version"),
    [
        ("http://microsoft.com/win/7", "windows", "7"),
        ("http://microsoft.com/win/2k12r2", "windows", "2k12r2"),
        ("http://microsoft.com/winnt/4.0", "windows", "winnt-4.0"),
        ("http://microsoft.com/msdos/6.22", "other", "6.22"),
        ("http://redhat.com/rhel/9.2", "linux", "rhel/9.2"),
        ("https://debian.org/debian/12", "linux", "debian/12"),
        ("http://freebsd.org/freebsd/13.0", "bsd", "freebsd/13.0"),
        ("http://oracle.com/solaris/11", "other", "solaris/11"),
        ("http://oracle.com/ol/8.4", "linux", "ol/8.4"),
        ("http://novell.com/netware/6", "other", "netware/6"),
    ],
)
def test_libosinfo_tells(os_id: str, family: str, version: str) -> None:
    system = system_of(domain(os_id))
    assert (system.family, system.version, system.sure) == (family, version, True)


def test_a_clock_in_local_time_is_a_hint_and_no_more() -> None:
    assert system_of(domain(clock="localtime")).family == "windows" and not system_of(domain(clock="localtime")).sure
    assert system_of(domain("http://debian.org/debian/12", clock="localtime")).family == "linux"
    assert system_of(domain()).family == ""
    for line in ("-localtime", "-rtc base=localtime,clock=host"):
        assert system_of_command(parse_command(["kvm", *line.split()])).family == "windows"
    assert system_of_command(parse_command(["kvm", "-rtc", "base=utc"])).family == ""


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("win7", "7"), ("WIN7-x64", "7"), ("win7x64", "7"), ("lab_windows-10", "10"), ("Windows Server 2008 R2", "2k8"),
        ("win2k12", "2k12"), ("windows2019", "2k19"), ("winxp.sp3", "xp"), ("win8.1", "8.1"),
        ("darwin7", None), ("twin7", None), ("winner", None), ("window7", None), ("win70", None), ("web", None),
    ],
)  # fmt: skip
def test_a_name_is_a_hint(name: str, version: str | None) -> None:
    system = system_of(Domain(name, "u", "kvm"))
    assert (system.family, system.version, system.sure) == (("windows", version, False) if version else ("", "", False))


@pytest.mark.parametrize(
    ("os_id", "machine", "model"),
    [
        ("http://redhat.com/rhel/9.2", "pc-q35-7.2", "virtio"),
        ("http://redhat.com/rhel/5.3", "pc", "virtio"),
        ("http://redhat.com/rhel/5.2", "pc", "e1000"),
        ("http://redhat.com/rhel/4.9", "pc", "e1000"),
        ("http://redhat.com/rhel-unknown", "pc", "virtio"),
        ("http://debian.org/debian/4", "pc", "e1000"),
        ("http://ubuntu.com/ubuntu/22.04", "pc", "virtio"),
        ("http://archlinux.org/archlinux/rolling", "pc", "virtio"),
        ("http://freebsd.org/freebsd/9.2", "pc", "e1000"),
        ("http://freebsd.org/freebsd/13.0", "pc", "virtio"),
        ("http://microsoft.com/win/xp", "pc", ""),
        ("http://microsoft.com/winnt/4.0", "pc", ""),
        ("http://microsoft.com/win/2k3", "pc", ""),
        ("http://microsoft.com/win/7", "pc", "e1000"),
        ("http://microsoft.com/win/7", "pc-q35-7.2", "e1000"),
        ("http://microsoft.com/win/10", "pc", "e1000"),
        ("http://microsoft.com/win/10", "pc-q35-7.2", "e1000e"),
        ("http://microsoft.com/win/2k12", "pc-q35-7.2", "e1000e"),
        ("http://microsoft.com/win/2k8r2", "pc-q35-7.2", "e1000"),
        ("http://oracle.com/solaris/11", "pc", "e1000"),
        ("", "pc-q35-7.2", "e1000e"),
        ("", "pc", "e1000"),
        ("", "rhel5.4.0", "e1000"),
    ],
)
def test_the_card_to_give(os_id: str, machine: str, model: str) -> None:
    given, why = better_nic(domain(os_id, machine))
    assert given == model and why


@pytest.mark.parametrize(
    ("arch", "machine", "type", "nic", "model"),
    [
        ("x86_64", "pc", "kvm", "network", "rtl8139"),
        ("x86_64", "q35", "qemu", "bridge", "rtl8139"),
        ("", "", "kvm", "user", "rtl8139"),
        ("ppc64le", "pseries", "kvm", "network", "rtl8139"),
        ("s390x", "s390-ccw-virtio", "kvm", "network", "virtio"),
        ("aarch64", "virt", "kvm", "network", "virtio"),
        ("aarch64", "virt-8.0", "kvm", "network", "virtio"),
        ("armv7l", "vexpress-a15", "qemu", "network", "lan9118"),
        ("armv6l", "versatilepb", "qemu", "network", "smc91c111"),
        ("riscv64", "virt", "qemu", "network", "virtio"),
        ("x86_64", "pc", "kvm", "hostdev", ""),
        ("x86_64", "pc", "kvm", "vdpa", "virtio"),
        ("x86_64", "pc", "kvm", "vhostuser", "virtio"),
        ("x86_64", "", "xen", "bridge", ""),
        ("x86_64", "", "lxc", "bridge", ""),
    ],
)
def test_the_card_that_libvirt_gives(arch: str, machine: str, type: str, nic: str, model: str) -> None:
    assert default_nic_model(domain(machine=machine, arch=arch, type=type), Nic("interface", nic)) == model
