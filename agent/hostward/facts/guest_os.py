"""Which system a guest runs, as far as its definition tells, and which network card that system can drive."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hostward.facts.domain import Domain, Nic
from hostward.facts.guests import Guest
from hostward.facts.qemu_command import QemuCommand

#: Realtek's 8139 by the name that QEMU and libvirt have for it.
SLOW_NIC = "rtl8139"
#: Hosts of libosinfo's identifiers whose systems are Linux distributions.
_LINUX = {
    *("redhat.com", "fedoraproject.org", "centos.org", "rockylinux.org", "almalinux.org", "oracle.com", "debian.org"),
    *("ubuntu.com", "suse.com", "opensuse.org", "archlinux.org", "gentoo.org", "alpinelinux.org", "mageia.org"),
    *("mandriva.com", "scientificlinux.org", "altlinux.org", "libosinfo.org", "eurolinux.pl", "nixos.org"),
    *("openeuler.org", "asianux.com", "clearlinux.org", "cirros-cloud.net", "gnome.org", "amazonlinux.com"),
    *("system76.com", "voidlinux.org", "slackware.com", "vyos.io", "manjaro.org", "endlessos.com", "silverblue.org"),
}
#: Windows without a driver of its own for any Intel PRO/1000 of QEMU's.
_WINDOWS_OLD = {
    "95",
    "98",
    "me",
    "1.0",
    "2.0",
    "2.1",
    "3.1",
    "nt-3.1",
    "nt-3.5",
    "nt-3.51",
    "nt-4.0",
    "2k",
    "xp",
    "2k3",
}
#: How guests with Windows are often called: win7-x64, Windows_2008. libvirt before 0.9.10 keeps no metadata that tells.
_WINDOWS_NAME = re.compile(
    r"(?<![a-z0-9])win(?:dows)?[-_. ]?(?:server[-_. ]?)?"
    r"(xp|vista|7|8\.1|8|10|11|2003|2008|2012|2016|2019|2022|2025|2k3|2k8|2k12|2k16|2k19|2k22)(?![0-9])"
)
#: The first releases that brought a virtio driver, by the part of the identifier that names them.
_VIRTIO_SINCE = {
    "rhel": (5, 3),
    "debian": (5, 0),
    "ubuntu": (8, 4),
    "fedora": (8, 0),
    "centos": (5, 3),
    "freebsd": (10, 0),
}


@dataclass(frozen=True)
class GuestSystem:
    """`family` is windows, linux, bsd, other, or "" where nothing tells; `version` as libosinfo has it (7, 2k12r2).

    `sure` is False where it rests on a hint alone: the guest's name, or a clock in local time, which is Windows' way.
    `why` says on what.
    """

    family: str
    version: str
    sure: bool
    why: str


def system_of(domain: Domain) -> GuestSystem:
    """What a definition tells of the guest's system."""
    match = re.fullmatch(r"https?://([\w.-]+)/(.*)", domain.os_id)
    if match:
        vendor, rest = match.groups()
        parts = rest.split("/")
        why = f"libosinfo: {domain.os_id}"
        if vendor == "microsoft.com":
            family = "windows" if parts[0] in ("win", "winnt") or parts[0].startswith("win") else "other"
            version = parts[1] if len(parts) > 1 else ""
            return GuestSystem(family, parts[0] + "-" + version if parts[0] == "winnt" else version, True, why)
        if vendor in ("freebsd.org", "openbsd.org", "netbsd.org", "dragonflybsd.org"):
            return GuestSystem("bsd", rest, True, why)
        if vendor in _LINUX and parts[0] not in ("solaris", "opensolaris"):
            return GuestSystem("linux", rest, True, why)
        return GuestSystem("other", rest, True, why)
    named = _WINDOWS_NAME.search(domain.name.lower())
    if named:
        version = named.group(1).replace("200", "2k").replace("20", "2k")
        return GuestSystem("windows", version, False, f"its name is {domain.name}")
    if domain.clock_offset == "localtime":
        return GuestSystem("windows", "", False, "its clock keeps local time, as Windows wants it")
    return GuestSystem("", "", False, "its definition names no system")


def system_of_command(command: QemuCommand) -> GuestSystem:
    """The same of a command line: -localtime, or -rtc base=localtime."""
    local = command.of("localtime") or [o for o in command.of("rtc") if o.get("base") == "localtime"]
    if local:
        return GuestSystem("windows", "", False, f"{local[0]}, as Windows wants it")
    return GuestSystem("", "", False, "its command line names no system")


def default_nic_model(domain: Domain, nic: Nic) -> str:
    """The model that a QEMU guest gets where its definition names none, "" where that is not this rule's business.

    libvirt's qemuDomainDefaultNetModel and qemuDomainDeviceNetDefPostParse (src/qemu/qemu_postparse.c, 10.x; the
    same in 1.2 but for newer architectures), for a QEMU that has rtl8139.
    """
    if not domain.qemu or nic.type == "hostdev":
        return ""
    if nic.type in ("vdpa", "vhostuser"):
        return "virtio"
    virt = domain.machine == "virt" or domain.machine.startswith("virt-")
    if domain.arch in ("s390", "s390x") or (domain.arch in ("riscv32", "riscv64", "loongarch64") and virt):
        return "virtio"
    if domain.arch in ("armv6l", "armv7l", "armv7b", "aarch64", "aarch64_be"):
        return "virtio" if virt else "smc91c111" if domain.machine == "versatilepb" else "lan9118"
    return "rtl8139"


def is_slow(domain: Domain, nic: Nic) -> bool:
    """Whether a guest has a Realtek 8139 there, named or by default.  Only QEMU's guests are this rule's business."""
    return domain.qemu and (nic.model.lower() or default_nic_model(domain, nic)) == SLOW_NIC


def slow_cards(guest: Guest) -> list[tuple[str, str, str]]:
    """(MAC address, better model, why) of each Realtek 8139 in a stored definition that has a better one."""
    if guest.stored is None or not guest.uri:
        return []
    model, why = better_nic(guest.stored)
    return [(nic.mac, model, why) for nic in guest.stored.nics if model and nic.mac and is_slow(guest.stored, nic)]


def better_nic(domain: Domain) -> tuple[str, str]:
    """(model, why) of the network card to give a guest instead of an rtl8139.

    virtio where its system brings the driver; else Intel's PRO/1000: e1000e on a PCI Express machine (q35) for
    Windows 8 or Server 2012 and later, e1000 for what is older. ("", why) where only rtl8139 works out of the box.
    """
    system = system_of(domain)
    express = "q35" in domain.machine
    if system.sure and system.family == "linux":
        if _knows_virtio(system.version):
            return "virtio", f"{system.why}: Linux has the driver"
        return "e1000", f"{system.why}: older than Linux's virtio driver"
    if system.sure and system.family == "bsd":
        name, _, version = system.version.partition("/")
        since = _VIRTIO_SINCE.get(name, (0, 0))
        if name == "freebsd" and _numbers(version) < since:
            return "e1000", f"{system.why}: older than its virtio driver"
        return "virtio", f"{system.why}: it has the driver"
    if system.family == "windows":
        if system.version in _WINDOWS_OLD or system.version.startswith("winnt-"):
            return "", f"{system.why}: it has no driver of its own for another; virtio after its driver was installed"
        new = express and re.match(r"(8|10|11|2k1[2-9]|2k2\d)", system.version)
        return "e1000e" if new else "e1000", f"{system.why}: it has the driver; virtio once virtio-win's was installed"
    if system.sure:
        return "e1000", f"{system.why}: virtio only where it has a driver"
    return (
        "e1000e" if express else "e1000",
        f"{system.why}; virtio is faster where the guest has its driver (any Linux)",
    )


def _knows_virtio(name: str) -> bool:
    parts = name.split("/")
    since = _VIRTIO_SINCE.get(parts[0])
    return since is None or len(parts) < 2 or not parts[1][:1].isdigit() or _numbers(parts[1]) >= since


def _numbers(version: str) -> tuple[int, int]:
    found = [int(n) for n in re.findall(r"\d{1,6}", version)[:2]]
    return (found[0] if found else 0, found[1] if len(found) > 1 else 0)
