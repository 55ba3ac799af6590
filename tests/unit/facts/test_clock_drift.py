"""The drift that a history of readings shows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hostward.facts.clock_drift import drifts_of
from hostward.host.history import ClockSample

HOUR_NS = 3600 * 10**9


def series(rate_ppm: float, correction_ppm: float, reference: str = "RTC", bound_s: float = 0.001) -> list[ClockSample]:
    """Readings over six hours of a system clock that gains `rate_ppm` on the reference, corrected by so much."""
    start = 1_700_000_000 * 10**9
    return [
        ClockSample(
            "boot", reference, start + int(t * (1 + correction_ppm * 1e-6)), t, 0.3 + rate_ppm * 1e-6 * t / 1e9, bound_s
        )
        for t in range(0, 6 * HOUR_NS, HOUR_NS // 2)
    ]


@pytest.mark.parametrize("rate_ppm", [-200.0, 0.0, 12.0, 500.0])
def test_the_rate_lies_in_its_interval(rate_ppm: float) -> None:
    drift, uncorrected = drifts_of(series(rate_ppm, 30.0))
    assert (drift.reference, uncorrected.reference) == ("RTC", "uncorrected")
    assert drift.low_ppm <= rate_ppm <= drift.high_ppm
    assert drift.rate_ppm == pytest.approx(rate_ppm, abs=0.5)
    assert uncorrected.rate_ppm == pytest.approx(30.0, abs=0.1)
    assert drift.off_in_24h_s == pytest.approx(rate_ppm * 0.0864, abs=0.05)


def test_the_hypervisors_clock_comes_before_the_rtc() -> None:
    both = [*series(5.0, 0.0), *series(7.0, 0.0, "hypervisor", 2e-6)]
    assert [drift.reference for drift in drifts_of(both)][:2] == ["hypervisor", "RTC"]


def test_one_reading_shows_no_rate() -> None:
    assert drifts_of(series(5.0, 0.0)[:1]) == ()
    assert drifts_of([]) == ()


def test_a_step_does_not_spoil_the_rate() -> None:
    readings = series(20.0, 0.0)
    stepped = [*readings[:6], *(replace(sample, ahead_s=sample.ahead_s + 5.0) for sample in readings[6:])]
    drift = drifts_of(stepped)[0]
    assert drift.steps == 1 and drift.low_ppm <= 20.0 <= drift.high_ppm
