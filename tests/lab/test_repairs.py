"""Repairs on a real systemd and a real kernel: done, proven, undone, and killed at every point."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import FULL
from tests.lab import edits, kill_points
from tests.lab.conftest import Boot
from tests.lab.debs import kernel
from tests.lab.machine import Content, Guest, Link
from tests.lab.test_first_path import HWCLOCK_UNIT, LACKED

WEAK = "weak-updates/kmod-test"
#: Kernels that are not installed: only a kmod package keeps its builds there.
BAD, GOOD = "6.1.0-1-bad", "6.1.0-0-good"


@pytest.fixture(scope="module")
def machine(boot: Boot) -> Iterator[Guest]:
    of = kernel("A")
    good = edits.renamed(edits.in_tree(of, "dummy"), {"dummy": "dummz"})
    tree = f"/usr/lib/modules/{of.release}"
    files: dict[str, Content] = {
        "/etc/systemd/system/hwclock.service": HWCLOCK_UNIT,
        "/etc/depmod.d/dist.conf": "search updates extra built-in weak-updates\n",
        f"/usr/lib/modules/{BAD}/extra/kmod-test/dummz.ko": edits.renamed(good, LACKED),
        f"/usr/lib/modules/{GOOD}/extra/kmod-test/dummz.ko": good,
        f"{tree}/{WEAK}/dummz.ko": Link(f"/lib/modules/{BAD}/extra/kmod-test/dummz.ko"),
        f"{tree}/{WEAK}/.bad": Link(f"/lib/modules/{BAD}/extra/kmod-test/dummz.ko"),
        "/lab/kill_points.py": Path(kill_points.__file__),
        # udev loads nothing by itself; a blacklist would say that somebody meant it.
        "/etc/udev/rules.d/80-drivers.rules": Link("/dev/null"),
    }
    machine = boot("A", files)
    machine.must("depmod")
    yield machine


def test_a_link_is_moved_to_the_build_that_loads_and_back(machine: Guest) -> None:
    link = f"/lib/modules/{machine.kernel.release}/{WEAK}/dummz.ko"
    assert machine.sh("modprobe dummz").status != 0
    done = machine.hostward("fix", "--yes", "--only", "modules.relink", "modules.weak-updates-symbols")
    assert done.status == 0, done.stdout
    assert f"the build of kmod-test for kernel {GOOD} loads on {machine.kernel.release}" in done.stdout
    assert f"/{GOOD}/" in machine.must(f"readlink {link}")
    machine.must("modprobe dummz && test -d /sys/module/dummz && rmmod dummz")
    number = machine.hostward("log", "--format", "json").json()["repairs"][-1]["number"]
    undone = machine.hostward("undo", str(number))
    assert undone.status == 0 and "It is as it was before." in undone.stdout, undone.stdout
    assert f"/{BAD}/" in machine.must(f"readlink {link}")
    assert machine.sh("modprobe dummz").status != 0


def test_what_may_happen_unattended_happens_and_is_not_done_against_a_persons_will(machine: Guest) -> None:
    gone = f"/lib/modules/{machine.kernel.release}/{WEAK}/gone.ko"
    machine.must(f"ln -s /lib/modules/none/gone.ko {gone}; depmod")
    checks = ("modules.weak-updates-dangling", "modules.kvm-not-loaded", "modules.weak-updates-symbols")
    done = machine.hostward("fix", "--unattended", *checks)
    # The link that leads to a bad build is moved on request only.
    assert done.status == 1, done.stdout
    machine.must(f"! test -L {gone} && test -d /sys/module/kvm_amd && test -c /dev/kvm")
    assert f"/{BAD}/" in machine.must(f"readlink /lib/modules/{machine.kernel.release}/{WEAK}/dummz.ko")
    assert machine.hostward("undo").status == 0
    machine.must("! test -d /sys/module/kvm_amd")
    again = machine.hostward("fix", "--unattended", "modules.kvm-not-loaded")
    assert again.status == 1 and "somebody undid repair" in again.stdout
    machine.must("! test -d /sys/module/kvm_amd")
    assert machine.hostward("fix", "--yes", "modules.kvm-not-loaded").status == 0
    machine.must("test -d /sys/module/kvm_amd")


@FULL
def test_an_enabled_unit_is_put_back_link_by_link(machine: Guest) -> None:
    """What an operator linked by hand is not what `systemctl enable` would make, and comes back all the same."""
    wants = "/etc/systemd/system/sysinit.target.wants"
    machine.must(f"systemctl disable --now chrony.service; mkdir -p {wants}; systemctl enable --now hwclock.service")
    machine.must(f"ln -sf ../hwclock.service {wants}/hwclock.service; systemctl daemon-reload")
    links = "find /etc/systemd/system -name '*hwclock.service' -printf '%p %l\\n' | sort"
    before = machine.must(links)
    done = machine.hostward("fix", "--yes", "--choose", "disable-hwclock", "clock.hwclock-without-ntp")
    assert done.status == 0, done.stdout
    assert machine.must(links) != before
    assert machine.hostward("undo").status == 0
    assert machine.must(links) == before
    assert machine.must("systemctl is-active hwclock.service").strip() == "active"
    machine.must(f"rm -r {wants}/hwclock.service; systemctl daemon-reload")


def test_killed_at_every_point_of_a_repair(machine: Guest) -> None:
    _kill(machine, ["modules.load-kvm"])


@FULL
def test_killed_at_every_point_of_every_repair(machine: Guest) -> None:
    _kill(machine, list(kill_points.SCENARIOS))


def _kill(machine: Guest, remedies: list[str]) -> None:
    done = machine.argv("python3", "/lab/kill_points.py", *remedies, limit_s=1000)
    assert done.status == 0, done.stderr
    for remedy, found in json.loads(done.stdout).items():
        assert found["points"] >= 6, f"{remedy}: {found}"
        assert found["problems"] == [], remedy
