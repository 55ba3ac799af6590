"""The rate of one clock against another: the interval covers the truth about as often as it claims."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from hostward.facts.clock_rate import Reading, rate_of, split

ROUNDS = 250


def series(
    rng: random.Random,
    rate_ppm: float,
    count: int,
    every_s: float,
    bound_s: float,
    *,
    error: str = "uniform",
    steps: dict[int, float] | None = None,
    outliers: float = 0.0,
    irregular: float = 0.0,
    wander_ppm: float = 0.0,
) -> list[Reading]:
    """Readings of a clock that is `rate_ppm` fast, as an RTC or a PTP clock shows it."""
    t_s, x_s, found = 0.0, rng.uniform(-5, 5), []
    for number in range(count):
        passed_s = every_s * (1 + rng.uniform(-irregular, irregular))
        t_s += passed_s
        x_s += (rate_ppm + rng.gauss(0, wander_ppm)) * 1e-6 * passed_s + (steps or {}).get(number, 0.0)
        shown_s = x_s
        if error == "uniform":
            shown_s += rng.uniform(-bound_s, bound_s)
        elif error == "worse than said":
            shown_s += rng.gauss(0, 3 * bound_s)
        elif error == "whole seconds":  # the reference shows its seconds only; half of one is added for the middle
            shown_s = t_s - (math.floor(t_s - x_s) + 0.5)
        if rng.random() < outliers:
            shown_s += rng.choice((-1, 1)) * rng.uniform(20, 200) * bound_s
        found.append(Reading(t_s, shown_s, bound_s))
    return found


def coverage(make: Callable[[random.Random, float], list[Reading]]) -> tuple[float, float]:
    """(how often the interval held the truth, the middle width of the intervals in ppm)."""
    rng, held, widths = random.Random(523478), 0, []
    for _ in range(ROUNDS):
        truth = rng.uniform(-300, 300)
        rate = rate_of(make(rng, truth))
        assert rate is not None
        held += rate.low_ppm <= truth <= rate.high_ppm
        widths.append(rate.high_ppm - rate.low_ppm)
    return held / ROUNDS, sorted(widths)[ROUNDS // 2]


@pytest.mark.parametrize(
    ("name", "make", "least", "most", "width_ppm"),
    [
        ("two readings", lambda r, t: series(r, t, 2, 600, 0.003), 0.91, 0.99, 17),
        ("three", lambda r, t: series(r, t, 3, 600, 0.003), 0.92, 1.0, 8.5),
        ("fifty, at odd times", lambda r, t: series(r, t, 50, 60, 0.003, irregular=0.5), 0.92, 0.99, 1.3),
        ("microseconds, as PTP", lambda r, t: series(r, t, 30, 2, 2e-6), 0.92, 1.0, 0.2),
        ("errors worse than said", lambda r, t: series(r, t, 50, 60, 0.003, error="worse than said"), 0.88, 1.0, 8),
        ("a rate that wanders", lambda r, t: series(r, t, 60, 60, 1e-4, wander_ppm=0.3), 0.9, 1.0, 0.3),
        (
            "steps of 1.7 s and an hour",
            lambda r, t: series(r, t, 60, 60, 0.003, steps={20: 1.7, 40: -3600}),
            0.92,
            0.99,
            3,
        ),
        ("steps of a few bounds", lambda r, t: series(r, t, 60, 60, 0.003, steps={20: 0.05, 40: -0.02}), 0.9, 0.99, 3),
        ("outliers", lambda r, t: series(r, t, 60, 60, 0.003, outliers=0.05), 0.92, 1.0, 3),
        (
            "both",
            lambda r, t: series(r, t, 60, 60, 0.003, outliers=0.05, steps={20: 0.5, 40: -0.2}),
            0.92,
            1.0,
            4.5,
        ),
        (
            "an RTC written every 11 min",
            lambda r, t: series(r, t, 66, 60, 0.003, steps=dict.fromkeys(range(11, 66, 11), 0.03)),
            0.9,
            1.0,
            6,
        ),
        (
            "whole seconds, read every 10 min",
            lambda r, t: series(r, t, 50, 600, 0.5, error="whole seconds"),
            1.0,
            1.0,
            10,
        ),
        (
            "whole seconds, at odd times",
            lambda r, t: series(r, t, 50, 600, 0.5, error="whole seconds", irregular=0.5),
            1.0,
            1.0,
            12,
        ),
        (
            "whole seconds and a step",
            lambda r, t: series(r, t, 50, 600, 0.5, error="whole seconds", irregular=0.5, steps={20: 60}),
            1.0,
            1.0,
            25,
        ),
    ],
)
def test_the_interval_holds_the_truth_as_often_as_it_says(
    name: str, make: Callable[[random.Random, float], list[Reading]], least: float, most: float, width_ppm: float
) -> None:
    held, width = coverage(make)
    assert least <= held <= most, name
    assert width <= width_ppm, name


def test_whole_seconds_at_one_phase_prove_nothing_by_being_many() -> None:
    """Read once a second for an hour, a clock 100 ppm fast shows the same second each time: only the bounds count."""
    rate = rate_of(series(random.Random(1), 100.0, 300, 1.0, 0.5, error="whole seconds"))
    assert rate is not None and rate.by == "bounds"
    assert rate.low_ppm <= 100.0 <= rate.high_ppm
    assert rate.high_ppm - rate.low_ppm > 2000


def test_readings_that_do_not_belong_together_give_no_rate() -> None:
    assert rate_of([]) is None
    assert rate_of([Reading(0, 1, 0.1)]) is None
    assert rate_of([Reading(0, 1, 0.001), Reading(60, 3600, 0.001)]) is None
    assert rate_of([Reading(5, 1, 0.001), Reading(5, 1, 0.001)]) is None


def test_steps_are_counted_and_a_wild_reading_is_two() -> None:
    rng = random.Random(2)
    rate = rate_of(series(rng, 20, 40, 60, 0.001, steps={10: 1.7, 30: -8 * 3600}))
    assert rate is not None and rate.steps == 2
    wild = series(rng, 20, 40, 60, 0.001)
    wild[17] = Reading(wild[17].t_s, wild[17].x_s + 0.8, 0.001)
    assert [len(part) for part in split(wild)] == [17, 1, 22]


def test_a_clock_without_a_fault_has_a_rate_of_nought() -> None:
    rate = rate_of([Reading(60.0 * n, 0.0, 0.0) for n in range(20)])
    assert rate is not None and (rate.rate_ppm, rate.low_ppm, rate.high_ppm) == pytest.approx((0, 0, 0), abs=0.06)
