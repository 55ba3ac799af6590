"""A judgement on a real machine: real units, a journal that explains it, repairs that help, a clock that is set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hostward.daemon.messages import message_id
from tests.conftest import FULL
from tests.lab.conftest import Boot
from tests.lab.machine import Guest
from tests.lab.test_first_path import HWCLOCK_UNIT

# tests/lab/test_watch.py has the same judgements made by the daemon itself.
pytestmark = FULL

REPOSITORY = Path(__file__).parents[2]
JUDGE = """\
import json, resource, sys, time
sys.path.insert(0, "/usr/lib/hostward")
begun = time.monotonic()
from hostward.daemon.judge import run
loaded = time.monotonic()
answer = run(json.loads(sys.argv[1]))
answer["load_s"], answer["run_s"] = loaded - begun, time.monotonic() - loaded
answer["rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps(answer))
"""
TEXTFILES = "/var/lib/prometheus/node-exporter"


@pytest.fixture(scope="module")
def machine(boot: Boot) -> Guest:
    files = {
        "/etc/systemd/system/hwclock.service": HWCLOCK_UNIT,
        "/usr/lib/hostward/judge.py": JUDGE,
        "/usr/lib/systemd/catalog/hostward.catalog": REPOSITORY / "packaging/rpm/hostward.catalog",
        f"{TEXTFILES}/README": "",
    }
    machine = boot("A", files)
    machine.must("journalctl --update-catalog")
    machine.must("udevadm settle; modprobe -r kvm_amd kvm; ! test -e /sys/module/kvm_amd")
    machine.must("systemctl enable --now hwclock.service && systemctl disable --now chrony.service")
    return machine


def judge(machine: Guest, *events: str, **more: Any) -> dict[str, Any]:
    """One judgement in a process of its own, as the daemon has it made; its answer, and figures of its cost."""
    task = {"events": list(events or ["all"]), "reason": "the lab", "first": False, **more}
    done = machine.argv("python3", "/usr/lib/hostward/judge.py", json.dumps(task))
    assert done.status == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    print(f"{'+'.join(events or ['all'])}: loaded in {answer['load_s']:.2f} s, {answer['run_s']:.2f} s, "
          f"{answer['rss_mib']:.0f} MiB; {answer['status']}")  # fmt: skip
    return answer


def journal(machine: Guest, *match: str) -> list[dict[str, Any]]:
    machine.must("journalctl --sync")
    done = machine.argv("journalctl", "-o", "json", "SYSLOG_IDENTIFIER=hostward", *match)
    return [json.loads(line) for line in done.stdout.splitlines()]


def told(machine: Guest) -> list[tuple[str, str]]:
    return [(e["HOSTWARD_TRANSITION"], e["HOSTWARD_CHECK"]) for e in journal(machine)]


def test_what_is_wrong_is_told_once_and_what_may_be_is_repaired(machine: Guest) -> None:
    answer = judge(machine, first=True, daemon=1)
    assert answer["severity"] == "error"
    assert {"hwclock.service", "chrony.service"} <= set(answer["watch"]["units"])
    seen = told(machine)
    for what, check in (
        ("appeared", "clock.hwclock-without-ntp"),
        ("appeared", "modules.kvm-not-loaded"),
        ("repaired", "modules.kvm-not-loaded"),
        ("gone", "modules.kvm-not-loaded"),
        ("start", "hostward"),
    ):
        assert seen.count((what, check)) == 1, seen
    machine.must("test -e /sys/module/kvm_amd")
    assert machine.sh("systemctl is-active hwclock.service").stdout.strip() == "active", "not repaired unasked"
    before = len(seen)
    judge(machine, daemon=1)
    assert len(told(machine)) == before


def test_journalctl_explains_it(machine: Guest) -> None:
    id = message_id("appeared", "clock.hwclock-without-ntp")
    (entry,) = journal(machine, f"MESSAGE_ID={id}")
    assert entry["PRIORITY"] == "3" and "bugzilla.redhat.com" in entry["HOSTWARD_REFERENCES"]
    text = machine.must(f"journalctl -x -o short MESSAGE_ID={id}")
    assert "BZ#523478" in text and f"What to do: {entry['HOSTWARD_ADVICE'][:40]}" in text


def test_status_and_history(machine: Guest) -> None:
    status = machine.hostward("status")
    assert status.status == 2 and "clock.hwclock-without-ntp" in status.stdout and "the daemon runs" in status.stdout
    history = machine.hostward("history", "modules.kvm-not-loaded", "--format", "json").json()["transitions"]
    assert [t["what"] for t in history] == ["appeared", "repaired", "gone"]
    number = history[1]["detail"]["repair"]
    assert machine.hostward("log", number).status == 0


def test_prometheus_reads_it(machine: Guest) -> None:
    text = machine.must(f"cat {TEXTFILES}/hostward.prom")
    assert 'hostward_findings{check="clock.hwclock-without-ntp",severity="error"} 1' in text
    assert 'hostward_repairs{outcome="helped"} 1' in text
    assert machine.must(f"ls -A {TEXTFILES}").split() == ["README", "hostward.prom"]


def test_units_alone_are_judged_when_units_change(machine: Guest) -> None:
    machine.must("systemctl enable --now chrony.service")
    before = len(told(machine))
    judge(machine, "units", daemon=1)
    assert ("gone", "clock.hwclock-without-ntp") in told(machine)[before:]
    machine.must("systemctl kill -s KILL chrony.service; systemctl stop chrony.service")
    judge(machine, "units", daemon=1)
    assert ("appeared", "clock.keeper-not-running") in told(machine)[before:]


@pytest.mark.parametrize("date", ["1970-01-02 00:00:00", "2100-01-01 00:00:00"])
def test_a_clock_that_is_set_loses_nothing(machine: Guest, date: str) -> None:
    lines = len(machine.hostward("history", "--format", "json").json()["transitions"])
    before = told(machine).count(("clock-set", "hostward"))
    machine.must(f"date -s '{date}'")
    judge(machine, "clock", daemon=1)
    assert told(machine).count(("clock-set", "hostward")) == before + 1
    status = machine.hostward("status", "--format", "json").json()
    assert status["stale"] == "" and 0 <= status["judged"]["age_s"] < 120
    assert len(machine.hostward("history", "--format", "json").json()["transitions"]) >= lines
    assert "-- the clock was set" in machine.hostward("history").stdout
    judge(machine, "all", daemon=1)


def test_the_journal_away_is_told_later(machine: Guest) -> None:
    machine.must("systemctl stop systemd-journald.socket systemd-journald-dev-log.socket systemd-journald.service")
    machine.must("rm -f /run/systemd/journal/socket")
    machine.must("systemctl enable --now chrony.service")
    done = machine.argv("python3", "/usr/lib/hostward/judge.py", json.dumps({"events": ["units"], "daemon": 1}))
    assert done.status == 0 and "journald is not there" in done.stderr
    assert "clock.keeper-not-running: no longer so" in done.stderr
    machine.must("systemctl start systemd-journald.socket systemd-journald-dev-log.socket systemd-journald.service")


def test_a_full_disk_moves_the_state_and_says_so(machine: Guest) -> None:
    machine.must("mkdir -p /var/lib/hostward && mount -t tmpfs -o size=64k,mode=0700 none /var/lib/hostward")
    machine.must("head -c 1M /dev/zero >/var/lib/hostward/filler || true")
    answer = judge(machine, daemon=1)
    assert answer["severity"] == "error"
    assert ("appeared", "hostward.state") in told(machine)
    assert "hostward.state" in machine.hostward("status").stdout
    machine.must("umount /var/lib/hostward")
    judge(machine, daemon=1)
    assert machine.hostward("status", "--format", "json").json()["stale"] == ""
    assert ("gone", "hostward.state") in told(machine)
    history = machine.hostward("history", "hostward.state", "--format", "json").json()["transitions"]
    assert [t["what"] for t in history] == ["appeared", "gone"], "what was kept in /run is taken over"
