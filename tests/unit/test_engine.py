"""Facts are injected by type and seen once; what can't be had skips, what raises fails, and the others go on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import pytest

from hostward.checks import CHECKS, check
from hostward.config import Config, SwitchedOff
from hostward.engine import Engine, exit_status, select
from hostward.facts import OBSERVERS, fact
from hostward.host import Host
from hostward.model import BZ, Finding, NotApplicable, Outcome, Remedy, Result, Severity, Unavailable
from hostward.remedies import REMEDIES, NoRemedy, remedy


@dataclass(frozen=True)
class Weather:
    rain_mm: float


@dataclass(frozen=True)
class Umbrella:
    weather: Weather


@dataclass(frozen=True)
class Moon:
    phase: str


@dataclass(frozen=True)
class Sea:
    moon: Moon


SEEN: list[str] = []


@pytest.fixture(autouse=True)
def registries() -> Iterator[None]:
    """Every test registers its own checks and facts; the real ones stay out of it."""
    SEEN.clear()
    kept = [(registry, dict(registry)) for registry in (CHECKS, OBSERVERS, REMEDIES)]
    for registry, _ in kept:
        registry.clear()

    @fact
    def weather(host: Host) -> Weather:
        SEEN.append("weather")
        return Weather(3.5)

    @fact
    def umbrella(weather: Weather) -> Umbrella:
        SEEN.append("umbrella")
        return Umbrella(weather)

    @fact
    def moon() -> Moon:
        SEEN.append("moon")
        raise Unavailable("clouds")

    @fact
    def sea(moon: Moon) -> Sea:
        SEEN.append("sea")
        return Sea(moon)

    yield
    for registry, entries in kept:
        registry.clear()
        registry.update(entries)  # type: ignore[arg-type]


def engine(config: Config | None = None) -> Engine:
    return Engine(Host.running(), config or Config(), today=date(2026, 11, 23))


def test_a_fact_is_observed_once_and_only_when_asked_for() -> None:
    @check("sky.rain", title="no rain")
    def rain(weather: Weather) -> Iterator[Finding]:
        yield Finding(Severity.WARNING, f"{weather.rain_mm} mm")

    @check("sky.umbrella", title="an umbrella")
    def has_umbrella(umbrella: Umbrella, weather: Weather) -> Iterator[Finding]:
        assert umbrella.weather is weather
        yield from ()

    results = engine().check(CHECKS.values())
    assert [r.outcome for r in results] == [Outcome.FINDINGS, Outcome.PASSED]
    assert SEEN == ["weather", "umbrella"]


def test_a_fact_that_cannot_be_had_skips_its_checks_with_the_reason() -> None:
    @check("sea.tide", title="the tide is low")
    def tide(sea: Sea) -> Iterator[Finding]:
        raise AssertionError("must not run")

    (result,) = engine().check(CHECKS.values())
    assert (result.outcome, result.reason, result.applicable) == (Outcome.SKIPPED, "clouds", True)
    assert SEEN == ["moon"]
    assert exit_status([result]) == 3


def test_a_check_may_ask_to_see_why_a_fact_is_missing() -> None:
    @check("moon.seen", title="the moon is seen")
    def seen(moon: Moon | Unavailable) -> Iterator[Finding]:
        if isinstance(moon, Unavailable):
            yield Finding(Severity.INFO, f"unseen: {moon.reason}")

    (result,) = engine().check(CHECKS.values())
    assert result.findings[0].summary == "unseen: clouds"
    assert exit_status([result]) == 0


def test_what_does_not_apply_is_no_blindness() -> None:
    @fact
    def moon() -> Moon:
        raise NotApplicable("indoors")

    @check("moon.full", title="the moon is full")
    def full(moon: Moon) -> Iterator[Finding]:
        yield from ()

    (result,) = engine().check(CHECKS.values())
    assert (result.outcome, result.applicable) == (Outcome.SKIPPED, False)
    assert exit_status([result]) == 0


def test_a_check_that_raises_has_failed_and_the_others_go_on() -> None:
    @check("a.broken", title="broken")
    def broken(weather: Weather) -> Iterator[Finding]:
        yield Finding(Severity.ERROR, "half a truth")
        raise ZeroDivisionError("oh")

    @check("b.sound", title="sound")
    def sound(weather: Weather) -> Iterator[Finding]:
        yield from ()

    first, second = engine().check(CHECKS.values())
    assert (first.outcome, first.findings) == (Outcome.FAILED, ())
    assert "ZeroDivisionError: oh" in first.reason and "test_engine.py" in first.reason
    assert second.outcome is Outcome.PASSED
    assert exit_status([first, second]) == 3


def test_an_observer_that_raises_is_told_and_takes_nobody_along() -> None:
    @fact
    def moon() -> Moon:
        raise KeyError("crater")

    @check("moon.full", title="the moon is full")
    def full(moon: Moon) -> Iterator[Finding]:
        yield from ()

    @check("sky.rain", title="no rain")
    def rain(weather: Weather) -> Iterator[Finding]:
        yield from ()

    first, second = engine().check(CHECKS.values())
    assert first.outcome is Outcome.SKIPPED and "observing Moon failed: KeyError" in first.reason
    assert second.outcome is Outcome.PASSED


def test_facts_that_need_each_other_end_with_a_reason() -> None:
    @fact
    def moon(sea: Sea) -> Moon:
        return Moon("new")

    assert isinstance(engine().fact("Sea"), Unavailable)


def test_findings_come_worst_first_and_carry_the_references_of_the_check() -> None:
    @check("sky.rain", title="no rain", references=[BZ(523478)])
    def rain(weather: Weather) -> Iterator[Finding]:
        yield Finding(Severity.WARNING, "drizzle")
        yield Finding(Severity.ERROR, "flood", references=(BZ(1),))

    (result,) = engine().check(CHECKS.values())
    assert [f.summary for f in result.findings] == ["flood", "drizzle"]
    assert [f.references[0].text for f in result.findings] == ["BZ#1", "BZ#523478"]
    assert exit_status([result]) == 2


def test_exit_status_prefers_errors_then_blindness_then_warnings() -> None:
    def result(outcome: Outcome, *severities: Severity, reason: str = "") -> Result:
        return Result("x.y", "x", outcome, tuple(Finding(s, "f") for s in severities), reason)

    warning, error = result(Outcome.FINDINGS, Severity.WARNING), result(Outcome.FINDINGS, Severity.ERROR)
    blind, passed, off = result(Outcome.SKIPPED, reason="r"), result(Outcome.PASSED), result(Outcome.DISABLED)
    assert exit_status([passed, off]) == 0
    assert exit_status([passed, warning]) == 1
    assert exit_status([warning, blind]) == 3
    assert exit_status([warning, blind, error]) == 2
    assert exit_status([passed, result(Outcome.FINDINGS, Severity.WARNING, reason="half of it")]) == 3


def test_what_a_check_saw_before_it_went_blind_is_kept() -> None:
    @check("sky.rain", title="no rain")
    def rain(weather: Weather) -> Iterator[Finding]:
        yield Finding(Severity.WARNING, "drizzle")
        raise Unavailable("fog")

    (result,) = engine().check(CHECKS.values())
    assert (result.outcome, result.reason) == (Outcome.FINDINGS, "fog")
    assert [f.summary for f in result.findings] == ["drizzle"]


def test_a_check_switched_off_says_why_until_its_day_and_runs_again_after() -> None:
    @check("sky.rain", title="no rain")
    def rain(weather: Weather) -> Iterator[Finding]:
        yield from ()

    off = Config(disabled_checks={"sky.rain": SwitchedOff("a roof", date(2026, 11, 23))})
    (result,) = engine(off).check(CHECKS.values())
    assert result.outcome is Outcome.DISABLED and "a roof" in result.reason and not SEEN
    expired = Config(disabled_checks={"sky.rain": SwitchedOff("a roof", date(2026, 11, 22))})
    (result,) = engine(expired).check(CHECKS.values())
    assert result.severity is Severity.WARNING and "ran out on 2026-11-22" in result.findings[0].summary


def test_selection_by_id_and_glob_and_a_hint_for_a_typing_error() -> None:
    for id in ("sky.rain", "sky.snow", "sea.tide"):
        check(id, title=id)(lambda: ())
    assert [c.id for c in select([])] == ["sky.rain", "sky.snow", "sea.tide"]
    assert [c.id for c in select(["sea.tide", "sky.*"])] == ["sky.rain", "sky.snow", "sea.tide"]
    with pytest.raises(LookupError, match=r"no check is called sky\.rian: did you mean sky\.rain"):
        select(["sky.rian"])


def test_a_remedy_is_planned_from_facts_or_says_why_not() -> None:
    @remedy("sky.umbrella", title="open it")
    def open_it(weather: Weather) -> Remedy:
        return Remedy("sky.umbrella", "open it", (), why=f"{weather.rain_mm} mm")

    @remedy("moon.light", title="light it")
    def light(moon: Moon) -> Remedy:
        raise AssertionError

    assert engine().plan("sky.umbrella").why == "3.5 mm"
    with pytest.raises(NoRemedy, match="clouds"):
        engine().plan("moon.light")


def test_after_a_remedy_facts_are_observed_anew() -> None:
    one = engine()
    one.fact("Weather")
    one.forget()
    one.fact("Weather")
    assert SEEN == ["weather", "weather"]
    assert "Weather" in OBSERVERS
