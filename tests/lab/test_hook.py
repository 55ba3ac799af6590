"""libvirt's hook, called by a real libvirtd when it starts guests: warns, refuses, and never stands in the way."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.libvirt_room import Room, lacking
from tests.lab.migration import URI, Destination

REPOSITORY = Path(__file__).parents[2]
HOOK = REPOSITORY / "packaging/libvirt/qemu"
SITE = """
product: Our house
release: "1"
section: virtualization
issues:
  - id: our.no-rng
    title: A guest has a random number generator
    happens: Nothing; it is what this test asks for.
    advice: Take it out.
    severity: error
    applies: {}
    match:
      domain: "devices/rng"
"""

pytestmark = pytest.mark.skipif(bool(lacking()), reason=f"a libvirt of the test's own needs {lacking()}")


def tiny(name: str, devices: str = "") -> str:
    return (
        f"<domain type='qemu'><name>{name}</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>"
        f"<os><type arch='x86_64' machine='pc'>hvm</type></os><devices>{devices}</devices></domain>"
    )


BAD = tiny("bad", "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>")


def put(room: Room, path: str, text: str, mode: str = "644") -> None:
    room.run(["mkdir", "-p", path.rpartition("/")[0]])
    room.run(["tee", path], input=text)
    room.run(["chmod", mode, path])


def agent(room: Room, script: str) -> None:
    """What stands for /usr/bin/hostward in the room."""
    put(room, "/run/agent/hostward", script, "755")


def real(room: Room) -> None:
    agent(
        room,
        f"#!/bin/sh\nPYTHONDONTWRITEBYTECODE=1 PYTHONPATH={REPOSITORY}/agent exec {sys.executable} -m hostward "
        '"$1" --config /run/agent/hostward.yaml "$2" "$3" "$4"\n',
    )


@pytest.fixture(scope="module")
def shared() -> Iterator[Room]:
    """A libvirtd that found the hook when it started: it looks only then."""
    with Room() as room:
        put(
            room, "/etc/libvirt/hooks/qemu", HOOK.read_text().replace("/usr/bin/hostward", "/run/agent/hostward"), "755"
        )
        room.run(["sh", "-c", "mkdir -p /etc/hostward && mount -t tmpfs none /etc/hostward"])
        put(room, "/etc/hostward/known-issues.d/ours.yaml", SITE)
        room.run(["sh", "-c", "kill $(pidof libvirtd)"])
        while room.run(["pidof", "libvirtd"]).returncode == 0:
            time.sleep(0.1)
        room.run(["sh", "-c", "libvirtd -d"])
        while room.run(["virsh", "-c", "qemu:///system", "uri"]).returncode:
            time.sleep(0.2)
        for xml in (tiny("good"), BAD):
            assert room.define(xml) == ""
        yield room


@pytest.fixture
def room(shared: Room) -> Iterator[Room]:
    put(shared, "/run/agent/hostward.yaml", "guests: {hook: refuse}\n")
    real(shared)
    yield shared
    for name in ("good", "bad"):
        shared.run(["virsh", "-c", "qemu:///system", "destroy", name])


def start(room: Room, name: str) -> tuple[bool, str]:
    """(whether it started, what virsh said)."""
    done = room.run(["virsh", "-c", "qemu:///system", "start", name])
    return done.returncode == 0, done.stderr


def hook(room: Room, name: str, operation: str, xml: str) -> tuple[int, str, str, float]:
    """What the hook by itself does: status, standard output, standard error, seconds."""
    began = time.monotonic()
    done = room.run(["/etc/libvirt/hooks/qemu", name, operation, "begin", "-"], input=xml)
    return done.returncode, done.stdout, done.stderr, time.monotonic() - began


def test_refuses_a_guest_with_an_error_and_says_why(room: Room) -> None:
    started, said = start(room, "bad")
    assert not started
    assert "A guest has a random number generator [known-issues.met]; Take it out." in said
    assert start(room, "good") == (True, "")


def test_warns_where_the_policy_is_to_warn(room: Room) -> None:
    put(room, "/run/agent/hostward.yaml", "")
    assert start(room, "bad") == (True, "")
    status, out, said, _ = hook(room, "bad", "prepare", BAD)
    assert (status, out) == (0, "")
    assert "random number generator" in said and "refused" not in said
    assert "guest bad (prepare, started all the same)" in said  # no journal is in the room


def test_a_migration_in_is_judged_and_its_definition_left_as_it_is(room: Room) -> None:
    status, out, said, _ = hook(room, "bad", "migrate", BAD)
    assert (status, out) == (1, "") and "random number generator" in said
    assert hook(room, "good", "migrate", tiny("good"))[:3] == (0, "", "")


def test_a_saved_guest_is_a_start_too_and_a_refusal_keeps_what_was_saved(room: Room) -> None:
    put(room, "/run/agent/hostward.yaml", "")
    assert start(room, "bad") == (True, "")
    room.virsh("managedsave", "bad")
    put(room, "/run/agent/hostward.yaml", "guests: {hook: refuse}\n")
    started, said = start(room, "bad")
    assert not started and "random number generator" in said
    assert "yes" in room.virsh("dominfo", "bad").split("Managed save:")[1].split("\n")[0]
    put(room, "/run/agent/hostward.yaml", "")
    assert start(room, "bad") == (True, "")


@pytest.mark.parametrize("operation", ["start", "started", "stopped", "release", "reconnect", "attach", "restore"])
def test_other_operations_are_none_of_its_business(room: Room, operation: str) -> None:
    agent(room, "#!/bin/sh\nexit 10\n")
    assert hook(room, "bad", operation, BAD)[:3] == (0, "", "")


BROKEN = {
    "hangs": "#!/bin/sh\nexec sleep 1000\n",
    "hangs and ignores signals": f"#!{sys.executable}\nimport signal, time\n"
    "[signal.signal(s, signal.SIG_IGN) for s in range(1, 32) if s not in (9, 19)]\ntime.sleep(1000)\n",
    "leaves a child behind that holds its output": "#!/bin/sh\nsleep 1000 & sleep 1000\n",
    "a broken python": "#!/bin/sh\nexec /usr/bin/python3 -c 'import nothing_of_this_name'\n",
    "no interpreter": "#!/nowhere/python\n",
    "not executable": "",
    "killed": "#!/bin/sh\nkill -SEGV $$\n",
    "prints a definition": "#!/bin/sh\necho '<domain/>'\n",
    "a failure of its own": "#!/bin/sh\nexit 3\n",
}


@pytest.mark.parametrize("what", BROKEN)
def test_whatever_becomes_of_the_agent_the_guest_starts(room: Room, what: str) -> None:
    agent(room, BROKEN[what])
    if what == "not executable":
        room.run(["rm", "/run/agent/hostward"])
    began = time.monotonic()
    started, said = start(room, "bad")
    took_s = time.monotonic() - began
    assert started, said
    status, out, _, alone_s = hook(room, "bad", "prepare", BAD)
    assert (status, out) == (0, "")
    assert alone_s < 1.3, "1 s, and what nsenter takes"
    assert took_s < 15
    # a definition larger than the pipe, which nobody reads
    assert hook(
        room, "bad", "prepare", BAD.replace("<devices>", f"<description>{'x' * 200_000}</description><devices>")
    )[:2] == (0, "")


@pytest.mark.parametrize("xml", ["", "nonsense", "<domain/>", "<!DOCTYPE x [<!ENTITY a 'b'>]><domain>&a;</domain>"])
def test_no_definition_of_a_guest_is_no_reason_to_refuse(room: Room, xml: str) -> None:
    assert hook(room, "bad", "prepare", xml)[:2] == (0, "")


def test_a_broken_configuration_refuses_nothing(room: Room) -> None:
    put(room, "/run/agent/hostward.yaml", "guests: {hook: maybe}\n")
    status, _, said, _ = hook(room, "bad", "prepare", BAD)
    assert status == 0 and "guests.hook: maybe is neither warn nor refuse" in said


def test_what_hangs_inside_the_agent_ends_by_itself(room: Room) -> None:
    """A definition that never ends: the guest is told to have gone unjudged, before anything is killed."""
    script = "sleep 5 | /etc/libvirt/hooks/qemu bad prepare begin -; echo status $?"
    began = time.monotonic()
    done = room.run(["timeout", "3", "sh", "-c", f"( {script} ) 2>&1 & wait $!"])
    assert time.monotonic() - began < 6
    assert "was not judged within 0.8 s" in done.stdout or "Killed" in done.stdout


def test_a_real_migration_is_refused_and_the_guest_goes_on_where_it_was(room: Room) -> None:
    destination = Destination(room)
    put(room, "/run/agent/hostward.yaml", "")
    for name in ("good", "bad"):
        assert start(room, name) == (True, "")
    put(room, "/run/agent/hostward.yaml", "guests: {hook: refuse}\n")
    came, said = destination.migrate("bad")
    assert not came and "A guest has a random number generator" in said
    assert room.virsh("domstate", "bad").strip() == "running" and destination.names() == []
    assert destination.migrate("good") == (True, "")
    put(room, "/run/agent/hostward.yaml", "")
    assert destination.migrate("bad") == (True, "")
    assert sorted(destination.names()) == ["bad", "good"]
    for name in ("good", "bad"):
        room.run(["virsh", "-c", URI, "destroy", name])
