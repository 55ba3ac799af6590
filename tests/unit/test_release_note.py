"""Section 4.15 of the RHEL 5.6 release notes, bullet by bullet: each shows where it applies, and not where it does not.

The marks name the known issue that a test proves; tools/release_note.py makes docs/rhel-5.6-kvm.md from them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hostward import checks
from hostward.checks.guest_migration import emulated, nx, plugged
from hostward.checks.known_issues import ksm_statistics
from hostward.config import Config
from hostward.engine import Engine, select
from hostward.facts.boot import Boot
from hostward.facts.cpu import CpuVirtualization
from hostward.facts.domain import Cpu, Device, Disk, Domain, Nic
from hostward.facts.guests import Guest, Guests
from hostward.facts.issue_scope import ApplicableIssues, ScopedIssue
from hostward.facts.known_issues import known_issues
from hostward.facts.ksm import Ksm, read_ksm
from hostward.host import Host
from hostward.model import Finding, NotApplicable, Outcome, Result, Severity
from tests.hosts import rhel5
from tests.hosts.domains import Case, rhel56
from tests.hosts.tree import Tree

ISSUES = known_issues()
ON_5_6 = ApplicableIssues(tuple(ScopedIssue(issue, issue.release == "5.6", "") for issue in ISSUES.entries))
ELSEWHERE = ApplicableIssues(tuple(ScopedIssue(issue, False, "another release") for issue in ISSUES.entries))


def judge(tree: Tree, check: str) -> Result:
    checks.load_all()
    (result,) = Engine(Host.at(str(tree.root)), Config()).check(select([check]))
    assert result.outcome is not Outcome.FAILED, result.reason
    return result


def on(tmp_path: Path, release: str, *cases: Case) -> Tree:
    """A host of that release with these guests."""
    tree = rhel56(tmp_path / release, {case.name: case.xml() for case in cases})
    return tree.file("/etc/redhat-release", f"Red Hat Enterprise Linux Server release {release} (Name)\n")


def only(result: Result) -> Finding:
    (finding,) = result.findings
    return finding


@pytest.mark.proves("rhel-5.6.kvm.hwclock-drift")
def test_hwclock_sets_a_clock_that_nothing_keeps(tmp_path: Path) -> None:
    tree = rhel5.build(tmp_path)
    finding = only(judge(tree, "clock.hwclock-without-ntp"))
    assert (finding.severity, finding.references[0].text) == (Severity.ERROR, "BZ#523478")


@pytest.mark.proves("rhel-5.6.kvm.rtl8139")
def test_the_default_card_and_what_to_give_instead(tmp_path: Path) -> None:
    linux = Case(
        "linux", "<interface type='network'>MAC<source network='default'/></interface>", os="http://redhat.com/rhel/6.1"
    )
    windows = replace(linux, name="windows", os="http://microsoft.com/win/7")
    unknown = replace(linux, name="unknown", os="")
    good = Case("good", "<interface type='network'>MAC<model type='e1000'/></interface>")
    result = judge(on(tmp_path, "5.6", linux, windows, unknown, good), "guests.emulated-nic")
    advice = {finding.subject: finding.advice for finding in result.findings}
    assert sorted(advice) == ["linux", "unknown", "windows"]
    assert "<model type='virtio'/>" in advice["linux"]
    assert "<model type='e1000'/>" in advice["windows"] and "<model type='e1000'/>" in advice["unknown"]
    assert "virsh edit linux" in advice["linux"]


@pytest.mark.proves("rhel-5.6.kvm.rtl8139")
def test_a_guest_made_from_another_ones_xml_needs_its_own_uuid_mac_and_disk(tmp_path: Path) -> None:
    disk = "<disk type='file' device='disk'><source file='/srv/a.img'/><target dev='hda' bus='ide'/></disk>"
    template = Case("template", "<interface type='user'>MAC<model type='e1000'/></interface>" + disk)
    careless = replace(template, name="careless", uuid="6f8d8dbb-0a8e-5d4b-8f0a-7d5f0d7b0c11", mac="52:54:00:01:02:03")
    careful = Case("careful", "<interface type='user'>MAC<model type='e1000'/></interface>")
    result = judge(
        on(tmp_path, "5.6", replace(template, uuid=careless.uuid, mac=careless.mac), careless, careful), "guests.clones"
    )
    assert [finding.subject for finding in result.findings] == [
        f"uuid {careless.uuid}", "mac 52:54:00:01:02:03", "disk /srv/a.img",
    ]  # fmt: skip
    assert all("careless" in finding.summary and "careful" not in finding.summary for finding in result.findings)
    assert judge(on(tmp_path, "5.7", template, careful), "guests.clones").outcome is Outcome.PASSED


@pytest.mark.proves("rhel-5.6.kvm.ksm-without-statistics")
def test_the_old_ksm_tells_nothing(tmp_path: Path) -> None:
    old = Tree(tmp_path / "old").file("/dev/ksm", "")
    ksm = read_ksm(Host.at(str(old.root)), module_loaded=True)
    assert ksm == Ksm(statistics=False, old_module=True)
    (finding,) = ksm_statistics(ksm, ON_5_6)
    assert finding.severity is Severity.INFO and "no statistics" in finding.summary

    old.file("/var/run/ksmtune.pid", "77\n").file("/proc/77/cmdline", b"/bin/bash\0/usr/sbin/ksmtuned\0")
    (finding,) = ksm_statistics(read_ksm(Host.at(str(old.root)), True), ON_5_6)
    assert finding.severity is Severity.WARNING and "ksmtuned" in finding.summary

    new = Tree(tmp_path / "new")
    for name, value in {"run": "1", "pages_shared": "100", "pages_sharing": "2560", "full_scans": "7"}.items():
        new.file(f"/sys/kernel/mm/ksm/{name}", f"{value}\n")
    ksm = read_ksm(Host.at(str(new.root)), module_loaded=False)
    assert (ksm.run, ksm.pages_sharing, ksm.saved_bytes) == (1, 2560, 2560 * 4096)
    assert list(ksm_statistics(ksm, ON_5_6)) == []
    with pytest.raises(NotApplicable):
        read_ksm(Host.at(str(Tree(tmp_path / "none").root)), module_loaded=False)


@pytest.mark.proves("rhel-5.6.kvm.windows-mute")
def test_muting_windows_is_advice_where_there_is_such_a_guest(tmp_path: Path) -> None:
    windows = Case("windows", "<sound model='ich6'/>", os="http://microsoft.com/win/xp")
    hinted = Case("hinted", "<sound model='ich6'/>", clock="<clock offset='localtime'/>")
    linux = Case("linux", "<sound model='ich6'/>", os="http://redhat.com/rhel/5.6")
    result = judge(on(tmp_path, "5.6", windows, hinted, linux), "guests.windows-mute")
    assert [(f.subject, f.severity) for f in result.findings] == [("hinted", Severity.INFO), ("windows", Severity.INFO)]
    assert "if it runs Windows" in result.findings[0].summary and "if it runs" not in result.findings[1].summary
    assert result.findings[0].advice and not result.findings[0].remedies
    assert judge(on(tmp_path, "6.1", windows), "guests.windows-mute").applicable is False
    assert judge(on(tmp_path, "5.8", linux), "guests.windows-mute").outcome is Outcome.PASSED


@pytest.mark.proves("rhel-5.6.kvm.nx-on-both-ends")
def test_nx_switched_off_on_a_host_with_guests() -> None:
    cpu = CpuVirtualization("x86_64", "GenuineIntel", "vmx", True, "kvm_intel", "", frozenset({"lm", "vmx", "pae"}))
    asks = Domain("asks", "", "kvm", cpu=Cpu("custom", model="qemu64", features=(("nx", "require"),)))
    guests = Guests((Guest("asks", "", running=True, stored=asks), Guest("other", "")))
    plain = Boot((), "", "", "", "", "systemd", True)
    (finding,) = nx(cpu, guests, plain)
    assert finding.severity is Severity.WARNING
    assert "1 of 2 guests are running" in finding.evidence and any("asks" in line for line in finding.evidence)
    (finding,) = nx(cpu, guests, replace(plain, cmdline=("ro", "noexec=off")))
    assert "noexec=off on the kernel's command line" in finding.evidence and "take noexec=" in finding.advice
    assert list(nx(replace(cpu, flags=cpu.flags | {"nx"}), guests, plain)) == []
    assert list(nx(replace(cpu, flags=frozenset({"pae"})), guests, plain)) == [], "a 32-bit processor has none"
    with pytest.raises(NotApplicable):
        list(nx(replace(cpu, architecture="ppc64le"), guests, plain))


@pytest.mark.proves("rhel-5.6.kvm.qcow2-preview")
def test_qcow2_is_a_preview_on_5_and_none_later(tmp_path: Path) -> None:
    disk = (
        "<disk type='file' device='disk'><driver name='qemu' type='{}'/><source file='DISK'/><target dev='hda'/></disk>"
    )
    preview, raw = Case("preview", disk.format("qcow2")), Case("raw", disk.format("raw"))
    for release in ("5.4", "5.6", "5.11"):
        finding = only(judge(on(tmp_path, release, preview, raw), "guests.qcow2-preview"))
        assert (finding.subject, finding.references[0].text) == ("preview", "BZ#517880")
        assert "qemu-img convert" in finding.advice
    for release in ("5.3", "6.0", "9.2"):
        assert judge(on(tmp_path, release, preview), "guests.qcow2-preview").applicable is False


@pytest.mark.proves("rhel-5.6.kvm.ac97-windows7")
def test_ac97_in_64_bit_windows_7(tmp_path: Path) -> None:
    seven = Case("seven", "<sound model='ac97'/>", os="http://microsoft.com/win/7")
    others = [
        replace(seven, name="ten", os="http://microsoft.com/win/10"),
        replace(seven, name="narrow", arch="i686"),
        replace(seven, name="hda", devices="<sound model='ich6'/>"),
        replace(seven, name="linux", os="http://fedoraproject.org/fedora/30"),
    ]
    named = replace(seven, name="win7-by-name", os="")
    note = only(judge(on(tmp_path, "5.7", named, *others), "guests.ac97-windows7"))
    assert (note.subject, note.severity) == ("win7-by-name", Severity.INFO) and "seems to run" in note.summary
    result = judge(on(tmp_path, "5.6", seven, *others), "guests.ac97-windows7")
    assert (only(result).subject, only(result).references[0].text) == ("seven", "BZ#563122")
    assert only(judge(on(tmp_path, "8.4", seven), "guests.ac97-windows7")).subject == "seven"


def definition(*devices: Device) -> Domain:
    nics = tuple(d for d in devices if isinstance(d, Nic))
    disks = tuple(d for d in devices if isinstance(d, Disk))
    rest = tuple(d for d in devices if not isinstance(d, (Nic, Disk)))
    return Domain("g", "u", "kvm", "here", nics=nics, disks=disks, devices=rest)


@pytest.mark.proves("rhel-5.6.kvm.hot-plug-and-migration")
def test_devices_plugged_into_a_running_guest() -> None:
    from hostward.checks.guest_migration import hot_plugged

    own = Nic("interface", "network", "virtio", identity="interface 1", mac="1")
    plugged_nic = Nic("interface", "network", "rtl8139", identity="interface 2", mac="2")
    plugged_disk = Disk("disk", "file", bus="virtio", target="vdb", identity="disk vdb")
    controller = Device("controller", "usb", identity="controller usb 1")
    stored, live = definition(own), definition(own, plugged_nic, controller)
    assert plugged(stored, live) == [plugged_nic]
    assert plugged(definition(own, own), definition(own, own, own)) == [own], "alike ones are counted"
    assert (emulated(plugged_nic), emulated(plugged_disk), emulated(own)) == (True, False, False)

    guest = Guest("g", "u", running=True, stored=stored, live=live)
    (finding,) = hot_plugged(Guests((guest,)), ON_5_6)
    assert (finding.severity, finding.references[0].text) == (Severity.WARNING, "BZ#507191")
    (finding,) = hot_plugged(Guests((guest,)), ELSEWHERE)
    assert finding.severity is Severity.INFO
    (finding,) = hot_plugged(Guests((replace(guest, live=definition(own, plugged_disk)),)), ON_5_6)
    assert finding.severity is Severity.INFO, "virtio is not emulated"
    for quiet in (replace(guest, live=stored), replace(guest, live=None), replace(guest, stored=None)):
        assert list(hot_plugged(Guests((quiet,)), ON_5_6)) == []


@pytest.mark.proves("rhel-5.6.kvm.kernel-floor")
def test_modules_of_kmod_kvm_on_a_kernel_below_their_floor(tmp_path: Path) -> None:
    tree = rhel5.build(tmp_path)
    finding = only(judge(tree, "modules.kernel-floor"))
    assert rhel5.OLD in finding.summary and finding.references[0].text == "BZ#509361"
    loads = judge(tree, "modules.weak-updates-symbols")
    assert any(rhel5.WARNING in line for f in loads.findings for line in f.evidence)


@pytest.mark.proves("rhel-5.6.kvm.not-loaded-after-install")
def test_modules_that_are_loaded_at_the_next_boot_only(tmp_path: Path) -> None:
    """What it finds on a machine that runs is proven by booting one: tests/lab/test_first_path.py."""
    result = judge(rhel5.build(tmp_path), "modules.kvm-not-loaded")
    assert not result.applicable and "isn't running" in result.reason
    assert result.references[0].text == "BZ#501543"


@pytest.mark.proves("rhel-5.6.kvm.etherboot")
def test_the_boot_roms_matter_to_who_boots_from_the_network(tmp_path: Path) -> None:
    boots = Case("boots", "<interface type='user'>MAC<model type='e1000'/></interface>", boot="<boot dev='network'/>")
    disk = replace(boots, name="disk", boot="<boot dev='hd'/>")
    tree = on(tmp_path, "5.6", boots, disk)
    finding = only(judge(tree, "guests.etherboot-rom"))
    assert (finding.subject, finding.severity) == ("boots", Severity.INFO)
    assert any("e1000-82540em.zrom: Etherboot" in line for line in finding.evidence)
    tree.file("/usr/share/ipxe/8086100e.rom", b"\x55\xaaiPXE (http://ipxe.org)")
    assert judge(tree, "guests.etherboot-rom").outcome is Outcome.PASSED


@pytest.mark.proves("rhel-5.6.kvm.disabled-features")
def test_the_list_of_disabled_features_holds_on_5_alone(tmp_path: Path) -> None:
    """Each feature in each spelling: tests/hosts/domains.py, tests/unit/facts/test_qemu_command.py."""
    from hostward.checks.guest_features import FEATURES

    assert len(FEATURES) == 12
    odd = Case("odd", "<sound model='es1370'/><video><model type='vmvga'/></video>", machine="isapc")
    result = judge(on(tmp_path, "5.6", odd), "guests.unsupported-feature")
    assert sorted(finding.subject for finding in result.findings) == [
        "odd: isapc machine type", "odd: sb16 and es1370 sound", "odd: vmware devices",
    ]  # fmt: skip
    assert {finding.references[0].text for finding in result.findings} == {"BZ#512837"}
    assert judge(on(tmp_path, "6.2", odd), "guests.unsupported-feature").applicable is False


def test_the_whole_note_on_one_host(tmp_path: Path) -> None:
    """The host of the note with a guest that does all that it warns of: each bullet that a tree can show is there."""
    tree = rhel5.build(tmp_path)
    careless = Case(
        "careless",
        "<interface type='network'>MAC<source network='default'/></interface><sound model='ac97'/>"
        "<disk type='file'><driver name='qemu' type='qcow2'/><source file='/srv/a'/><target dev='hda'/></disk>"
        "<disk type='file'><driver name='qemu' type='raw'/><source file='/srv/b'/><target dev='sda'/></disk>",
        os="http://microsoft.com/win/7",
        boot="<boot dev='network'/>",
    )
    rhel56(tmp_path, {"careless": careless.xml()})
    checks.load_all()
    results = {result.check: result for result in Engine(Host.at(str(tree.root)), Config()).check(select([]))}
    found = {check for check, result in results.items() if result.outcome is Outcome.FINDINGS}
    of_note = {issue.check for issue in ISSUES.entries if issue.release == "5.6"}
    assert of_note - found == {"modules.kvm-not-loaded", "guests.ksm-statistics", "guests.nx", "guests.hot-plugged"}
    for check in ("modules.kvm-not-loaded", "guests.ksm-statistics", "guests.nx"):
        assert not results[check].applicable, "these can be told of a machine that runs alone"
    assert results["guests.hot-plugged"].outcome is Outcome.PASSED
    bugs = {r.text for check in found & of_note for f in results[check].findings for r in f.references}
    assert bugs >= {"BZ#523478", "BZ#517880", "BZ#563122", "BZ#509361", "BZ#512837"}
