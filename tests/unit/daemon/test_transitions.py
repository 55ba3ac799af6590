"""Transitions, not repetition: what is told when a finding appears, changes or goes, and when a check goes blind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hostward.daemon.transitions import merge
from hostward.host.moment import Moment
from hostward.host.state import Standing
from hostward.model import Finding, Outcome, Result, Severity

ERROR = Finding(Severity.ERROR, "it is broken", "/x")
OTHER = Finding(Severity.WARNING, "it is odd", "/y")


def result(*findings: Finding, outcome: Outcome | None = None, reason: str = "", applicable: bool = True) -> Result:
    plain = Outcome.FINDINGS if findings else Outcome.SKIPPED if reason else Outcome.PASSED
    return Result("a.check", "it works", outcome or plain, findings, reason, applicable)


class Life:
    """One check judged again and again, a second between."""

    def __init__(self) -> None:
        self.standings: dict[str, Standing] = {}
        self.up = 0.0

    def judge(self, fresh: Result, known: list[str] | None = None) -> list[str]:
        self.up += 1
        standings, forget, transitions = merge(self.standings, [fresh], known, Moment(1e9, "boot", self.up))
        self.standings.update(standings)
        for id in forget:
            del self.standings[id]
        return [f"{t.what} {t.subject}".strip() for t in transitions]

    @property
    def now(self) -> Standing:
        return self.standings["a.check"]


@pytest.fixture
def life() -> Life:
    return Life()


def test_appears_once_stays_silent_and_goes(life: Life) -> None:
    assert life.judge(result()) == []
    assert life.judge(result(ERROR)) == ["appeared /x"]
    assert life.judge(result(ERROR)) == []
    assert life.judge(result(ERROR, OTHER)) == ["appeared /y"]
    assert life.judge(result(OTHER)) == ["gone /x"]
    assert life.judge(result()) == ["gone /y"]
    assert life.judge(result()) == []


def test_a_severity_or_other_words_are_a_change(life: Life) -> None:
    life.judge(result(ERROR))
    assert life.judge(result(replace(ERROR, severity=Severity.WARNING))) == ["changed /x"]
    assert life.judge(result(replace(ERROR, severity=Severity.WARNING, summary="it is bent"))) == ["changed /x"]
    assert life.judge(result(replace(ERROR, severity=Severity.WARNING, summary="it is bent", advice="wait"))) == []
    assert life.now.result.findings[0].advice == "wait", "what is not told is kept all the same"


@pytest.mark.parametrize(
    ("one", "two", "told"),
    [
        ("off by 0.352 s", "off by 12.0004 s", False),
        ("gains 51 ppm", "gains 60 ppm", False),
        ("off by -3 ms +/- 1 us", "off by 250 ms +/- 90 us", False),
        ("idle for 5 min", "idle for 2 days", True),
        ("idle for 5 min", "idle for 6 min", False),
        ("3 modules will not load", "5 modules will not load", True),
        ("kernel 6.1.0-53-cloud", "kernel 6.1.0-54-cloud", True),
        ("kernel 6.1 is old", "kernel 6.2 is old", True),
        ("module kvm7s is odd", "module kvm8s is odd", True),
        ("/dev/sda1 is full", "/dev/sda2 is full", True),
    ],
)
def test_a_figure_that_was_measured_anew_is_no_change(life: Life, one: str, two: str, told: bool) -> None:
    life.judge(result(replace(ERROR, summary=one)))
    assert life.judge(result(replace(ERROR, summary=two))) == (["changed /x"] if told else [])


def test_several_findings_of_one_subject_are_told_apart_in_any_order(life: Life) -> None:
    one, two = replace(ERROR, summary="one"), replace(ERROR, summary="two")
    assert life.judge(result(one, two)) == ["appeared /x"] * 2
    assert life.judge(result(two, one)) == []
    assert life.judge(result(one)) == ["gone /x"]


@pytest.mark.parametrize("outcome", [Outcome.SKIPPED, Outcome.FAILED])
def test_a_check_that_goes_blind_says_so_once_and_keeps_what_it_found(life: Life, outcome: Outcome) -> None:
    life.judge(result(ERROR, OTHER))
    assert life.judge(result(outcome=outcome, reason="no answer")) == ["blind"]
    assert life.judge(result(outcome=outcome, reason="no answer")) == []
    assert life.judge(result(outcome=outcome, reason="still no answer")) == []
    assert life.now.kept and life.now.result.findings == (ERROR, OTHER)
    assert life.judge(result(ERROR)) == ["sighted", "gone /y"]
    assert not life.now.kept


def test_blind_from_the_first(life: Life) -> None:
    assert life.judge(result(reason="no answer")) == ["blind"]
    assert life.judge(result(ERROR)) == ["sighted", "appeared /x"]


def test_half_blind_as_before_means_that_the_seen_half_is_well(life: Life) -> None:
    assert life.judge(result(ERROR, reason="the other half can't be read")) == ["appeared /x"]
    assert life.judge(result(reason="the other half can't be read")) == ["blind", "gone /x"]
    assert life.judge(result(ERROR, reason="the other half can't be read")) == ["sighted", "appeared /x"]
    assert life.judge(result(reason="nothing can be read")) == ["blind"]
    assert life.judge(result(reason="nothing can be read")) == [], "what is kept is not dropped by being blind twice"
    assert life.now.result.findings == (ERROR,)


def test_not_applicable_any_more_and_switched_off_are_gone_with_why(life: Life) -> None:
    for fresh, why in (
        (result(reason="a container", applicable=False), "a container"),
        (result(outcome=Outcome.DISABLED, reason="as planned"), "the check is switched off: as planned"),
    ):
        life.judge(result(ERROR))
        life.up += 1
        _, _, transitions = merge(life.standings, [fresh], None, Moment(1e9, "boot", life.up))
        assert [(t.what, t.document) for t in transitions] == [("gone", {"why": why})]


def test_a_check_that_is_no_more_is_forgotten_when_all_were_judged(life: Life) -> None:
    life.judge(result(ERROR))
    other = replace(result(), check="b.check")
    assert life.judge(other) == []
    assert "a.check" in life.standings
    assert life.judge(other, known=["b.check"]) == ["gone /x"]
    assert set(life.standings) == {"b.check"}


def test_since_is_when_it_came_about(life: Life) -> None:
    life.judge(result(ERROR))
    life.judge(result(ERROR))
    assert (life.now.since.up, life.now.judged.up) == (1.0, 2.0)
    life.judge(result())
    assert life.now.since.up == 3.0


def test_a_long_finding_is_cut_before_it_is_compared(life: Life) -> None:
    long = replace(ERROR, summary="x" * 5000, subject="/" + "y" * 5000)
    assert len(life.judge(result(long))) == 1
    assert life.judge(result(long)) == []


def test_one_more_of_very_many_findings_is_one_change(life: Life) -> None:
    many = [replace(ERROR, subject=f"/{n:04}") for n in range(500)]
    assert len(life.judge(result(*many))) == 201
    assert life.judge(result(*many)) == []
    assert life.judge(result(*many, replace(ERROR, subject="/9999"))) == ["changed"]
