"""When to judge, by a clock of the test's own."""

from __future__ import annotations

import random
import tracemalloc

import pytest

from hostward.daemon import schedule
from hostward.daemon.schedule import SAMPLE_MAX_S, SAMPLE_S, STREAM_S, UNSTEADY_S, WHOLE_S, Schedule


@pytest.fixture
def judged() -> Schedule:
    """After the first judgement, at 0."""
    made = Schedule()
    made.event("all", 0.0)
    assert made.take(1.0) == ["all"]
    made.done(["all"], 0.0, None, changed=False)
    return made


def test_a_burst_is_judged_once_when_it_is_quiet(judged: Schedule) -> None:
    now = 100.0
    for _ in range(4000):
        judged.event("modules", now)
        assert judged.take(now) == []
        now += 0.002
    assert judged.take(now + 1.4) == []
    assert judged.take(now + 1.6) == ["modules"]
    assert judged.take(now + 60) == []


def test_a_stream_that_never_ends_is_judged_all_the_same(judged: Schedule) -> None:
    times = []
    for tenth in range(3000):
        now = 100 + tenth / 10
        judged.event("modules", now)
        if judged.take(now):
            times.append(now)
            judged.done(["modules"], now, None, changed=False)
    assert len(times) == pytest.approx(300 / STREAM_S, abs=1)


def test_what_happens_while_a_judgement_is_under_way_is_judged_after_it(judged: Schedule) -> None:
    judged.event("units", 10)
    assert judged.take(11.1) == ["units"]
    judged.event("units", 11.2)
    judged.event("loaded", 11.3)
    judged.done(["units"], 12, None, changed=False)
    assert judged.take(12.4) == ["units", "loaded"]
    judged.done(["units", "loaded"], 13, None, changed=False)
    assert judged.take(14) == []


def test_everything_in_one_swallows_the_rest(judged: Schedule) -> None:
    judged.event("units", 10)
    judged.event("all", 10)
    assert judged.take(12) == ["all"]


def test_a_steady_clock_is_sampled_more_and_more_rarely(judged: Schedule) -> None:
    times, now = [], 0.0
    while now < 86_000:
        now += 1
        kinds = judged.take(now)
        if kinds:
            assert kinds == ["drift"]
            times.append(now)
            judged.done(kinds, now, None, changed=False)
    gaps = [b - a for a, b in zip([0.0, *times], times)]
    assert gaps[0] == SAMPLE_S and gaps[1] == 2 * SAMPLE_S and max(gaps) == SAMPLE_MAX_S
    assert len(times) < 12


def test_a_clock_that_was_set_is_looked_at_at_once_and_soon_again(judged: Schedule) -> None:
    judged.event("clock", 100.0)
    assert judged.take(100.1) == [] and judged.take(100.3) == ["clock"]
    judged.done(["clock"], 100.5, None, changed=True)
    assert judged.take(100.0 + UNSTEADY_S + 0.1) == ["drift"]


def test_a_rate_that_changed_is_looked_at_more_often(judged: Schedule) -> None:
    assert judged.take(SAMPLE_S) == ["drift"]
    judged.done(["drift"], SAMPLE_S, None, changed=True)
    assert judged.next_at() == SAMPLE_S + UNSTEADY_S


def test_a_back_off_of_a_repair_is_kept(judged: Schedule) -> None:
    judged.event("loaded", 10)
    judged.take(11)
    judged.done(["loaded"], 12, 60.0, changed=False)
    assert judged.take(71.9) == [] and judged.take(72.0) == ["all"]
    judged.done(["all"], 73, None, changed=False)
    assert judged.take(200) == []


def test_everything_once_a_day(judged: Schedule) -> None:
    now, whole = 0.0, []
    while now < 3 * WHOLE_S:
        now = max(now + 1, judged.next_at() or 0.0)
        kinds = judged.take(now)
        if kinds:
            whole += [now] if kinds == ["all"] else []
            judged.done(kinds, now, None, changed=False)
    assert len(whole) == 3 or len(whole) == 2


def test_what_fails_is_tried_again_later_and_later(judged: Schedule) -> None:
    now, waits = 10.0, []
    judged.event("units", now)
    now += 1.1
    for _ in range(12):
        kinds = judged.take(now)
        assert "units" in kinds
        waits.append(judged.failed(kinds, now))
        assert judged.take(now + waits[-1] - 0.1) == []
        now += waits[-1] + 0.1
    assert waits[:3] == [10, 20, 40] and max(waits) == 3600
    judged.done(judged.take(now), now, None, changed=False)
    judged.event("units", now)
    assert judged.take(now + 1.1) == ["units"], "one that went well forgets the waits"


def test_a_day_of_ten_thousand_events_keeps_nothing() -> None:
    made, dice = Schedule(), random.Random(3)
    kinds = ["modules", "units", "loaded", "boot", "config", "packages", "guests", "clock", "drift"]
    made.event("all", 0.0)
    runs, now = 0, 0.0
    events = sorted(dice.uniform(1, 86_400) for _ in range(10_000))
    tracemalloc.start()
    early = 0
    for number, at in enumerate(events):
        while (due := made.next_at()) is not None and due <= at:
            now = max(now, due)
            taken = made.take(now)
            if taken:
                runs += 1
                now += 0.5
                made.done(taken, now, None, changed=dice.random() < 0.1)
        made.event(dice.choice(kinds), max(at, now))
        if number == 1000:
            early = tracemalloc.get_traced_memory()[0]
    late = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert 1000 < runs <= 11_000
    assert late - early < 16 << 10
    assert len(made._pending) <= len(kinds)


def test_the_waits_are_known() -> None:
    assert schedule.QUIET_S["modules"] + 3 < 5, "a module tree dropped in is found within 5 s"
