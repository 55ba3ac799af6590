"""The lab itself: a real kernel, a real systemd, the agent inside."""

from __future__ import annotations

from tests.lab.machine import Guest


def test_boots_the_kernel_that_was_asked_for(guest: Guest) -> None:
    assert guest.must("uname -r").strip() == guest.kernel.release
    assert guest.must("cat /proc/1/comm").strip() == "systemd"


def test_the_agent_answers_inside(guest: Guest) -> None:
    assert guest.must("hostward --version").startswith("hostward ")


def test_a_command_leaves_status_and_both_streams(guest: Guest) -> None:
    done = guest.sh("echo out; echo err >&2; exit 7")
    assert (done.status, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert guest.sh("sleep 30", limit_s=1).status == 124
