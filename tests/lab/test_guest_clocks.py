"""The clocks of real guests, seen and set through Debian's own guest agent by a real libvirt."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import agent_guest
from tests.lab.debs import NotAtHand
from tests.lab.libvirt_room import Room, lacking
from tests.lab.migration import Destination

REPOSITORY = Path(__file__).parents[2]
ENVIRONMENT = {"PYTHONPATH": str(REPOSITORY / "agent"), "PYTHONDONTWRITEBYTECODE": "1"}
OFF_S = -42

pytestmark = pytest.mark.skipif(bool(lacking()), reason=f"a libvirt of the test's own needs {lacking()}")


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """With a guest whose clock is off, one whose is not, and two without an agent at work."""
    try:
        kernel, initramfs = agent_guest.built(tmp_path_factory.mktemp("guest"))
    except NotAtHand as reason:
        pytest.skip(str(reason))
    with Room() as made:
        assert made.define(agent_guest.definition("late", kernel, initramfs, OFF_S)) == ""
        assert made.define(agent_guest.definition("right", kernel, initramfs)) == ""
        nothing = (
            "<domain type='qemu'><name>{}</name><memory unit='MiB'>32</memory><os><type>hvm</type></os>{}</domain>"
        )
        channel = (
            "<devices><channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel></devices>"
        )
        assert made.define(nothing.format("plain", "")) == made.define(nothing.format("deaf", channel)) == ""
        for name in ("late", "right", "plain", "deaf"):
            made.virsh("start", name)
        deadline = time.monotonic() + 120
        for name in ("late", "right"):
            while made.run(["virsh", "-c", "qemu:///system", "domtime", name]).returncode:
                console = made.run(["cat", f"/run/{name}.log"]).stdout
                assert time.monotonic() < deadline, f"no agent in {name}: {console[-2000:]}"
                time.sleep(0.5)
        yield made


def hostward(room: Room, *arguments: str) -> Any:
    done = room.run([sys.executable, "-m", "hostward", *arguments, "--format", "json"], ENVIRONMENT)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def clocks(room: Room) -> Any:
    return hostward(room, "facts", "GuestClocks")["facts"]["GuestClocks"]


def clock(room: Room, name: str) -> Any:
    (found,) = [clock for clock in clocks(room)["clocks"] if clock["guest"] == name]
    return found


def findings(room: Room) -> tuple[dict[str, str], str]:
    (result,) = hostward(room, "check", "clock.guest-off")["results"]
    return {
        finding["subject"]: "\n".join([finding["summary"], *finding["evidence"]]) for finding in result["findings"]
    }, (result["reason"])


def test_which_guest_is_off_by_how_much(room: Room) -> None:
    seen = clocks(room)
    assert [clock["guest"] for clock in seen["clocks"]] == ["late", "right"]
    late, right = seen["clocks"]
    # `date -s` in the guest drops the fraction of a second, and its kernel read a clock of whole seconds at boot.
    assert abs(late["offset_s"] - OFF_S) < 3 and abs(right["offset_s"]) < 3
    assert 0 < late["uncertainty_s"] < 5
    assert late["began"] == "booted" and late["since"].startswith("20")
    assert seen["without"] == ["plain", "deaf"] and seen["silent"] == []
    found, _ = findings(room)
    assert "s behind its host's" in found["late"] and "it was booted 20" in found["late"]
    assert "nothing is known to keep this host's own clock" in found["late"]


def test_what_virsh_says_agrees(room: Room) -> None:
    seen = clock(room, "late")
    before = time.time()
    said = room.virsh("domtime", "late")
    after = time.time()
    guest = int(said.split(":")[1])
    # whole seconds from virsh
    assert (
        before + seen["offset_s"] - 1 - seen["uncertainty_s"]
        < guest
        < after + seen["offset_s"] + seen["uncertainty_s"] + 1
    )


def test_it_is_not_set_while_nothing_keeps_this_hosts_clock(room: Room) -> None:
    before = clock(room, "late")["offset_s"]
    done = room.run([sys.executable, "-m", "hostward", "fix", "clock.guest-off", "--yes"], ENVIRONMENT)
    assert "a guest's may be the one that is right" in done.stdout + done.stderr
    assert abs(clock(room, "late")["offset_s"] - before) < 2


SET = """
import sys
from hostward.host import Host
from hostward.model import SetGuestClock
from hostward.remedies.steps import craft_of, decode, encode
step = decode(encode(SetGuestClock("qemu:///system", *sys.argv[1:])))
craft = craft_of(step)
print(craft.show(step), craft.cant_undo(step))
craft.do(Host.running(), step, {})
"""


def test_setting_it(room: Room) -> None:
    uuid = clock(room, "late")["uuid"]
    done = room.run([sys.executable, "-c", SET, "late", uuid], ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert "virsh --connect qemu:///system domtime late --now" in done.stdout
    now = clock(room, "late")
    assert abs(now["offset_s"]) < 0.5 + now["uncertainty_s"]


def test_a_guest_that_was_paused_lags_since_then(room: Room) -> None:
    """kubevirt/kubevirt#2842: nothing in the guest, and nobody outside, tells its clock that time went by."""
    before = clock(room, "right")["offset_s"]
    room.virsh("suspend", "right")
    seen = dict(clocks(room)["silent"])
    assert list(seen) == ["right"], "no clock is told of a guest that stands still"
    found, reason = findings(room)
    assert "right: " in reason
    time.sleep(4)
    room.virsh("resume", "right")
    after = clock(room, "right")
    assert after["began"] == "unpaused" and after["since"].startswith("20")
    assert -30 < after["offset_s"] - before < -3.5
    found, _ = findings(room)
    assert "it was unpaused 20" in found["right"]


def test_a_guest_that_was_restored(room: Room) -> None:
    before = clock(room, "right")["offset_s"]
    room.virsh("save", "right", "/run/right.saved")
    time.sleep(3)
    room.virsh("restore", "/run/right.saved")
    after = clock(room, "right")
    assert after["began"] == "restored"
    assert after["offset_s"] - before < -2


def test_a_guest_that_was_migrated_in(room: Room) -> None:
    destination = Destination(room)
    before = clock(room, "right")
    assert destination.migrate("right") == (True, "")
    done = destination.run(
        [sys.executable, "-m", "hostward", "facts", "GuestClocks", "--format", "json"],
        ENVIRONMENT,
    )
    (after,) = json.loads(done.stdout)["facts"]["GuestClocks"]["clocks"]
    assert (after["guest"], after["began"]) == ("right", "migrated")
    assert after["since"] >= before["since"]
    assert after["offset_s"] < before["offset_s"] + after["uncertainty_s"] + before["uncertainty_s"]


def test_an_agent_that_hangs_costs_its_time_limit_and_no_other_guest(room: Room) -> None:
    """libvirt waits 5 s for an agent; hostward as long as limits.program-timeout-s says."""
    if room.run(["virsh", "-c", "qemu:///system", "domtime", "right"]).returncode:
        room.virsh("start", "right")  # it was migrated away
        deadline = time.monotonic() + 60
        while room.run(["virsh", "-c", "qemu:///system", "domtime", "right"]).returncode:
            assert time.monotonic() < deadline
            time.sleep(0.5)
    stop = {
        "execute": "guest-exec",
        "arguments": {"path": "/bin/busybox", "arg": ["sh", "-c", "kill -STOP $(busybox pidof qemu-ga)"]},
    }
    room.run(["virsh", "-c", "qemu:///system", "qemu-agent-command", "late", json.dumps(stop), "--timeout", "2"])
    room.run(["tee", "/run/hostward.yaml"], input="limits: {program-timeout-s: 4}\n")
    began = time.monotonic()
    seen = hostward(room, "facts", "GuestClocks", "--config", "/run/hostward.yaml")["facts"]["GuestClocks"]
    assert time.monotonic() - began < 10
    assert [clock["guest"] for clock in seen["clocks"]] == ["right"]
    assert seen["silent"] == [["late", "no answer within 4 s"]]
    seen = clocks(room)  # with time enough libvirt itself gives up
    assert [guest for guest, _ in seen["silent"]] == ["late"]
