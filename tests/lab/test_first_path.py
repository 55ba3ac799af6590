"""The two promises on real kernels under a real systemd: what is wrong is found, `fix` mends it, the check passes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import FULL
from tests.hosts import rhel5
from tests.lab import edits
from tests.lab.conftest import Boot
from tests.lab.debs import kernel
from tests.lab.machine import Content, Guest

#: Debian masks its own hwclock.service; this one is as other distributions have it.
HWCLOCK_UNIT = """\
[Unit]
Description=Set the clock from the RTC, and the RTC from the clock
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/sbin/hwclock --hctosys --utc
ExecStop=/sbin/hwclock --systohc --utc
[Install]
WantedBy=multi-user.target
"""
#: For what systemd alone decides.
ONE_KERNEL_IS_ENOUGH = pytest.mark.parametrize("machine", ["A"], indirect=True)
#: What the edited module needs, and its own name; all of the length of the real ones, as they stand in tables.
LACKED = {"alloc_netdev_mqs": "alloc_netdev_mqz", "free_netdev": "free_netdex"}


@pytest.fixture(scope="module", params=["A", pytest.param("C", marks=FULL)])
def machine(request: pytest.FixtureRequest, boot: Boot) -> Iterator[Guest]:
    of = kernel(request.param)
    lacking = edits.renamed(edits.in_tree(of, "dummy"), {"dummy": "dummz", **LACKED})
    files: dict[str, Content] = {
        "/etc/systemd/system/hwclock.service": HWCLOCK_UNIT,
        f"/usr/lib/modules/{of.release}/weak-updates/kmod-test/dummz.ko": lacking,
    }
    yield boot(request.param, files)


def result(machine: Guest, check: str) -> dict[str, Any]:
    """The check's result, and its exit status as `status`."""
    done = machine.hostward("check", check, "--format", "json")
    document = done.json()
    assert document["status"] == done.status
    (found,) = document["results"]
    return {**found, "status": done.status}


def passes(machine: Guest, check: str) -> bool:
    found = result(machine, check)
    assert found["outcome"] in ("passed", "findings"), found
    return bool(found["outcome"] == "passed" and found["status"] == 0)


CLOCK = "clock.hwclock-without-ntp"


def test_a_kept_clock_passes(machine: Guest) -> None:
    machine.must("systemctl start chrony.service")
    assert passes(machine, CLOCK)
    assert passes(machine, "clock.no-keeper")


@pytest.mark.proves("rhel-5.6.kvm.hwclock-drift")
def test_hwclock_on_then_the_keeper_off_is_found_and_fix_starts_the_keeper(machine: Guest) -> None:
    machine.must("systemctl enable --now hwclock.service && systemctl disable --now chrony.service")
    found = result(machine, CLOCK)
    assert found["status"] == 2
    (finding,) = found["findings"]
    assert "hwclock.service" in finding["summary"]
    assert [r["text"] for r in finding["references"]] == ["BZ#523478"]
    dry = machine.hostward("fix", "--dry-run", CLOCK)
    assert dry.status == 1 and "systemctl enable chrony.service" in dry.stdout
    assert not passes(machine, CLOCK), "a dry run changes nothing"
    done = machine.hostward("fix", "--yes", CLOCK)
    assert done.status == 0, done.stdout
    assert passes(machine, CLOCK)
    assert machine.must("systemctl is-enabled chrony.service").strip() == "enabled"
    machine.must("chronyc -n tracking")  # the daemon itself answers


def test_the_keeper_off_then_hwclock_on_is_found_and_fix_can_disable_hwclock_instead(machine: Guest) -> None:
    machine.must("systemctl disable --now chrony.service hwclock.service")
    assert passes(machine, CLOCK)
    assert not passes(machine, "clock.no-keeper")
    machine.must("systemctl enable --now hwclock.service")
    assert not passes(machine, CLOCK)
    assert passes(machine, "clock.no-keeper"), "one cause is told once"
    done = machine.hostward("fix", "--yes", "--choose", "disable-hwclock", CLOCK)
    assert done.status == 0, done.stdout
    assert passes(machine, CLOCK)
    assert machine.sh("systemctl is-enabled hwclock.service").stdout.strip() == "disabled"
    assert machine.sh("systemctl is-active chrony.service").stdout.strip() == "inactive"


@ONE_KERNEL_IS_ENOUGH
def test_a_masked_unit_is_neither_hwclock_nor_a_keeper(machine: Guest) -> None:
    machine.must("systemctl disable --now hwclock.service chrony.service")
    machine.must("rm /etc/systemd/system/hwclock.service && systemctl daemon-reload")
    assert machine.sh("systemctl is-enabled hwclock.service").stdout.strip() == "masked"
    machine.must("systemctl mask chrony.service")
    assert passes(machine, CLOCK)
    refused = machine.hostward("fix", "--yes", "clock.no-keeper")
    assert refused.status == 1 and "systemctl unmask chrony.service" in refused.stdout
    assert machine.sh("systemctl is-enabled chrony.service").stdout.strip() == "masked"
    machine.must("systemctl unmask chrony.service")
    assert machine.hostward("fix", "--yes", "clock.no-keeper", "clock.keeper-not-running").status == 0
    assert machine.must("systemctl is-active chrony.service").strip() == "active"


@ONE_KERNEL_IS_ENOUGH
@FULL
def test_a_keeper_that_is_enabled_and_stopped(machine: Guest) -> None:
    machine.must("systemctl enable chrony.service && systemctl stop chrony.service")
    found = result(machine, "clock.keeper-not-running")
    assert found["status"] == 2 and found["findings"][0]["subject"] == "chrony.service"
    assert machine.hostward("fix", "--yes", "clock.no-keeper", "clock.keeper-not-running").status == 0
    assert machine.must("systemctl is-active chrony.service").strip() == "active"


@ONE_KERNEL_IS_ENOUGH
def test_two_keepers_at_once(machine: Guest) -> None:
    assert passes(machine, "clock.keepers-conflict")
    unit = "[Service]\\nExecStart=/bin/sleep infinity\\n[Install]\\nWantedBy=multi-user.target\\n"
    machine.must(f"printf '{unit}' >/etc/systemd/system/openntpd.service && systemctl daemon-reload")
    machine.must("sed 's/^Conflicts=.*//' /lib/systemd/system/chrony.service >/etc/systemd/system/chrony.service")
    machine.must("systemctl daemon-reload && systemctl start chrony.service openntpd.service")
    found = result(machine, "clock.keepers-conflict")
    assert found["status"] == 2 and "chronyd and openntpd are active at once" in found["findings"][0]["summary"]
    machine.must("systemctl stop openntpd.service && rm /etc/systemd/system/openntpd.service")
    machine.must("rm /etc/systemd/system/chrony.service && systemctl daemon-reload && systemctl restart chrony.service")
    assert passes(machine, "clock.keepers-conflict")


KVM = "modules.kvm-not-loaded"


def _unload(machine: Guest) -> None:
    machine.must("modprobe -r kvm_amd kvm; ! test -e /sys/module/kvm_amd")


def test_kvm_not_loaded_is_found_and_fix_loads_it(machine: Guest) -> None:
    _unload(machine)
    found = result(machine, KVM)
    assert found["status"] == 2
    assert [r["text"] for r in found["findings"][0]["references"]] == ["BZ#501543"]
    done = machine.hostward("fix", "--yes", KVM)
    assert done.status == 0, done.stdout
    assert "modprobe kvm_amd" in done.stdout
    machine.must("test -e /sys/module/kvm_amd && test -c /dev/kvm")
    assert passes(machine, KVM)
    assert machine.hostward("facts", "KvmDevice", "--format", "json").json()["facts"]["KvmDevice"]["api_version"] == 12


@pytest.mark.proves("rhel-5.6.kvm.not-loaded-after-install")
def test_kvm_not_loaded_is_mended_by_the_script_of_rhel_5(machine: Guest, tmp_path: Path) -> None:
    script = Path(rhel5.build(tmp_path).at("/etc/sysconfig/modules/kvm.modules")).read_text()
    machine.must("mkdir -p /etc/sysconfig/modules")
    machine.argv("python3", "-c", "import sys; open(sys.argv[1],'w').write(sys.argv[2])", SCRIPT, script)
    for mode, trusted in (("0777", False), ("0755", True)):
        machine.must(f"chmod {mode} {SCRIPT}")
        _unload(machine)
        done = machine.hostward("fix", "--yes", KVM)
        assert done.status == 0, done.stdout
        assert (f"done   {SCRIPT}" in done.stdout) is trusted, "a script that anybody can write to is never run"
        assert passes(machine, KVM)
    machine.must(f"rm {SCRIPT}")


SCRIPT = "/etc/sysconfig/modules/kvm.modules"


def test_weak_updates_symbols_are_those_the_kernel_names(machine: Guest) -> None:
    release = machine.kernel.release
    path = f"/lib/modules/{release}/weak-updates/kmod-test/dummz.ko"
    found = result(machine, "modules.weak-updates-symbols")
    assert found["status"] == 2
    (finding,) = [f for f in found["findings"] if "dummz" in f["subject"]]
    told = [line for line in finding["evidence"] if line.startswith("WARNING")]
    symbols = [line.rpartition(" ")[2] for line in told]
    machine.must("dmesg --clear; depmod")
    tried = machine.sh("modprobe dummz")
    assert tried.status != 0
    named = re.findall(r"dummz: Unknown symbol (\S+) \(err -2\)", machine.must("dmesg"))
    assert named and symbols == named
    assert sorted(symbols) == sorted(LACKED.values())
    depmod = machine.must(f"depmod -n -e -F /dev/null {release} 2>&1 | grep dummz.ko || true")
    for line in told:
        assert re.match(rf"WARNING: (/usr)?{re.escape(path)} needs unknown symbol ", line)
        assert f"needs unknown symbol {line.rpartition(' ')[2]}" in depmod


def test_a_tree_built_by_code_is_judged_the_same_inside(machine: Guest) -> None:
    """`--root` in the machine itself: the running root seen as a tree finds the same module at fault."""
    done = machine.hostward("check", "modules.weak-updates-symbols", "--root", "/", "--format", "json")
    assert done.json()["host"]["live"] is False
    assert done.status == 2 and "dummz" in done.stdout
