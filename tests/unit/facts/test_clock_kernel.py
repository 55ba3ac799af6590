"""Facts of the clock: where they can't be had they say why; what files and the journal tell is read as it is meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hostward.config import Config
from hostward.engine import Engine
from hostward.facts import clock_kernel
from hostward.facts.boot import Boot
from hostward.facts.clock_boot import ClockSetting, clock_set_at_boot, read
from hostward.facts.clock_kernel import AdjtimeFile, adjtime_file, clock_source, kernel_clock, ptp_reading, rtc_reading
from hostward.facts.clock_services import RtcMode
from hostward.host import Host, HostError, NotLive
from hostward.host.programs import Completed
from hostward.model import NotApplicable, Unavailable
from tests.hosts.tree import Tree

MACHINE = Boot((), "", "", "", "", "systemd", True)
CONTAINER = Boot((), "docker", "/.dockerenv", "", "", "sh", False)
UTC = RtcMode(False, "/etc/adjtime", "UTC")
FACTS = ("KernelClock", "ClockSource", "RtcReading", "PtpReading", "ClockSetAtBoot")
SOURCE = "/sys/devices/system/clocksource/clocksource0"


class Machine(Host):
    """A tree that passes for the running machine, whose programs say what a test has them say."""

    def __init__(self, tree: Tree, **says: str) -> None:
        super().__init__(str(tree.root), live=True)
        self.says = says
        self.ran: list[tuple[str, ...]] = []

    def run(self, argv: Any, timeout_s: float | None = None, input: bytes = b"", bound: bool = False) -> Completed:
        self.ran.append(tuple(argv))
        if argv[0] not in self.says:
            raise HostError(argv[0], "no such program")
        return Completed(tuple(argv), 0, self.says[argv[0]], "")


@pytest.mark.parametrize("name", FACTS)
def test_a_tree_has_no_clock(name: str, tmp_path: Path) -> None:
    found = Engine(Host.at(str(tmp_path)), Config()).fact(name)
    assert isinstance(found, NotApplicable)
    assert "tree" in found.reason


def test_a_container_has_no_clock_of_its_own(tmp_path: Path) -> None:
    host = Machine(Tree(tmp_path).file("/etc/adjtime", "0.0 0 0\n0\nUTC\n"))
    for observe in (
        lambda: kernel_clock(host, CONTAINER),
        lambda: clock_source(host, CONTAINER),
        lambda: rtc_reading(host, CONTAINER, UTC),
        lambda: ptp_reading(host, CONTAINER),
        lambda: adjtime_file(host, CONTAINER),
        lambda: clock_set_at_boot(host, CONTAINER, Unavailable("not asked")),
    ):
        with pytest.raises(NotApplicable, match=r"docker.* its host is to be asked"):
            observe()


def test_the_kernel_of_this_machine_answers() -> None:
    found = kernel_clock(Host.running(), MACHINE)
    assert found.state.startswith("TIME_")
    assert found.synchronised is ("STA_UNSYNC" not in found.status_flags)
    assert (found.state == "TIME_ERROR") is any(
        flag in found.status_flags for flag in ("STA_UNSYNC", "STA_CLOCKERR", "STA_PPSERROR")
    )
    assert 0 <= found.esterror_s <= found.maxerror_s or found.maxerror_s <= 16
    assert abs(found.frequency_ppm) <= 500


def test_bits_and_units_of_adjtimex(monkeypatch: pytest.MonkeyPatch) -> None:
    from hostward.host import clock

    monkeypatch.setattr(clock, "user_hz", lambda: 100)
    monkeypatch.setattr(clock, "adjtimex", lambda: clock.Timex(1, -1500, 3 << 15, 500_000, 250, 0x2011, 10_010, 37))
    found = kernel_clock(Host.running(), MACHINE)
    assert found.status_flags == ("STA_PLL", "STA_INS", "STA_NANO")
    assert (found.state, found.synchronised) == ("TIME_INS", True)
    assert (found.offset_s, found.esterror_s, found.maxerror_s) == (-1.5e-6, 0.00025, 0.5)
    assert (found.frequency_ppm, found.tai_offset_s) == (1.5, 37)
    assert found.correction_ppm == pytest.approx(1001.5)
    monkeypatch.setattr(clock, "adjtimex", lambda: clock.Timex(5, -1500, 0, 0, 0, 0x40, 10_000, 0))
    found = kernel_clock(Host.running(), MACHINE)
    assert (found.offset_s, found.state, found.synchronised) == (-0.0015, "TIME_ERROR", False)


def sources(tmp_path: Path, current: str, available: str, flags: str) -> Tree:
    tree = Tree(tmp_path).file(f"{SOURCE}/current_clocksource", current + "\n")
    return tree.file(f"{SOURCE}/available_clocksource", available + " \n").file("/proc/cpuinfo", flags)


X86 = "processor\t: 0\nflags\t\t: fpu tsc constant_tsc nonstop_tsc tsc_deadline_timer tsc_known_freq\n"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("tsc: Marking TSC unstable due to clocksource watchdog", True),
        ("tsc: Marking TSC unstable due to check_tsc_sync_source failed", True),
        ("clocksource: timekeeping watchdog on CPU3: Marking clocksource 'tsc' as unstable because the skew is too"
         " large:", True),
        ("Clocksource tsc unstable (delta = 75008498 ns)", True),  # RHEL 6
        ("tsc: Detected 2596.123 MHz processor", False),
    ],
)  # fmt: skip
def test_a_tsc_given_up_with_the_kernels_own_reason(line: str, told: bool, tmp_path: Path) -> None:
    host = Machine(sources(tmp_path, "hpet", "hpet acpi_pm", X86), dmesg=f"one\n{line}\ntwo\n")
    found = clock_source(host, MACHINE)
    assert (found.current, found.available, found.tsc_unstable) == ("hpet", ("hpet", "acpi_pm"), True)
    assert found.why == line if told else "has no tsc; flags: tsc constant_tsc nonstop_tsc tsc_known_freq" in found.why


def test_a_tsc_given_up_and_a_log_that_cannot_be_read(tmp_path: Path) -> None:
    found = clock_source(Machine(sources(tmp_path, "acpi_pm", "acpi_pm", X86)), MACHINE)
    assert found.tsc_unstable is True
    assert found.why.startswith(f"{SOURCE}/available_clocksource has no tsc")


def test_a_tsc_that_is_trusted_asks_no_log(tmp_path: Path) -> None:
    host = Machine(sources(tmp_path, "kvm-clock", "kvm-clock tsc acpi_pm", X86))
    found = clock_source(host, MACHINE)
    assert (found.current, found.tsc_unstable, host.ran) == ("kvm-clock", False, [])


def test_a_processor_without_a_tsc(tmp_path: Path) -> None:
    found = clock_source(Machine(sources(tmp_path, "arch_sys_counter", "arch_sys_counter", "Features : fp\n")), MACHINE)
    assert (found.tsc_unstable, found.why) == (None, "/proc/cpuinfo has no flag tsc")


def test_no_clock_source_in_sysfs_is_a_reason(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="current_clocksource"):
        clock_source(Machine(Tree(tmp_path)), MACHINE)


def test_the_rtc_that_set_the_clock_is_the_one_that_is_read(tmp_path: Path) -> None:
    tree = Tree(tmp_path).file("/sys/class/rtc/rtc0/hctosys", "0\n").file("/sys/class/rtc/rtc1/hctosys", "1\n")
    assert clock_kernel._rtc(Machine(tree)) == "rtc1"
    tree.file("/sys/class/rtc/rtc1/hctosys", "0\n")
    assert clock_kernel._rtc(Machine(tree)) == "rtc0"
    tree.remove("/sys/class/rtc/rtc0")
    assert clock_kernel._rtc(Machine(tree)) == "rtc1"
    old = Tree(tmp_path / "old").file("/dev/rtc", "")
    assert clock_kernel._rtc(Machine(old)) == "rtc"


def test_clocks_of_network_cards_are_no_hypervisors(tmp_path: Path) -> None:
    tree = Tree(tmp_path).file("/sys/class/ptp/ptp0/clock_name", "52:54:00:12:34:56\n")
    with pytest.raises(NotApplicable, match="ptp0 is '52:54:00:12:34:56'"):
        ptp_reading(Machine(tree), MACHINE)
    with pytest.raises(NotApplicable, match="/sys/class/ptp has none"):
        ptp_reading(Machine(Tree(tmp_path / "none")), MACHINE)


def test_a_hypervisors_clock_without_its_device_says_so(tmp_path: Path) -> None:
    tree = Tree(tmp_path).file("/sys/class/ptp/ptp0/clock_name", "eth0\n")
    tree.file("/sys/class/ptp/ptp63/clock_name", "KVM virtual PTP\n")
    with pytest.raises(HostError, match="/dev/ptp63: does not exist"):
        ptp_reading(Machine(tree), MACHINE)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("0.000000 1790000000 0.000000\n1790000000\nUTC\n", AdjtimeFile("UTC", 0.0, 1790000000, 1790000000)),
        ("-1.412355 1790000000 0.000000\n1780000000\nLOCAL\n", AdjtimeFile("LOCAL", -1.412355, 1790000000, 1780000000)),
        ("0.0 0 0.0\n0\n", AdjtimeFile("", 0.0, 0, 0)),
        ("0.0 0 0.0\n", AdjtimeFile("", 0.0, 0, 0)),
        ("0.5\n\nUTC", AdjtimeFile("UTC", 0.5, 0, 0)),
    ],
)
def test_adjtime(content: str, expected: AdjtimeFile, tmp_path: Path) -> None:
    host = Host.at(str(Tree(tmp_path).file("/etc/adjtime", content).root))
    assert adjtime_file(host, Unavailable("a tree")) == expected


@pytest.mark.parametrize(
    "content",
    ["", "\n\n\n", "UTC\n", "nan 0 0\n0\nUTC\n", "0.0 inf 0\n", "0 0 0\n0\nMARS\n", "\0\0\0", "1 2 3\nx\nUTC\n"],
)
def test_an_adjtime_that_is_none(content: str, tmp_path: Path) -> None:
    host = Host.at(str(Tree(tmp_path).file("/etc/adjtime", content).root))
    with pytest.raises(Unavailable, match="/etc/adjtime"):
        adjtime_file(host, Unavailable("a tree"))


def test_no_adjtime(tmp_path: Path) -> None:
    with pytest.raises(NotApplicable, match="never wrote"):
        adjtime_file(Host.at(str(tmp_path)), Unavailable("a tree"))


def entry(at_s: float, identifier: str, message: Any, **more: str) -> str:
    words = {"__MONOTONIC_TIMESTAMP": str(int(at_s * 1e6)), "SYSLOG_IDENTIFIER": identifier, "MESSAGE": message}
    return json.dumps({**words, **more})


FIRST = entry(1.0, "kernel", "Linux version 6.1.0-53-cloud-amd64 (debian-kernel@lists.debian.org)")


@pytest.mark.parametrize(
    ("identifier", "message", "source", "step_s"),
    [
        ("kernel", "rtc_cmos 00:04: setting system clock to 2026-11-23T14:52:44 UTC (1795445564)", "RTC", None),
        ("kernel", "rtc_cmos 00:01: setting system clock to 2011-01-13 19:17:00 UTC (1294946220)", "RTC", None),
        ("systemd", "System time before build time, advancing clock.", "build time", None),
        ("systemd", "System time advanced to built-in epoch: Thu 2026-03-12 17:12:46 UTC", "build time", None),
        ("systemd", "RTC configured in localtime, applying delta of 60 minutes to system time.", "time zone", None),
        ("systemd-timesyncd", "System clock time unset or jumped backwards, restored from recorded timestamp: Wed"
         " 2026-08-26 02:36:48 EDT", "last shutdown", None),
        ("systemd-timesyncd", "Initial clock synchronization to Wed 2025-01-22 22:26:41.112346 MSK.", "network", None),
        ("systemd-timesyncd", "Initial synchronization to time server 193.49.225.86:123 (ntp.univ-lille.fr).",
         "network", None),
        ("chronyd", "System clock was stepped by -1.707730 seconds", "network", -1.70773),
        ("chronyd", "2022-01-03T14:32:43Z System clock was stepped by 16.044301 seconds", "network", 16.044301),
        ("ntpd", "0.0.0.0 c61c 0c clock_step +3600.001534 s", "network", 3600.001534),
        ("ntpd", "time reset -1.704 s", "network", -1.704),
        ("ntpd", "CLOCK: time stepped by 305.583273", "network", 305.583273),
        ("ntpd", "set local clock to Mon Nov 23 12:00:00 UTC 2026 (offset 1.701234s)", "network", 1.701234),
        ("ntpdate", "step time server 192.0.2.1 offset +1.700000 sec", "network", 1.7),
        ("systemd-timedated", "Changed local time to Tue 2002-01-01 00:00:00 UTC", "timedatectl", None),
    ],
)  # fmt: skip
def test_what_set_the_clock(identifier: str, message: str, source: str, step_s: float | None) -> None:
    found = read([FIRST, entry(2.5, identifier, message)])
    assert found.settings == (ClockSetting(identifier, source, 2.5, step_s, f"{identifier}: {message}"),)
    assert found.complete is True
    assert found.last is not None and found.by(identifier) == found.settings


def test_what_did_not_set_the_clock() -> None:
    lines = [
        entry(1, "chronyd", "System clock wrong by 0.012 seconds"),
        entry(2, "chronyd", "System clock TAI offset set to 37 seconds"),
        entry(3, "mallory", "System clock was stepped by 9 seconds"),
        entry(4, "systemd", "Finished Network Time Synchronization.", UNIT="systemd-timesyncd.service"),
        entry(5, "systemd", "Stopped Set the clock.", UNIT="hwclock.service"),
    ]
    found = read(lines)
    assert found.settings == ()
    assert found.complete is False
    assert found.last is None


def test_hwclock_shows_by_its_unit() -> None:
    lines = [
        FIRST,
        entry(9, "systemd", "Finished my-rtc.service - Set the clock.", UNIT="my-rtc.service"),
        entry(3, "kernel", "rtc_cmos 00:04: setting system clock to 2026", _SOURCE_MONOTONIC_TIMESTAMP="2000000"),
    ]
    found = read(lines, frozenset(("my-rtc.service",)))
    assert [(s.by, s.source, s.at_s) for s in found.settings] == [("kernel", "RTC", 2.0), ("hwclock", "RTC", 9.0)]


@pytest.mark.parametrize(
    "line",
    ["", "{", "[]", "null", "3", '{"__MONOTONIC_TIMESTAMP": "x"}', '{"__MONOTONIC_TIMESTAMP": null}',
     '{"__MONOTONIC_TIMESTAMP": "1", "MESSAGE": [1, 2], "SYSLOG_IDENTIFIER": "kernel"}',
     '{"__MONOTONIC_TIMESTAMP": "1", "MESSAGE": "a", "SYSLOG_IDENTIFIER": ["a", "b"]}',
     '{"__MONOTONIC_TIMESTAMP": "1", "_SOURCE_MONOTONIC_TIMESTAMP": ["1"]}',
     '{"__MONOTONIC_TIMESTAMP": "' + "9" * 5000 + '"}', "[" * 100_000],
    ids=lambda line: line[:30],
)  # fmt: skip
def test_garbage_in_the_journal(line: str) -> None:
    assert read([FIRST, line]).settings == ()


def test_a_journal_without_this_boot() -> None:
    with pytest.raises(Unavailable, match="no line of this boot's start"):
        read([])


def test_a_machine_without_journalctl_says_so(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="journalctl"):
        clock_set_at_boot(Machine(Tree(tmp_path)), MACHINE, Unavailable("not asked"))
    with pytest.raises(NotLive):
        Host.at(str(tmp_path)).run(["journalctl"])
