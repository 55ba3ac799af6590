"""Which keeper is asked in which way, and what becomes of one that cannot be asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from hostward.facts import keeper_state as why
from hostward.facts.clock_names import Default
from hostward.facts.clock_services import ClockServices, Keeper
from hostward.facts.init_system import InitSystem
from hostward.facts.keepers import KeeperStates, keeper_states
from hostward.host import Host, Missing
from hostward.host.programs import Completed
from hostward.model import NotApplicable
from tests.unit.facts.recordings import recorded


class Recorded(Host):
    """The running machine, but for its programs: each prints a recording, or is not installed."""

    def __init__(self, prints: dict[str, str]) -> None:
        super().__init__("/", live=True)
        self.prints = prints
        self.asked: list[tuple[str, ...]] = []

    def run(
        self, argv: Sequence[str], timeout_s: float | None = None, input: bytes = b"", bound: bool = False
    ) -> Completed:
        self.asked.append(tuple(argv))
        if argv[0] not in self.prints:
            raise Missing(argv[0], "no such program")
        return Completed(tuple(argv), 0, self.prints[argv[0]], "")


def services(*names: str, active: bool = True) -> ClockServices:
    keepers = tuple(Keeper(name, f"{name}.service", "systemd", True, active, "") for name in names)
    return ClockServices(True, InitSystem("systemd", "", ""), keepers, Default("chronyd", ""), ())


def text(daemon: str, case: str, kind: str) -> str:
    return recorded(daemon, case, kind)[-1].read_text()


CHRONY = text("chronyd", "synchronised", "csv")
BUS = text("timesyncd", "unreachable", "busctl")


def test_each_active_keeper_is_asked_once_in_its_own_way() -> None:
    host = Recorded({"chronyc": CHRONY, "busctl": BUS, "ntpctl": text("openntpd", "waiting", "txt")})
    found = keeper_states(host, services("chronyd", "systemd-timesyncd", "openntpd"))
    assert [(state.keeper, state.synchronised, state.asked_by) for state in found.states] == [
        ("chronyd", True, "chronyc"),
        ("systemd-timesyncd", False, "busctl"),
        ("openntpd", False, "ntpctl"),
    ]
    assert [argv[0] for argv in host.asked] == ["chronyc", "busctl", "ntpctl"]
    assert [state.keeper for state in found.synchronised] == ["chronyd"]


def test_one_that_is_stopped_is_not_asked() -> None:
    host = Recorded({"chronyc": CHRONY})
    assert keeper_states(host, services("chronyd", active=False)) == KeeperStates(())
    assert host.asked == []


def test_one_whose_tool_is_missing_is_told_beside_the_others() -> None:
    found = keeper_states(Recorded({"chronyc": CHRONY}), services("openntpd", "chronyd"))
    lost, kept = found.states
    assert (lost.synchronised, lost.why_not, lost.detail) == (None, why.SILENT, "ntpctl: no such program")
    assert kept.synchronised


def test_a_keeper_without_a_known_protocol() -> None:
    (state,) = keeper_states(Recorded({}), services("ntpd-rs")).states
    assert state.synchronised is None and state.detail == "no protocol to ask ntpd-rs in is known here"


LOCKED = "CLOCK_REALTIME phc offset        -12 s2 freq    -700 delay    512\n"


def test_phc2sys_keeps_the_clock_only_as_well_as_ptp4l_keeps_the_cards() -> None:
    for case, kept in (("synchronised", True), ("unreachable", False)):
        host = Recorded({"journalctl": LOCKED, "pmc": text("ptp4l", case, "txt")})
        (state,) = keeper_states(host, services("phc2sys")).states
        assert state.synchronised is kept
        assert host.asked[0][-2:] == ("-u", "phc2sys.service")
        assert (state.why_not, "ptp4l:" in state.detail) == (("", False) if kept else (why.UNREACHABLE, True))
    (state,) = keeper_states(Recorded({"journalctl": LOCKED}), services("phc2sys")).states
    assert state.synchronised and state.offset_s == pytest.approx(-12e-9)


def test_a_tree_that_is_not_running(tmp_path: Path) -> None:
    with pytest.raises(NotApplicable, match="not running"):
        keeper_states(Host.at(str(tmp_path)), services("chronyd"))
