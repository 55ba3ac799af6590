"""Every shipped known issue that a match decides: met by an example of it, on its release and package only."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from hostward.facts.boot import Boot
from hostward.facts.cpu import CpuVirtualization
from hostward.facts.guests import guests
from hostward.facts.issue_matches import issue_matches
from hostward.facts.issue_packages import IssuePackages
from hostward.facts.issue_scope import ApplicableIssues, applicable_issues
from hostward.facts.kernels import Kernels, RunningKernel
from hostward.facts.known_issues import KnownIssue, KnownIssues, known_issues
from hostward.facts.loaded import LoadedModule, LoadedModules
from hostward.facts.operating_system import OperatingSystem
from hostward.host import Host
from hostward.model import NotApplicable
from tests.hosts.domains import Case
from tests.hosts.tree import Tree

ISSUES = known_issues()
BOOT = Boot((), "", "", "", "", "systemd", True)
MATCHED = [issue for issue in ISSUES.entries if issue.match is not None]

_VNC = "<graphics type='vnc' port='-1'/>"
_SCSI = "<controller type='scsi' index='0' model='virtio-scsi'/>"
_TWO = "<disk type='file' device='disk'><source file='/{0}'/><target dev='{0}' bus='{1}'/></disk>"


def _video(*models: str) -> str:
    return "".join(f"<video><model type='{model}'/></video>" for model in models)


def _disks(bus: str, *names: str) -> str:
    return "".join(_TWO.format(name, bus) for name in names)


def _win(version: str) -> str:
    return f"http://microsoft.com/win/{version}"


def _vcpus(count: int, more: str = "") -> str:
    return f"{more}<!--vcpu {count}-->"


#: An example of each: the devices, and what else of a definition it takes.
EXAMPLES: dict[str, Case] = {
    "rhel-5.9.kvm.host-cdrom": Case(
        "a", "<disk type='block' device='cdrom'><source dev='/dev/sr0'/><target dev='hdc'/></disk>"
    ),
    "rhel-5.9.kvm.mixed-boot-disks": Case("a", _disks("virtio", "vda") + _disks("ide", "hda")),
    "rhel-5.9.kvm.vnc-under-fips": Case("a", "<graphics type='vnc' passwd='x'/>"),
    "rhel-6.scsi-emulation": Case("a", "<controller type='scsi' index='0' model='lsilogic'/>"),
    "rhel-6.cache-and-migration": Case(
        "a", "<disk type='file' device='disk'><driver name='qemu' cache='writeback'/><source file='/a'/></disk>"
    ),
    "rhel-6.too-many-vcpus": Case("a", _vcpus(241)),
    "rhel-6.too-many-vcpus-before-6.7": Case("a", _vcpus(161)),
    "rhel-6.8.windows-10-processor": Case(
        "a", os=_win("10"), cpu="<cpu mode='custom' match='exact'><model>Nehalem</model></cpu>"
    ),
    "rhel-6.usb-and-migration": Case("a", "<redirdev bus='usb' type='spicevmc'/>"),
    "rhel-6.rtl8139-windows-hang": Case(
        "a", "<interface type='user'><model type='rtl8139'/></interface>", os=_win("2k8")
    ),
    "rhel-6.cirrus-snapshot-crash": Case("a", _video("cirrus")),
    "rhel-6.virtio-scsi-sg-io-hang": Case("a", _SCSI),
    "rhel-6.virtio-rng-removal-crash": Case("a", "<rng model='virtio'/>", os=_win("7")),
    "rhel-6.qxl-vnc-desktop-hang": Case("a", _video("qxl") + _VNC, os="http://redhat.com/rhel/7.0"),
    "rhel-6.qxl-vnc-old-machine-crash": Case("a", _video("qxl") + _VNC, machine="rhel6.0.0"),
    "rhel-6.spice-without-qxl-crash": Case("a", _video("cirrus") + "<graphics type='spice'/>"),
    "rhel-6.smartcard-windows": Case("a", "<smartcard mode='host'/>", os=_win("7")),
    "rhel-6.floppy-after-migration": Case(
        "a", "<disk type='file' device='floppy'><source file='/f'/><target dev='fda'/></disk>"
    ),
    "rhel-6.usb-storage-windows-2003": Case("a", _disks("usb", "sda", "sdb"), os=_win("2k3r2")),
    "rhel-6.std-vga-migration-crash": Case("a", _video("vga")),
    "rhel-7.tcg": Case("a"),
    "rhel-7.too-many-vcpus": Case("a", _vcpus(300), type="kvm"),
    "rhel-7.nested-preview": Case("a", type="kvm"),
    "rhel-7.windows-rtc-after-migration": Case("a", os=_win("2k12r2"), type="kvm"),
    "rhel-7.isa-serial-hang": Case("a", "<serial type='pty'><target port='0'/></serial>", type="kvm"),
    "rhel-7.usb-host-and-sandbox": Case("a", "<hostdev mode='subsystem' type='usb'/>", type="kvm"),
    "rhel-7.virtio-scsi-two-disks-crash": Case("a", _SCSI + _disks("scsi", "sda", "sdb"), type="kvm"),
    "rhel-7.many-virtio-disks": Case("a", _disks("virtio", *(f"vd{n}" for n in range(150))), type="kvm"),
    "rhel-7.qxl-after-migration": Case("a", _video("qxl"), type="kvm"),
    "rhel-7.ac97-removal-crash": Case("a", "<sound model='ac97'/>", type="kvm"),
    "rhel-7.ide-cdrom-after-migration": Case(
        "a", "<disk type='file' device='cdrom'><source file='/i'/><target dev='hdc' bus='ide'/></disk>", type="kvm"
    ),
    "rhel-8.mpx-off-crash": Case("a", cpu="<cpu mode='host-passthrough'><feature policy='disable' name='mpx'/></cpu>"),
    "rhel-8.secure-guest-248-vcpus": Case("a", _vcpus(248), cpu="<launchSecurity type='s390-pv'/>", arch="s390x"),
    "rhel-8.scsi-request-crash": Case("a", _SCSI + _disks("scsi", "sda")),
    "rhel-8.nvme-exhausts-iommu": Case(
        "a", "<disk type='nvme' device='disk'><source type='pci' namespace='1'/><target dev='vda'/></disk>"
    ),
    "rhel-8.iommu-migration": Case("a", "<iommu model='intel'/>"),
    "rhel-8.windows-static-address": Case("a", "<interface type='user'/>", os=_win("2k19")),
    "rhel-8.xhci-migration": Case("a", "<controller type='usb' index='0' model='qemu-xhci'/>"),
    "rhel-8.scsi-unplug-crash": Case("a", _SCSI),
    "rhel-8.vcpu-hot-plug-ovmf": Case("a", _vcpus(0), boot="<loader type='pflash'>/x</loader>"),
    "rhel-8.iothread-enospc-crash": Case(
        "a", "<disk type='file' device='disk'><driver name='qemu' iothread='1'/><target dev='vda'/></disk>"
    ),
    "rhel-8.q35-200-vcpus-migration": Case("a", _vcpus(200, "<controller type='pci' index='0' model='pcie-root'/>")),
    "rhel-8.vtpm-postcopy": Case("a", "<tpm model='tpm-crb'><backend type='emulator'/></tpm>"),
    "rhel-8.several-e1000-crash": Case("a", "<interface type='user'><model type='e1000'/></interface>" * 2),
    "rhel-8.dimm-windows-2016": Case("a", os=_win("2k16"), cpu="<maxMemory slots='4'>1048576</maxMemory>"),
    "rhel-8.virtio-scsi-iothread-events": Case("a", _SCSI.replace("/>", "><driver iothread='1'/></controller>")),
    "rhel-8.usb-host-migration-crash": Case("a", "<hostdev mode='subsystem' type='usb'/>"),
    "rhel-8.several-virtio-videos": Case("a", _video("virtio", "virtio")),
    "rhel-8.cirrus-deprecated": Case("a", _video("cirrus")),
    "rhel-9.cirrus": Case("a", _video("cirrus")),
    "rhel-9.ac97": Case("a", "<sound model='ac97'/>"),
    "rhel-9.tpm-passthrough": Case("a", "<tpm model='tpm-tis'><backend type='passthrough'/></tpm>"),
    "rhel-9.intel-vgpu": Case("a", "<hostdev mode='subsystem' type='mdev' model='vfio-pci'/>"),
    "rhel-9.old-windows": Case("a", os=_win("8.1")),
    "rhel-9.other-guest-systems": Case("a", os="http://apple.com/macosx/10.14"),
    "rhel-9.virtio-iommu-migration-crash": Case(
        "a", "<interface type='user'><model type='virtio'/><driver iommu='on'/></interface>"
    ),
    "rhel-9.rng-migration-from-8.8": Case("a", "<rng model='virtio'/>"),
    "rhel-9.rng-transitional-migration": Case("a", "<rng model='virtio-transitional'/>"),
    "rhel-9.scsi-hot-plug-again": Case("a", _SCSI),
    "rhel-9.commit-with-iothread": Case(
        "a", "<disk type='file' device='disk'><driver name='qemu' iothread='1'/><target dev='vda'/></disk>"
    ),
    "rhel-9.passthrough-migration": Case("a", "<hostdev mode='subsystem' type='pci'/>"),
    "rhel-10.passthrough-migration": Case("a", "<interface type='hostdev'/>"),
    "rhel-10.numa-migration": Case("a", cpu="<numatune><memory mode='strict' nodeset='0'/></numatune>"),
}
#: A guest as one is made today: no shipped issue is about it.
PLAIN = Case(
    "plain",
    "<interface type='network'>MAC<source network='default'/><model type='virtio'/></interface>"
    + _disks("virtio", "vda")
    + "<video><model type='virtio'/></video><graphics type='vnc'/><sound model='ich9'/><input type='tablet' bus='usb'/>"
    "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel><memballoon model='virtio'/>",
    machine="q35",
    type="kvm",
    os="http://redhat.com/rhel/9.2",
)


def xml(case: Case) -> str:
    text = case.xml()
    wanted = re.search(r"<!--vcpu (\d+)-->", text)
    if wanted:
        count = int(wanted.group(1))
        text = text.replace("<vcpu>1<", f"<vcpu>{count}<" if count else "<vcpu current='1'>4<")
    return text


def release_of(issue: KnownIssue) -> str:
    """The oldest release that its condition admits."""
    return str(re.findall(r">= ([\d.]+)", issue.releases)[0])


def bounds(issue: KnownIssue) -> tuple[str, str]:
    """(a version that has the bug, the first that has it not) of an entry's package."""
    fixed = re.findall(r"< (\S+)$", issue.versions)[0]
    head, _, _ = fixed.rpartition("-")
    return f"{head}-1" if not head.endswith("0.12.1.2") else f"{head}-2.1.el6", fixed


def scope(issue: KnownIssue, release: str = "", version: str = "", fixed: tuple[str, ...] = ()) -> ApplicableIssues:
    system = OperatingSystem("rhel", release or release_of(issue), "Red Hat Enterprise Linux")
    versions: dict[str, tuple[str, ...]] = {}
    if issue.versions:
        versions[issue.package] = (version or bounds(issue)[0],)
    packages = IssuePackages(versions, {issue.package: frozenset(fixed)})
    machine = issue.architectures[0] if issue.architectures else "x86_64"
    cpu = CpuVirtualization(machine, "", "", True, "", "", frozenset())
    return applicable_issues(ISSUES, system, RunningKernel("5.14.0", "", ""), Kernels(()), cpu, packages, BOOT)


def met(tree: Tree, scoped: ApplicableIssues) -> set[str]:
    host = Host.at(str(tree.root))
    loaded = LoadedModules({"kvmgt": LoadedModule("kvmgt", 1, (), "live")})
    try:
        result = issue_matches(host, scoped, guests(host), loaded)
    except NotApplicable:
        return set()
    assert result.cannot_tell == ()
    for found in result.found:
        assert found.evidence
    return {found.issue.id for found in result.found}


def tree_with(path: Path, case: Case) -> Tree:
    tree = Tree(path)
    tree.file("/etc/libvirt/qemu/a.xml", xml(case))
    tree.file("/proc/sys/crypto/fips_enabled", "1\n")
    tree.file("/sys/module/kvm_intel/parameters/nested", "Y\n")
    tree.file("/etc/libvirt/qemu.conf", "# seccomp_sandbox = 0\nseccomp_sandbox = 1\n")
    return tree


def test_each_has_an_example() -> None:
    assert sorted(EXAMPLES) == sorted(issue.id for issue in MATCHED)
    assert len([issue for issue in ISSUES.entries if issue.release != "5.6"]) >= 25


@pytest.mark.parametrize("issue", MATCHED, ids=lambda issue: issue.id)
def test_it_is_met_where_it_applies_and_nowhere_else(issue: KnownIssue, tmp_path: Path) -> None:
    tree = tree_with(tmp_path, EXAMPLES[issue.id])
    assert issue.id in met(tree, scope(issue))
    assert issue.id not in met(tree, scope(issue, release="4.9"))
    above = re.findall(r"< ([\d.]+)", issue.releases)[0]
    assert issue.id not in met(tree, scope(issue, release=above))
    if issue.versions:
        assert issue.id not in met(tree, scope(issue, version=bounds(issue)[1]))
        assert issue.id not in met(tree, scope(issue, version=bounds(issue)[1] + ".el8_8.1"))
        assert issue.id not in met(tree, scope(issue, fixed=issue.bugs)), "its changelog names the fix"


@pytest.mark.parametrize("release", ["5.9", "6.5", "6.9", "7.0", "7.9", "8.0", "8.8", "9.0", "9.4", "10.0"])
def test_a_plain_guest_meets_none(release: str, tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.file("/etc/libvirt/qemu/plain.xml", xml(PLAIN))
    every = replace(ISSUES.entries[0], id="x")
    versions: dict[str, tuple[str, ...]] = {i.package: (bounds(i)[0],) for i in MATCHED if i.versions}
    system = OperatingSystem("rhel", release, "Red Hat Enterprise Linux")
    cpu = CpuVirtualization("x86_64", "", "", True, "", "", frozenset())
    scoped = applicable_issues(
        KnownIssues((*ISSUES.entries, every)),
        system,
        RunningKernel("5", "", ""),
        Kernels(()),
        cpu,
        IssuePackages(versions),
        BOOT,
    )
    assert met(tree, scoped) == set()


def test_the_bugs_of_a_changelog_are_found() -> None:
    from hostward.facts.issue_packages import bugs_in

    text = (
        "* Mon May 15 2023 A B <a@b> - 6.2.0-33\n- kvm-x.patch [bz#2187159]\n- Resolves: bz#2187159\n"
        "- qemu: y (rhbz#1912846, rhbz#123)\n- z [RHEL-1234]\n- w: bz#1, 2\n- Release 99, PR #98\n"
    )
    assert bugs_in(text) == {"2187159", "1912846", "123", "RHEL-1234", "1", "2"}
