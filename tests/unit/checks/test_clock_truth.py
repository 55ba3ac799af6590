"""The checks of the clock itself, each with plain facts: what it finds, where it is silent, where it can't tell."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hostward.checks import clock_truth as checks
from hostward.config import Config
from hostward.facts.boot import Boot
from hostward.facts.clock_boot import ClockSetAtBoot, ClockSetting
from hostward.facts.clock_drift import ClockDrift, Drift
from hostward.facts.clock_kernel import ClockSource, KernelClock, PtpReading, RtcReading
from hostward.facts.keeper_config import KeeperConfig, KeeperConfigs, Setting
from hostward.facts.keepers import KeeperState, KeeperStates, SourceState
from hostward.model import Finding, NotApplicable, Severity, Unavailable

SYNC = KernelClock(True, ("STA_PLL",), "TIME_OK", 0.0, 0.0, 0.01, 0.0, 37, 10000, 0.0)
UNSYNC = replace(SYNC, synchronised=False, status_flags=("STA_UNSYNC",), state="TIME_ERROR", maxerror_s=16.0)
SOURCE = SourceState("192.0.2.1", reach=0o377, selection="selected", offset_s=0.0001, error_s=0.001)
CHRONYD = KeeperState("chronyd", True, "192.0.2.1", 3, 0.0001, 0.002, sources=(SOURCE,))
IDLE = KeeperState(
    "chronyd", False, why_not="no source reachable", detail="none of 192.0.2.1 answers", sources=(SOURCE,)
)
KEPT, UNKEPT, NONE = KeeperStates((CHRONYD,)), KeeperStates((IDLE,)), KeeperStates(())
PTP = PtpReading("/dev/ptp0", "KVM virtual PTP", 0.00001, 0.000002, "PTP_SYS_OFFSET_PRECISE", 0, 0)
RTC = RtcReading(0.01, 0.002, "/dev/rtc0", False, 0, 0)
NO_PTP = NotApplicable("no PTP clock of a hypervisor")
NO_CONFIGS = KeeperConfigs(())
CONFIG = Config()


def found(check: Any, *facts: Any) -> list[Finding]:
    return list(check(*facts))


def severity(check: Any, *facts: Any) -> Severity | None:
    return max((finding.severity for finding in found(check, *facts)), default=None)


# clock.unsynchronised


def chronyd_config(rtcsync: bool) -> KeeperConfigs:
    return KeeperConfigs((KeeperConfig("chronyd", "/etc/chrony/chrony.conf", rtcsync=rtcsync),))


def test_a_kernel_that_knows_passes() -> None:
    assert severity(checks.unsynchronised, SYNC, KEPT, NO_CONFIGS) is None
    assert severity(checks.unsynchronised, SYNC, Unavailable("x"), Unavailable("x")) is None


def test_unsynchronised_without_a_keeper_that_keeps() -> None:
    for keepers in (UNKEPT, NONE, Unavailable("nobody asked")):
        assert severity(checks.unsynchronised, UNSYNC, keepers, NO_CONFIGS) is Severity.WARNING


def test_chronyd_without_rtcsync_is_a_note_with_the_line_that_mends_it() -> None:
    (note,) = found(checks.unsynchronised, UNSYNC, KEPT, chronyd_config(False))
    assert note.severity is Severity.INFO
    assert "rtcsync" in note.advice and "/etc/chrony/chrony.conf" in note.advice


def test_a_keeper_that_has_just_begun_is_a_note() -> None:
    (note,) = found(checks.unsynchronised, UNSYNC, KEPT, chronyd_config(True))
    assert note.severity is Severity.INFO and "not know of it yet" in note.summary


# clock.keeper-idle


def test_a_keeper_that_keeps_passes() -> None:
    assert severity(checks.keeper_idle, KEPT) is None
    assert severity(checks.keeper_idle, NONE) is None


def test_an_idle_keeper_says_why_in_its_own_words() -> None:
    (finding,) = found(checks.keeper_idle, UNKEPT)
    assert finding.severity is Severity.ERROR
    assert "no source reachable" in finding.summary
    assert any("192.0.2.1" in line and "377" in line for line in finding.evidence)


def test_a_keeper_that_waits_for_its_first_answer_is_a_warning() -> None:
    assert severity(checks.keeper_idle, KeeperStates((replace(IDLE, why_not="waiting for the first update"),))) is (
        Severity.WARNING
    )


def test_an_idle_keeper_beside_one_that_keeps_is_a_warning() -> None:
    assert severity(checks.keeper_idle, KeeperStates((CHRONYD, replace(IDLE, keeper="ntpd")))) is Severity.WARNING


def test_a_keeper_that_does_not_answer_is_not_judged() -> None:
    with pytest.raises(Unavailable, match="it does not answer"):
        found(checks.keeper_idle, KeeperStates((KeeperState("ntpd", None, why_not="it does not answer"),)))


# clock.offset


def off(offset_s: float, bound_s: float | None = 0.001) -> KeeperStates:
    return KeeperStates((replace(CHRONYD, offset_s=offset_s, uncertainty_s=bound_s),))


@pytest.mark.parametrize(
    ("uses", "offset_s", "bound_s", "named"),
    [
        (("kerberos", "tls"), 59.0, 0.1, ""),
        (("kerberos", "tls"), -61.0, 0.1, "tls"),
        (("kerberos", "tls"), 301.0, 0.1, "kerberos (300 s), tls (60 s)"),
        (("ceph",), 0.06, 0.001, "ceph"),
        (("ceph",), 0.06, 0.02, ""),  # not sure
        (("ceph",), -0.06, None, "ceph"),
        (("etcd",), 1.1, 0.01, "etcd"),
        ((), 4000.0, 0.1, ""),
    ],
)
def test_offset_by_use(uses: tuple[str, ...], offset_s: float, bound_s: float | None, named: str) -> None:
    findings = found(checks.offset, replace(CONFIG, clock_uses=uses), off(offset_s, bound_s), NO_PTP)
    assert [all(word in f.summary for word in named.split(", ")) for f in findings] == ([True] if named else [])


def test_the_hypervisors_clock_is_a_measure_too_and_the_worst_counts() -> None:
    far = replace(PTP, offset_s=-70.0)
    (finding,) = found(checks.offset, CONFIG, off(0.0001), far)
    assert "-70.000 s" in finding.summary and finding.remedies == ("clock.step",)


def test_without_a_measure_the_offset_is_not_judged() -> None:
    with pytest.raises(NotApplicable):
        found(checks.offset, CONFIG, UNKEPT, NO_PTP)


# clock.drift-rate


def drifting(reference: str, rate: float, spread: float = 1.0) -> ClockDrift:
    return ClockDrift((Drift(reference, rate, rate - spread, rate + spread, 3600.0, 10, 0),))


@pytest.mark.parametrize(
    ("rate", "spread", "fires"), [(80, 5, True), (-80, 5, True), (40, 5, False), (80, 60, False), (-51.5, 1, True)]
)
def test_drift_that_is_sure(rate: float, spread: float, fires: bool) -> None:
    assert bool(found(checks.drift_rate, CONFIG, drifting("RTC", rate, spread), NONE)) is fires


def test_drift_says_what_comes_of_it_in_a_day() -> None:
    (finding,) = found(checks.drift_rate, CONFIG, drifting("RTC", 100.0), UNKEPT)
    assert "gains 100.0 ppm" in finding.summary and "8.6 s in 24 h" in finding.summary


def test_of_a_kept_clock_the_rtcs_drift_says_nothing_but_the_hypervisors_clock_does() -> None:
    with pytest.raises(NotApplicable):
        found(checks.drift_rate, CONFIG, drifting("RTC", 100.0), KEPT)
    assert found(checks.drift_rate, CONFIG, drifting("hypervisor", 100.0), KEPT)


# clock.guest-differs-from-host, clock.rtc-differs


@pytest.mark.parametrize(
    ("offset_s", "bound_s", "expected"),
    [
        (0.05, 1e-6, None),
        (-0.2, 1e-6, Severity.WARNING),
        (1.7, 1e-6, Severity.ERROR),
        (0.15, 0.1, None),
    ],
)
def test_a_guest_away_from_its_host(offset_s: float, bound_s: float, expected: Severity | None) -> None:
    ptp = replace(PTP, offset_s=offset_s, uncertainty_s=bound_s)
    assert severity(checks.guest_differs_from_host, CONFIG, ptp) is expected


def test_an_rtc_that_differs_is_written_only_from_a_kept_clock() -> None:
    assert found(checks.rtc_differs, CONFIG, RTC, KEPT) == []
    hour = replace(RTC, offset_s=-3600.0)
    (kept,), (unkept,) = found(checks.rtc_differs, CONFIG, hour, KEPT), found(checks.rtc_differs, CONFIG, hour, NONE)
    assert (kept.remedies, unkept.remedies) == (("clock.write-rtc",), ())
    assert "-3600.000 s" in kept.summary and "which of them is right" in unkept.summary


# clock.clocksource


@pytest.mark.parametrize(
    ("current", "hypervisor", "fires"),
    [
        ("kvm-clock", "kvm", False),
        ("tsc", "kvm", False),
        ("hpet", "kvm", True),
        ("xen", "kvm", True),
        ("tsc", "", False),
        ("hpet", "", True),
        ("acpi_pm", "", True),
        ("hyperv_clocksource_tsc_page", "microsoft", False),
        ("arch_sys_counter", "", False),
    ],
)
def test_clocksource(current: str, hypervisor: str, fires: bool) -> None:
    boot = Boot((), "", "", hypervisor, "", "systemd", True)
    source = ClockSource(
        current, ("tsc", current), current != "tsc", "Marking TSC unstable due to clocksource watchdog"
    )
    assert bool(found(checks.clocksource, source, boot)) is fires


# clock.set-by-hwclock-at-boot, clock.leap-smear-mix

KERNEL = ClockSetting("kernel", "RTC", 1.0, None, "rtc_cmos: setting system clock")
HWCLOCK = ClockSetting("hwclock", "RTC", 5.0, None, "Finished hwclock.service")
STEPPED = ClockSetting("chronyd", "network", 9.0, 1.7, "System clock was stepped by 1.7 seconds")


@pytest.mark.parametrize(
    ("settings", "fires"),
    [((KERNEL,), False), ((KERNEL, HWCLOCK), True), ((KERNEL, HWCLOCK, STEPPED), False), ((), False)],
)
def test_what_last_set_the_clock(settings: tuple[ClockSetting, ...], fires: bool) -> None:
    assert bool(found(checks.set_by_hwclock_at_boot, ClockSetAtBoot(settings, True))) is fires


def test_a_journal_that_begins_late_tells_nothing_of_the_boot() -> None:
    with pytest.raises(Unavailable, match="does not reach back"):
        found(checks.set_by_hwclock_at_boot, ClockSetAtBoot((), False))


def test_sources_that_smear_beside_such_as_do_not() -> None:
    def config(*names: str) -> KeeperConfigs:
        lines = tuple(Setting("server", (name, "iburst"), "/etc/chrony.conf", n) for n, name in enumerate(names, 1))
        return KeeperConfigs((KeeperConfig("chronyd", "/etc/chrony.conf", lines),))

    assert found(checks.leap_smear_mix, config("time1.google.com", "time2.google.com")) == []
    assert found(checks.leap_smear_mix, config("0.pool.ntp.org", "ntp.example.org")) == []
    (finding,) = found(checks.leap_smear_mix, config("time.google.com", "ntp.example.org"))
    assert "/etc/chrony.conf:2: server ntp.example.org iburst" in finding.evidence
