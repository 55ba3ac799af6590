"""Which checks an event repeats: the table of what changes a fact is whole, and signatures lead from it to checks."""

from __future__ import annotations

import pytest

from hostward import checks, facts
from hostward.engine import checks_for, events_of, parameter_types
from hostward.facts import EVENTS, HOMES, WATCHES


@pytest.fixture(autouse=True)
def everything_known() -> None:
    checks.load_all()
    facts.load_all()


@pytest.mark.parametrize("name", sorted(HOMES))
def test_a_fact_that_looks_at_the_machine_has_a_line_and_no_other_has(name: str) -> None:
    observer = facts.observer_of(name)
    assert observer is not None
    looks = any(kind == "Host" for _, kind, _ in parameter_types(observer))
    assert (name in WATCHES) is looks


def test_no_line_is_left_over_and_every_kind_is_a_known_one() -> None:
    assert set(WATCHES) <= set(HOMES)
    assert {kind for kinds in WATCHES.values() for kind in kinds} <= set(EVENTS)


def ids(*events: str) -> set[str]:
    return {check.id for check in checks_for(events)}


def test_every_check_is_repeated_by_something() -> None:
    blind = {check.id for check in checks.CHECKS.values() if not events_of(check.function)}
    assert not blind


def test_the_configuration_and_all_repeat_everything() -> None:
    assert ids("all") == ids("config") == set(checks.CHECKS)
    assert ids() == set() == ids("no such kind")


def test_module_trees_repeat_what_is_said_of_modules_and_not_the_clock() -> None:
    found = ids("modules")
    assert {"modules.next-boot", "modules.weak-updates-dangling", "modules.weak-updates-symbols"} <= found
    assert "modules.stale-on-disk" in found, "its facts ask for module trees only by way of others"
    assert not any(id.startswith("clock.") for id in found)


def test_a_step_of_the_clock_repeats_the_clock_and_not_the_modules() -> None:
    found = ids("clock")
    assert {"clock.offset", "clock.rtc-local-time", "clock.drift-rate"} <= found
    assert not any(id.startswith("modules.") for id in found)


def test_units_repeat_the_keepers() -> None:
    assert {"clock.no-keeper", "clock.keeper-not-running", "clock.hwclock-without-ntp"} <= ids("units")
    assert "clock.no-keeper" not in ids("boot")
