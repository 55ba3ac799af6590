"""The remedies of the clock with plain facts: which steps, in which order, and when none fits."""

from __future__ import annotations

import pytest

from hostward.facts.clock_names import Default
from hostward.facts.clock_services import ClockServices, Keeper
from hostward.facts.init_system import InitSystem
from hostward.facts.keepers import KeeperState, KeeperStates
from hostward.model import Unavailable
from hostward.remedies import NoRemedy
from hostward.remedies import clock as remedies
from hostward.remedies.executor import show

SYSTEMD = InitSystem("systemd", "/run/systemd/system")
CHRONYD = Keeper("chronyd", "chronyd.service", "systemd", True, True, "chronyd.service: enabled, active (running)")
NTPD = Keeper("ntpd", "ntpd.service", "systemd", True, True, "ntpd.service: enabled, active (running)")


def services(*keepers: Keeper) -> ClockServices:
    return ClockServices(True, SYSTEMD, keepers, Default("chronyd", "dnf install chrony"), ())


def states(*synchronised: str, idle: tuple[str, ...] = ()) -> KeeperStates:
    return KeeperStates(
        (*(KeeperState(name, True) for name in synchronised), *(KeeperState(name, False) for name in idle))
    )


def test_of_two_keepers_the_distributions_own_stays() -> None:
    plan = remedies.one_keeper(services(NTPD, CHRONYD), Unavailable("nobody asked"))
    assert [show(step) for step in plan.steps] == ["systemctl disable ntpd.service", "systemctl stop ntpd.service"]


def test_of_two_keepers_the_one_that_keeps_stays() -> None:
    plan = remedies.one_keeper(services(NTPD, CHRONYD), states("ntpd", idle=("chronyd",)))
    assert [show(step) for step in plan.steps] == [
        "systemctl disable chronyd.service",
        "systemctl stop chronyd.service",
    ]
    assert "synchronised" in plan.why


def test_one_keeper_is_no_conflict() -> None:
    with pytest.raises(NoRemedy, match="no two keepers"):
        remedies.one_keeper(services(CHRONYD), states("chronyd"))


def test_a_step_goes_through_chronyd_that_has_a_source() -> None:
    assert [show(s) for s in remedies.step(services(CHRONYD), states("chronyd")).steps] == ["chronyc makestep"]
    with pytest.raises(NoRemedy, match="no keeper that has a source"):
        remedies.step(services(CHRONYD), states(idle=("chronyd",)))
    with pytest.raises(NoRemedy, match="ntpd can't be told"):
        remedies.step(services(NTPD), states("ntpd"))


def test_a_step_is_never_the_default_way() -> None:
    from hostward.remedies import REMEDIES

    assert REMEDIES["clock.step"].choice == "step"


def test_the_rtc_is_written_only_from_a_kept_clock() -> None:
    assert [show(s) for s in remedies.write_rtc(states("chronyd")).steps] == ["hwclock --systohc"]
    with pytest.raises(NoRemedy, match="the RTC may be the one that is right"):
        remedies.write_rtc(states(idle=("chronyd",)))
