"""Remedies for guests on a real libvirt: another network card in a stored definition, and back, byte for byte."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.libvirt_room import Room, lacking

REPOSITORY = Path(__file__).parents[2]
ENVIRONMENT = {"PYTHONPATH": str(REPOSITORY / "agent"), "PYTHONDONTWRITEBYTECODE": "1"}
RHEL9 = (
    "<metadata><libosinfo:libosinfo xmlns:libosinfo='http://libosinfo.org/xmlns/libvirt/domain/1.0'>"
    "<libosinfo:os id='http://redhat.com/rhel/9.2'/></libosinfo:libosinfo></metadata>"
)

pytestmark = pytest.mark.skipif(bool(lacking()), reason=f"a libvirt of the test's own needs {lacking()}")


@pytest.fixture
def room() -> Iterator[Room]:
    with Room() as made:
        made.run(["sh", "-c", "mkdir -p /var/lib/hostward && mount -t tmpfs -o mode=755 none /var/lib/hostward"])
        yield made


def guest(name: str, devices: str, metadata: str = "", machine: str = "pc") -> str:
    return (
        f"<domain type='qemu'><name>{name}</name>{metadata}<memory unit='MiB'>32</memory><vcpu>1</vcpu>"
        f"<os><type arch='x86_64' machine='{machine}'>hvm</type></os><devices>{devices}</devices></domain>"
    )


def hostward(room: Room, *arguments: str) -> tuple[int, str]:
    done = room.run([sys.executable, "-m", "hostward", *arguments], ENVIRONMENT)
    return done.returncode, done.stdout + done.stderr


def findings(room: Room) -> list[tuple[str, str]]:
    _, out = hostward(room, "check", "guests.emulated-nic", "--format", "json")
    (result,) = json.loads(out)["results"]
    return [(finding["severity"], finding["subject"]) for finding in result["findings"]]


def state(room: Room, *names: str) -> dict[str, str]:
    """What libvirt stores, as its files and as it tells it with passwords."""
    found = {}
    for name in names:
        found[f"{name} file"] = room.run(["cat", f"/etc/libvirt/qemu/{name}.xml"]).stdout
        found[f"{name} told"] = room.virsh("dumpxml", "--inactive", "--security-info", name)
    return found


def models(room: Room, name: str, *which: str) -> list[str]:
    return re.findall(r"<model type='([^']*)'/>\s*(?:<link|<address|<alias|<boot)", room.virsh("dumpxml", *which, name))


def test_another_card_and_back(room: Room) -> None:
    two = "<interface type='user'/><interface type='user'><model type='virtio'/></interface>"
    secret = "<graphics type='vnc' port='-1' passwd='geheim'/>"
    assert room.define(guest("linux", two + secret, RHEL9)) == ""
    assert room.define(guest("unknown", "<interface type='user'><model type='rtl8139'/></interface>")) == ""
    assert room.define(guest("modern", "<interface type='user'/>", machine="q35")) == ""
    room.virsh("start", "linux")
    names = ("linux", "unknown", "modern")
    before = state(room, *names)
    pid = room.run(["cat", "/run/libvirt/qemu/linux.pid"]).stdout

    status, said = hostward(room, "fix", "guests.emulated-nic", "--dry-run")
    assert "virt-xml --connect qemu:///system linux --edit mac=52:54:00:" in said
    assert state(room, *names) == before
    status, said = hostward(room, "fix", "guests.emulated-nic", "--unattended")
    assert state(room, *names) == before, "never with nobody watching"
    status, said = hostward(room, "fix", "guests.emulated-nic", "--yes")
    assert status == 0, said
    assert "linux runs on with the card it has; the change waits for its next start" in said
    assert "geheim" not in said

    assert models(room, "linux", "--inactive") == ["virtio", "virtio"]
    assert models(room, "unknown", "--inactive") == ["e1000"]
    assert models(room, "modern", "--inactive") == ["e1000e"]
    assert models(room, "linux") == ["rtl8139", "virtio"], "the running guest is not touched"
    assert room.run(["cat", "/run/libvirt/qemu/linux.pid"]).stdout == pid
    assert findings(room) == [("info", "linux until its next start")]
    after = state(room, *names)
    for name in before:
        places = [re.findall(r"<address [^>]*>", text) for text in (before[name], after[name])]
        assert places[0] == places[1], "every device stays where it is on its bus"
    assert after["linux told"] == before["linux told"].replace("<model type='rtl8139'/>", "<model type='virtio'/>")
    assert "passwd='geheim'" in after["linux told"]
    kept = room.run(["sh", "-c", "stat -c '%a' /var/lib/hostward/repairs /var/lib/hostward/repairs/*"]).stdout.split()
    assert all(mode.endswith("00") for mode in kept), "a definition's passwords are root's alone"

    status, said = hostward(room, "undo")
    assert status == 0, said
    assert state(room, *names) == before
    assert findings(room) == [("warning", name) for name in sorted(names)]
    room.virsh("destroy", "linux")


def test_the_changed_guests_start(room: Room) -> None:
    for machine in ("pc", "q35"):
        assert room.define(guest(machine, "<interface type='user'/>", RHEL9, machine)) == ""
    assert hostward(room, "fix", "guests.emulated-nic", "--yes")[0] == 0
    for machine in ("pc", "q35"):
        room.virsh("start", machine)
        assert models(room, machine) == ["virtio"]
        room.virsh("destroy", machine)
    assert findings(room) == []


def test_what_somebody_changed_since_is_not_put_back(room: Room) -> None:
    assert room.define(guest("mine", "<interface type='user'/>", RHEL9)) == ""
    assert hostward(room, "fix", "guests.emulated-nic", "--yes")[0] == 0
    room.virsh("setvcpus", "mine", "1", "--config")
    room.virsh("desc", "mine", "--config", "somebody was here")
    changed = state(room, "mine")
    status, said = hostward(room, "undo")
    assert status != 0 and "somebody changed its stored definition since" in said
    assert state(room, "mine") == changed


@pytest.mark.parametrize("changed", [False, True])
def test_taken_back_after_a_kill_before_the_outcome_was_written(room: Room, changed: bool) -> None:
    """The journal then says what was meant, not what was done: it is taken back where it is still our change."""
    assert room.define(guest("mine", "<interface type='user'/>", RHEL9)) == ""
    before = state(room, "mine")
    assert hostward(room, "fix", "guests.emulated-nic", "--yes")[0] == 0
    room.run(["sed", "-i", '/"kind": *"outcome"/,$d', "/var/lib/hostward/repairs/1.log"])
    if changed:
        xml = room.virsh("dumpxml", "--inactive", "mine").replace("<model type='virtio'/>", "<model type='e1000'/>")
        assert room.define(xml) == ""
    status, said = hostward(room, "undo")
    if changed:
        assert status != 0 and "somebody changed its stored definition since" in said
        assert models(room, "mine", "--inactive") == ["e1000"]
    else:
        assert status == 0, said
        assert state(room, "mine") == before
        assert "nothing" in hostward(room, "undo")[1].lower()


def test_a_libvirt_that_refuses_or_hangs_leaves_everything_as_it_was(room: Room) -> None:
    assert room.define(guest("mine", "<interface type='user'/>", RHEL9)) == ""
    before = state(room, "mine")
    done = room.run([sys.executable, "-c", REFUSED], ENVIRONMENT)
    assert "HostError" in done.stdout and "validate against schema" in done.stdout, done.stdout + done.stderr
    assert state(room, "mine") == before
    pid = room.run(["sh", "-c", "pidof libvirtd"]).stdout.strip()
    room.run(["kill", "-STOP", pid])
    done = room.run([sys.executable, "-c", HUNG], ENVIRONMENT, timeout_s=20)
    assert done.stdout.count("did not answer within 1") == 3, done.stdout + done.stderr
    room.run(["kill", "-CONT", pid])


REFUSED = """
from hostward.host import libvirt
uri = "qemu:///system"
(domain,) = libvirt.domains(uri)
xml = libvirt.stored(uri, domain.uuid).replace(b"</devices>", b"<nonsense/></devices>")
try:
    libvirt.define(uri, xml, validate=True)
except Exception as error:
    print(type(error).__name__, error)
"""
HUNG = """
from hostward.host import libvirt
uri = "qemu:///system"
for call in (
    lambda: libvirt.domains(uri, 1),
    lambda: libvirt.define(uri, b"<domain/>", True, 1),
    lambda: libvirt.times(uri, ["x"], 1),
):
    try:
        print(call())
    except Exception as error:
        print(type(error).__name__, error)
"""


def test_json_and_script_of_the_plan_hold_no_password(room: Room) -> None:
    secret = "<graphics type='vnc' port='-1' passwd='geheim'/>"
    assert room.define(guest("mine", "<interface type='user'/>" + secret, RHEL9)) == ""
    for form in ("json", "sh"):
        _, said = hostward(room, "fix", "guests.emulated-nic", "--format", form)
        assert "virtio" in said and "geheim" not in said
    _, said = hostward(room, "facts", "Guests", "--format", "json")
    found: Any = json.loads(said)
    assert found["facts"]["Guests"]["guests"] and "geheim" not in said
