"""Guests of a real libvirt: defined, started under emulation, changed while they run, and seen each time."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.domains import CASES, found_by, rhel56
from tests.lab.libvirt_room import Room, lacking

REPOSITORY = Path(__file__).parents[2]
ENVIRONMENT = {"PYTHONPATH": str(REPOSITORY / "agent"), "PYTHONDONTWRITEBYTECODE": "1"}

pytestmark = pytest.mark.skipif(bool(lacking()), reason=f"a libvirt of the test's own needs {lacking()}")


@pytest.fixture
def room() -> Iterator[Room]:
    with Room() as made:
        yield made


def hostward(room: Room, *arguments: str) -> Any:
    done = room.run([sys.executable, "-m", "hostward", *arguments, "--format", "json"], ENVIRONMENT)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def guests(room: Room) -> dict[str, Any]:
    """The guests that hostward sees in the room, by name, and "sources"."""
    fact = hostward(room, "facts", "Guests")["facts"]["Guests"]
    assert not fact["problems"]
    return {"sources": fact["sources"], "notes": fact["notes"], **{guest["name"]: guest for guest in fact["guests"]}}


def findings(room: Room, check: str) -> list[tuple[str, str]]:
    """(severity, subject) of what a check finds in the room."""
    (result,) = hostward(room, "check", check)["results"]
    assert result["outcome"] in ("passed", "findings"), result
    return [(finding["severity"], finding["subject"]) for finding in result["findings"]]


def without_source(value: Any) -> Any:
    """A guest's facts but for where they were read and which process was seen."""
    if isinstance(value, dict):
        return {k: without_source(v) for k, v in value.items() if k not in ("source", "pid", "command")}
    return [without_source(v) for v in value] if isinstance(value, list) else value


def tiny(name: str, devices: str) -> str:
    return (
        f"<domain type='qemu'><name>{name}</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>"
        f"<os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features>"
        f"<devices>{devices}</devices></domain>"
    )


def test_what_libvirt_makes_of_the_corpus_is_judged_alike(room: Room, tmp_path: Path) -> None:
    """libvirt fills in what a definition left out; the findings must be the same before and after."""
    here = [case for case in CASES if not case.elsewhere]
    for case in here:
        assert room.define(case.xml()) == "", case.name
    stored = {case.name: room.run(["cat", f"/etc/libvirt/qemu/{case.name}.xml"]).stdout for case in here}
    rhel56(tmp_path, stored)
    found = found_by(tmp_path)
    for case in here:
        assert found.get(case.name, set()) == set(case.expect), stored[case.name]

    asked = guests(room)
    assert asked["sources"][0] == "qemu:///system"
    room.run(["mv", "/run/libvirt", "/run/elsewhere"])  # no socket: the files are what is left
    read = guests(room)
    assert read["sources"][0] == "/etc/libvirt/qemu"
    names = [case.name for case in here]
    assert [without_source(asked[name]) for name in names] == [without_source(read[name]) for name in names]


@pytest.mark.proves("rhel-5.6.kvm.rtl8139")
def test_the_default_card_of_a_q35_guest_is_an_rtl8139_today(room: Room) -> None:
    assert room.define(tiny("q", "<interface type='user'/>").replace("'pc'", "'q35'")) == ""
    (nic,) = guests(room)["q"]["stored"]["nics"]
    assert nic["model"] == "rtl8139"
    assert findings(room, "guests.emulated-nic") == [("warning", "q")]


@pytest.mark.proves("rhel-5.6.kvm.hot-plug-and-migration")
def test_a_guest_that_runs(room: Room) -> None:
    """Started, plugged into, and read from libvirt, from its status document, and from its process alone."""
    assert room.define(tiny("runs", "<interface type='user'><model type='virtio'/></interface>")) == ""
    room.virsh("start", "runs")
    guest = guests(room)["runs"]
    assert guest["running"] and guest["pid"] > 0
    assert guest["command"]["machine"] == guest["live"]["machine"]
    assert guest["command"]["uuid"] == guest["uuid"]
    assert findings(room, "guests.hot-plugged") == []
    assert findings(room, "guests.emulated-nic") == []

    plugged = "<interface type='user'><mac address='52:54:00:00:00:01'/><model type='rtl8139'/></interface>"
    room.run(["tee", "/run/nic.xml"], input=plugged)
    room.virsh("attach-device", "runs", "/run/nic.xml", "--live")
    assert findings(room, "guests.hot-plugged") == [("info", "runs")]
    assert findings(room, "guests.emulated-nic") == [("warning", "runs")]
    asked = guests(room)["runs"]
    assert [nic["model"] for nic in asked["live"]["nics"]] == ["virtio", "rtl8139"]
    assert [nic["model"] for nic in asked["stored"]["nics"]] == ["virtio"]

    room.run(["sh", "-c", "rm /run/libvirt/libvirt-sock*"])
    read = guests(room)
    assert read["sources"][0] == "/etc/libvirt/qemu"
    assert without_source(read["runs"]) == without_source(asked)
    assert (read["runs"]["running"], read["runs"]["pid"]) == (True, asked["pid"])

    room.run(["mv", "/etc/libvirt/qemu", "/etc/libvirt/none"])
    room.run(["mv", "/run/libvirt", "/run/none"])
    alone = guests(room)
    assert alone["sources"] == ["/proc"]
    assert (alone["runs"]["stored"], alone["runs"]["live"], alone["runs"]["pid"]) == (None, None, asked["pid"])
    # libvirt starts QEMU without the card that was plugged in later
    assert findings(room, "guests.emulated-nic") == []
    room.run(["kill", str(asked["pid"])])


#: One of nearly every device that can be plugged in, as definitions name them: what is left out libvirt fills in.
EVERYTHING = """
<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/run/a.img'/><target dev='vda'/></disk>
<disk type='file' device='cdrom'><target dev='sda' bus='sata'/></disk>
<disk type='file' device='floppy'><target dev='fda'/></disk>
<disk type='file' device='disk'><source file='/run/b.img'/><target dev='sdb' bus='usb'/></disk>
<disk type='file' device='disk'><source file='/run/c.img'/><target dev='sdc' bus='scsi'/></disk>
<interface type='user'/><interface type='user'><model type='virtio'/></interface>
<serial type='pty'/><console type='pty'/><serial type='file'><source path='/run/serial.log'/></serial>
<parallel type='file'><source path='/run/parallel.log'/></parallel>
<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
<channel type='pty'><target type='virtio' name='other'/></channel><console type='pty'><target type='virtio'/></console>
<sound model='ich6'/><sound model='ac97'/><watchdog model='i6300esb' action='reset'/>
<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
<input type='tablet' bus='usb'/><input type='keyboard' bus='usb'/><hub type='usb'/><memballoon model='virtio'/><panic/>
<redirdev bus='usb' type='tcp'><source mode='bind' host='127.0.0.1' service='4000'/></redirdev>
<filesystem type='mount' accessmode='mapped'><source dir='/run'/><target dir='run'/></filesystem>
<graphics type='vnc' port='-1' autoport='yes'/><video><model type='virtio'/></video>
<shmem name='shared'><model type='ivshmem-plain'/><size unit='M'>4</size></shmem>
"""


def test_nothing_counts_as_plugged_in_that_was_there_from_the_start(room: Room) -> None:
    room.run(["truncate", "-s", "1M", "/run/a.img", "/run/b.img", "/run/c.img", "/run/d.img"])
    assert room.define(tiny("full", EVERYTHING)) == ""
    room.virsh("start", "full")
    assert findings(room, "guests.hot-plugged") == []
    room.virsh("change-media", "full", "sda", "/run/d.img", "--insert", "--live")
    assert findings(room, "guests.hot-plugged") == []
    room.run(["tee", "/run/sound.xml"], input="<input type='mouse' bus='usb'/>")
    room.virsh("attach-device", "full", "/run/sound.xml", "--live")
    (result,) = hostward(room, "check", "guests.hot-plugged")["results"]
    assert result["findings"][0]["evidence"] == ["qemu:///system full (running): <input> type mouse bus usb"]
    room.virsh("destroy", "full")


def test_a_transient_guest_and_one_that_is_off(room: Room) -> None:
    assert room.define(tiny("off", "<sound model='ac97'/>")) == ""
    room.run(
        ["tee", "/run/transient.xml"],
        input=tiny("transient", "<disk type='file' device='cdrom'><target dev='hdc'/></disk>"),
    )
    room.virsh("create", "/run/transient.xml")
    room.virsh("autostart", "off")
    seen = guests(room)
    assert (seen["transient"]["stored"], seen["transient"]["running"]) == (None, True)
    assert (seen["off"]["live"], seen["off"]["running"], seen["off"]["autostart"]) == (None, False, True)
    assert findings(room, "guests.hot-plugged") == []
    room.virsh("destroy", "transient")


def test_a_libvirt_that_hangs_costs_its_time_limit_and_no_guest(room: Room) -> None:
    assert room.define(tiny("kept", "<interface type='user'/>")) == ""
    pid = room.run(["sh", "-c", "pidof libvirtd"]).stdout.strip()
    room.run(["kill", "-STOP", pid])
    config = "limits: {program-timeout-s: 1}\n"
    room.run(["tee", "/run/hostward.yaml"], input=config)
    (result,) = hostward(room, "check", "--config", "/run/hostward.yaml", "guests.emulated-nic")["results"]
    assert [finding["subject"] for finding in result["findings"]] == ["kept"]
    assert guests_note(room) == "qemu:///system: libvirt did not answer within 1 s; its files were read instead"
    room.run(["kill", "-CONT", pid])


def guests_note(room: Room) -> str:
    fact = hostward(room, "facts", "--config", "/run/hostward.yaml", "Guests")["facts"]["Guests"]
    (note,) = fact["notes"]
    return str(note)
