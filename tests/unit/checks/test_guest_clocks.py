"""Guests' clocks judged: by the limit, and only where the reading is narrow enough to tell."""

from __future__ import annotations

import pytest

from hostward.checks.guest_clocks import guest_off
from hostward.config import Config
from hostward.facts.guest_clocks import GuestClock, GuestClocks
from hostward.facts.keeper_state import KeeperState
from hostward.facts.keepers import KeeperStates
from hostward.host import HostError, libvirt
from hostward.model import Finding, Unavailable
from hostward.remedies import NoRemedy
from hostward.remedies.guests import set_clock

KEPT = KeeperStates((KeeperState("chronyd", True),))


def clock(offset_s: float, uncertainty_s: float = 0.002, began: str = "") -> GuestClock:
    return GuestClock("g", "u", "qemu:///system", offset_s, uncertainty_s, began)


def judged(*clocks: GuestClock, silent: tuple[tuple[str, str], ...] = ()) -> tuple[list[Finding], str]:
    found = []
    try:
        for finding in guest_off(GuestClocks(clocks, silent), KEPT, Config()):
            found.append(finding)
    except Unavailable as reason:
        return found, reason.reason
    return found, ""


@pytest.mark.parametrize("offset_s", [0.0, 0.09, -0.09])
def test_within_the_limit(offset_s: float) -> None:
    assert judged(clock(offset_s)) == ([], "")


@pytest.mark.parametrize(
    ("offset_s", "words"),
    [
        (-0.11, "0.110 s behind"),
        (0.2, "0.200 s ahead of"),
        (-600, "10 minutes behind"),
        (86400, "24 hours ahead of"),
        (-1e9, "11574 days behind"),
    ],
)
def test_beyond_it(offset_s: float, words: str) -> None:
    (finding,), _ = judged(clock(offset_s, began="migrated"))
    assert words in finding.summary and finding.remedies == ("guests.set-clock",)
    assert "libvirt: it runs since it was migrated" in finding.evidence
    assert "this host's clock is kept by chronyd" in finding.evidence


@pytest.mark.parametrize("offset_s", [0.05, 0.12, -0.12])
def test_an_answer_that_took_too_long_tells_nothing(offset_s: float) -> None:
    found, reason = judged(clock(offset_s, 0.06))
    assert not found and "g took 0.120 s to answer, too long to tell" in reason


def test_agents_that_do_not_answer_are_told_and_others_judged_all_the_same() -> None:
    found, reason = judged(clock(-3), silent=tuple((f"s{n}", "no answer within 10 s") for n in range(5)))
    assert len(found) == 1
    assert reason.endswith("s2: no answer within 10 s and 2 more")


def test_only_guests_that_are_off_are_set_and_only_by_a_clock_that_is_kept() -> None:
    clocks = GuestClocks((clock(0.01), clock(-5)))
    (step,) = set_clock(clocks, KEPT, Config()).steps
    assert getattr(step, "uuid", "") == "u"
    for keepers in (KeeperStates(()), Unavailable("a container has none")):
        with pytest.raises(NoRemedy, match="the one that is right"):
            set_clock(clocks, keepers, Config())
    with pytest.raises(NoRemedy, match="no guest's clock is off"):
        set_clock(GuestClocks((clock(0.01),)), KEPT, Config())


def test_libvirts_own_test_driver() -> None:
    """Its one guest's clock stands at a fixed time of 1989."""
    pytest.importorskip("libvirt")
    (domain,) = libvirt.domains("test:///default")
    nobody = "00000000-0000-0000-0000-000000000000"
    told = libvirt.times("test:///default", [domain.uuid, nobody])
    assert told[domain.uuid].guest_ns == 627319920 * 10**9
    assert told[domain.uuid].before_ns <= told[domain.uuid].after_ns
    assert told[nobody].problem == "Domain not found"
    with pytest.raises(HostError, match="cannot be asked"):
        libvirt.domains("test:///nowhere.xml")
