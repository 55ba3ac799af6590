"""What guests must not share, and how bad it is when they do."""

from __future__ import annotations

import pytest

from hostward.checks.guest_clones import clones
from hostward.facts.domain import Disk, Domain, Nic
from hostward.facts.guests import Guest, Guests
from hostward.facts.qemu_command import parse_command
from hostward.model import Severity, Unavailable

MAC = "52:54:00:00:00:01"


def guest(
    name: str, running: bool = False, uuid: str = "", nics: tuple[Nic, ...] = (), disks: tuple[Disk, ...] = ()
) -> Guest:
    stored = Domain(name, uuid or name, "kvm", f"/etc/libvirt/qemu/{name}.xml", nics=nics, disks=disks)
    return Guest(name, uuid or name, "qemu:///system", running, stored=stored, live=stored if running else None)


def nic(mac: str = MAC, source: str = "default") -> Nic:
    return Nic("interface", "network", "virtio", mac=mac, source=source)


def disk(source: str = "/srv/a.img", **more: bool) -> Disk:
    return Disk("disk", "file", bus="virtio", target="vda", source=source, **more)  # type: ignore[arg-type]


def found(*guests: Guest) -> list[tuple[str, Severity]]:
    return [(finding.subject, finding.severity) for finding in clones(Guests(guests))]


def test_an_error_only_when_both_run() -> None:
    both = [guest(name, True, nics=(nic(),), disks=(disk(),)) for name in "ab"]
    assert found(*both) == [(f"mac {MAC}", Severity.ERROR), ("disk /srv/a.img", Severity.ERROR)]
    one = [both[0], guest("b", False, nics=(nic(),), disks=(disk(),))]
    assert found(*one) == [(f"mac {MAC}", Severity.WARNING), ("disk /srv/a.img", Severity.WARNING)]


def test_the_same_uuid() -> None:
    (finding,) = clones(Guests((guest("a", uuid="u"), guest("b", uuid="u"), guest("c"))))
    assert finding.summary == "a and b have the same UUID u"
    assert finding.evidence == ("/etc/libvirt/qemu/a.xml: uuid u", "/etc/libvirt/qemu/b.xml: uuid u")


def test_one_mac_on_two_networks_is_a_note() -> None:
    assert found(guest("a", nics=(nic(),)), guest("b", nics=(nic(source="isolated"),))) == [
        (f"mac {MAC}", Severity.INFO)
    ]


def test_what_may_be_shared() -> None:
    assert found(guest("a", True, disks=(disk(shareable=True),)), guest("b", True, disks=(disk(shareable=True),))) == []
    assert found(guest("a", True, disks=(disk(readonly=True),)), guest("b", True, disks=(disk(readonly=True),))) == []
    iso = Disk("disk", "file", bus="sata", target="sda", source="/srv/a.iso", device="cdrom")
    assert found(guest("a", True, disks=(iso,)), guest("b", True, disks=(iso,))) == []
    assert found(guest("a", True, nics=(nic(), nic()))) == [], "a failover pair has one address in one guest"
    assert found(guest("a", True), guest("b", nics=(nic(""),)), guest("c", nics=(nic(""),))) == []


def test_guests_without_libvirt_count_too() -> None:
    line = f"kvm -m 64 -net nic,macaddr={MAC.upper()} -net tap".split()
    bare = Guest("kvm process 7", "", running=True, pid=7, command=parse_command(line, 7))
    (finding,) = clones(Guests((guest("a", True, nics=(nic(),)), bare)))
    assert finding.severity is Severity.ERROR
    assert finding.evidence[1] == f"process 7: mac {MAC}"


def test_many_with_one_address_are_told_once() -> None:
    crowd = Guests(tuple(guest(f"g{n:04}", nics=(nic(),)) for n in range(2000)))
    (finding,) = clones(crowd)
    assert finding.summary.startswith("g0000, g0001, g0002, g0003 and 1996 more have")


def test_guests_that_could_not_be_read_are_told() -> None:
    with pytest.raises(Unavailable, match=r"not every guest could be read: /x\.xml: bad and 2 more|/x\.xml: bad"):
        list(clones(Guests((), problems=("/x.xml: bad",))))
