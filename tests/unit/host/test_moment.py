"""Ages hold whatever the system clock was set to meanwhile; what can't be told is told as that."""

from __future__ import annotations

import pytest

from hostward.host.moment import Moment, date_words, now, span_words

THEN = Moment(1_790_000_000.0, "boot-a", 1000.0)


@pytest.mark.parametrize("at", [0.0, 1_790_000_060.0, 4_102_444_800.0, -1e12, 1e15])
def test_within_a_boot_no_step_of_the_clock_counts(at: float) -> None:
    later = Moment(at, "boot-a", 1300.0)
    assert THEN.age_s(later) == 300.0
    assert THEN.age_words(later) == "5 min ago"


@pytest.mark.parametrize(
    ("at", "words"),
    [
        (1_790_007_200.0, "2 h ago"),
        (0.0, "at an unknown time (by the clock in the future: it was set since)"),
        (4_102_444_800.0, "at an unknown time (by the clock years ago: it was set since)"),
    ],
)
def test_across_boots_the_wall_clock_is_all_there_is(at: float, words: str) -> None:
    assert THEN.age_words(Moment(at, "boot-b", 20.0)) == words


def test_without_a_boot_id_no_two_are_of_one_boot() -> None:
    assert not Moment(1.0, "", 5.0).same_boot(Moment(2.0, "", 6.0))


def test_now_is_this_boot() -> None:
    one, two = now(), now()
    assert one.same_boot(two) and 0 <= one.age_s(two) < 5


def test_spans() -> None:
    assert [span_words(s) for s in (0.2, 119, 120, 7200, 200_000)] == ["0 s", "119 s", "2 min", "2 h", "2 days"]


def test_what_is_no_date_is_still_told() -> None:
    assert date_words(1e20) == "@100000000000000000000"
