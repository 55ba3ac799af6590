"""Every check of the clock itself on a real machine: it fires when its cause is set up, and is silent when undone."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from tests.conftest import FULL
from tests.lab.conftest import Boot
from tests.lab.machine import Content, Guest
from tests.lab.test_first_path import HWCLOCK_UNIT
from tests.lab.test_keepers import HERE, NETWORK, SERVER_UNIT, servers

#: How much the clock is made to run fast, in ppm.
INJECTED_PPM = 300.0
#: Sets the frequency of the kernel's clock and puts its tick back (adjtimex(2), ADJ_FREQUENCY | ADJ_TICK; 2**-16 ppm).
SET_FREQUENCY = """
import ctypes, sys
timex = (ctypes.c_long * 26)()
ctypes.c_uint.from_buffer(timex).value = 0x4002
timex[11] = 10000
timex[2] = int(float(sys.argv[1]) * 65536)
assert ctypes.CDLL(None, use_errno=True).adjtimex(timex) >= 0, ctypes.get_errno()
"""


@pytest.fixture(scope="module")
def guest(boot: Boot) -> Guest:
    files: dict[str, Content] = {
        "/lab/ntp_server.py": HERE / "ntp_server.py",
        "/lab/frequency.py": SET_FREQUENCY,
        "/etc/systemd/system/lab-servers.service": SERVER_UNIT,
        "/etc/systemd/system/hwclock.service": HWCLOCK_UNIT,
    }
    guest = boot("A", files)
    guest.must(f"systemctl stop chrony.service; set -e{NETWORK}")
    return guest


def chronyd(guest: Guest, config: str) -> None:
    guest.must(f"printf '{config}' > /etc/chrony/chrony.conf; systemctl restart chrony")


def severities(guest: Guest, *checks: str) -> dict[str, str | None]:
    """Check -> its worst severity; None for passed, the outcome for one that was skipped."""
    results = judged(guest, *checks)
    return {r["check"]: r["severity"] if r["outcome"] in ("passed", "findings") else r["outcome"] for r in results}


def judged(guest: Guest, *checks: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = guest.hostward("check", *checks, "--format", "json").json()["results"]
    return found


SOURCES = ("clock.keeper-idle", "clock.unsynchronised", "clock.offset")


def until(guest: Guest, wanted: dict[str, str | None], limit_s: float = 150.0) -> None:
    """Judges until the checks come out as wanted: keepers need some seconds for what they do."""
    deadline = time.monotonic() + limit_s
    while (found := severities(guest, *wanted)) != wanted:
        assert time.monotonic() < deadline, found
        time.sleep(2)


def test_a_keeper_without_a_source_and_then_with_one(guest: Guest) -> None:
    chronyd(guest, servers(6) + "rtcsync\\n")
    until(guest, {"clock.keeper-idle": "error", "clock.unsynchronised": "warning", "clock.offset": "skipped"})
    chronyd(guest, servers(1, 2, 3) + "rtcsync\\n")
    until(guest, {"clock.keeper-idle": None, "clock.unsynchronised": None, "clock.offset": None})


def test_chronyd_without_rtcsync_is_only_a_note(guest: Guest) -> None:
    # What rtcsync told the kernel before is forgotten: STA_UNSYNC as after a boot.
    chronyd(guest, servers(1, 2, 3))
    guest.must("python3 - <<'P'\nimport ctypes\nt = (ctypes.c_long * 26)()\n"
               "ctypes.c_uint.from_buffer(t).value = 0x10\nctypes.c_int.from_buffer(t, 40).value = 0x40\n"
               "assert ctypes.CDLL(None).adjtimex(t) >= 0\nP")  # fmt: skip
    until(guest, {"clock.keeper-idle": None, "clock.unsynchronised": "info"})
    (result,) = judged(guest, "clock.unsynchronised")
    assert "rtcsync" in result["findings"][0]["advice"]


def test_an_offset_that_somebody_cannot_live_with_and_a_step_through_the_keeper(guest: Guest) -> None:
    guest.must("mkdir -p /etc/hostward && printf 'clock:\\n  uses: [ceph]\\n' >/etc/hostward/hostward.yaml")
    chronyd(guest, servers(4) + "rtcsync\\nmaxslewrate 1\\n")  # this server is always five seconds ahead
    until(guest, {"clock.offset": "error"})
    assert "makestep" not in guest.hostward("fix", "--dry-run", "clock.offset").stdout, "not without being told to"
    before = float(guest.must("date +%s.%N")) - float(guest.must("cut -d' ' -f1 /proc/uptime"))
    done = guest.hostward("fix", "--yes", "--choose", "step", "clock.offset")
    assert "done   chronyc makestep" in done.stdout, done.stdout
    after = float(guest.must("date +%s.%N")) - float(guest.must("cut -d' ' -f1 /proc/uptime"))
    assert after - before > 4
    chronyd(guest, servers(1, 2, 3) + "rtcsync\\n")
    until(guest, {"clock.offset": None})
    guest.must("rm /etc/hostward/hostward.yaml")


def test_an_rtc_an_hour_off_is_written_from_the_kept_clock(guest: Guest) -> None:
    chronyd(guest, servers(1, 2, 3))  # without rtcsync the kernel leaves the RTC alone
    guest.must("hwclock --systohc --utc")
    until(guest, {"clock.keeper-idle": None, "clock.rtc-differs": None})
    guest.must("hwclock --set --utc --date=\"$(date -u -d '+1 hour' '+%Y-%m-%d %H:%M:%S')\"")
    (result,) = judged(guest, "clock.rtc-differs")
    assert result["severity"] == "warning"
    told = re.search(r"the RTC is ([+-][\d.]+) s away", result["findings"][0]["summary"])
    assert told and float(told.group(1)) == pytest.approx(3600, abs=2)  # hwclock sets whole seconds
    assert guest.hostward("fix", "--yes", "clock.rtc-differs").status == 0
    assert severities(guest, "clock.rtc-differs") == {"clock.rtc-differs": None}


def test_hwclock_was_the_last_to_set_the_clock(guest: Guest) -> None:
    assert severities(guest, "clock.set-by-hwclock-at-boot") == {"clock.set-by-hwclock-at-boot": None}
    guest.must("systemctl stop chrony.service && systemctl start hwclock.service")
    until(guest, {"clock.set-by-hwclock-at-boot": "warning"})
    chronyd(guest, servers(4) + "makestep 0.5 -1\\n")
    until(guest, {"clock.set-by-hwclock-at-boot": None})


@FULL
def test_the_drift_that_was_injected_is_measured(guest: Guest) -> None:
    guest.must("systemctl stop chrony.service; rm -rf /var/lib/hostward; python3 /lab/frequency.py 0")
    for frequency, looked_at_s, wanted in ((INJECTED_PPM, 60.0, "warning"), (0.0, 12.0, None)):
        guest.must(f"rm -rf /var/lib/hostward; python3 /lab/frequency.py {frequency}")
        for _ in range(4):
            document = json.loads(guest.hostward("clock", "--format", "json").stdout)
            time.sleep(looked_at_s / 4)
        drifts = {drift["reference"]: drift for drift in document["facts"]["ClockDrift"]["drifts"]}
        assert drifts["uncorrected"]["rate_ppm"] == pytest.approx(frequency, abs=max(frequency * 0.1, 5))
        assert drifts["RTC"]["low_ppm"] <= frequency <= drifts["RTC"]["high_ppm"]
        if frequency:
            assert drifts["RTC"]["rate_ppm"] == pytest.approx(frequency, rel=0.1)
        (result,) = [r for r in document["results"] if r["check"] == "clock.drift-rate"]
        assert result["severity"] == wanted, drifts


def test_two_kinds_of_leap_second(guest: Guest) -> None:
    chronyd(guest, servers(1, 2))
    assert severities(guest, "clock.leap-smear-mix") == {"clock.leap-smear-mix": None}
    chronyd(guest, servers(1, 2) + "server time1.google.com\\n")
    assert severities(guest, "clock.leap-smear-mix") == {"clock.leap-smear-mix": "warning"}


def test_the_clock_source(guest: Guest) -> None:
    """Under emulation the TSC is given up, so the machine has fallen back to hpet: that is what the check says."""
    current = guest.must("cat /sys/devices/system/clocksource/clocksource0/current_clocksource").strip()
    (result,) = judged(guest, "clock.clocksource")
    assert (result["severity"] == "warning") is (current in ("hpet", "acpi_pm"))
    assert current in json.dumps(result) or current not in ("hpet", "acpi_pm")
