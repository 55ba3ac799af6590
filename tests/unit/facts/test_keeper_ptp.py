"""ptp4l 3.1, 3.1.1 and 4.2 as pmc printed it, phc2sys as it logs, and whatever else may come."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostward.facts import keeper_state as why
from hostward.facts.keeper_ptp import parse, parse_log
from hostward.facts.keeper_state import KeeperState
from tests.unit.facts.recordings import PLACE, figure, recorded, unhurried, versions


def states(case: str) -> list[tuple[Path, KeeperState]]:
    return [(path, parse(path.read_text())) for path in recorded("ptp4l", case, "txt")]


def test_every_version_is_recorded() -> None:
    assert versions("ptp4l", "txt") == {"3.1", "3.1.1", "4.2"}


def test_a_slave_follows_its_grandmaster() -> None:
    for path, state in states("synchronised"):
        text = path.read_text()
        assert state.synchronised and not state.why_not, path
        assert f"gmIdentity                 {state.source}" in text
        assert state.offset_s == pytest.approx(figure(text, r"offsetFromMaster (-?[\d.]+)") * 1e-9, abs=1e-9)
        assert state.uncertainty_s == pytest.approx(figure(text, r"meanPathDelay +([\d.]+)") * 1e-9, abs=1e-9)
        assert state.offset_s is not None and abs(state.offset_s) < 1e-3
        assert state.leap == "normal" and state.sources[0].stratum == 1


@pytest.mark.parametrize("case", ["unreachable", "waiting"])
def test_no_grandmaster_is_heard(case: str) -> None:
    for path, state in states(case):
        assert (state.synchronised, state.why_not) == (False, why.UNREACHABLE), path
        assert "LISTENING" in state.detail and state.offset_s is None


def test_a_port_that_has_not_locked_or_has_no_better_clock() -> None:
    for path, _ in states("synchronised"):
        text = path.read_text()
        locking = parse(text.replace("SLAVE", "UNCALIBRATED"))
        assert (locking.synchronised, locking.why_not) == (False, why.WAITING)
        alone = parse(text.replace("SLAVE", "MASTER"))
        assert (alone.synchronised, alone.why_not) == (False, why.UNREACHABLE)
        assert "serves its own" in alone.detail
        assert parse(text.replace("SLAVE", "FAULTY")).why_not == why.UNSELECTABLE


def test_nobody_answers_pmc() -> None:
    asked = recorded("ptp4l", "waiting", "txt")[0].read_text().splitlines()
    silent = "\n".join(line for line in asked if line.startswith("sending:"))
    assert "GET PORT_DATA_SET" in silent
    assert parse(silent).why_not == parse("").why_not == why.SILENT


def test_phc2sys_by_its_last_line() -> None:
    log = "Waiting for ptp4l...\nCLOCK_REALTIME phc offset  30 s0 freq +0 delay 600\n"
    start = parse_log(log)
    assert (start.synchronised, start.why_not) == (False, why.WAITING)
    state = parse_log(
        log + "phc2sys[4.5]: [ptp4l.0.config] CLOCK_REALTIME phc offset       -12 s2 freq    -700 delay    512\n"
    )
    assert state.synchronised and state.offset_s == pytest.approx(-12e-9)
    assert state.uncertainty_s == pytest.approx(512e-9) and state.frequency_ppm == pytest.approx(0.7)
    state = parse_log("CLOCK_REALTIME rms    9 max   20 freq   -700 +/-  10 delay   512 +/-   3\n")
    assert state.synchronised and state.offset_s is None and state.uncertainty_s == pytest.approx(20e-9)
    assert parse_log("Waiting for ptp4l...\n").why_not == why.WAITING
    assert parse_log("").why_not == why.SILENT


@unhurried
@given(st.text())
def test_any_text(text: str) -> None:
    parse(text)
    parse_log(text)


WHOLE = [path.read_text() for path in sorted(PLACE.glob("ptp4l_*.txt"))]
GARBAGE = st.sampled_from(["", "nan", "-inf", "9" * 400, "²", "SLAVE"]) | st.text(max_size=6)


@unhurried
@given(st.sampled_from(WHOLE), st.data())
def test_any_value_can_be_garbage(text: str, data: st.DataObject) -> None:
    rows = text.splitlines()
    for _ in range(data.draw(st.integers(1, 5))):
        number = data.draw(st.integers(0, len(rows) - 1))
        rows[number] = rows[number].rsplit(" ", 1)[0] + " " + data.draw(GARBAGE)
    parse("\n".join(rows))


@unhurried
@given(st.integers(), st.integers(), st.integers(0, 9), st.text(max_size=9))
def test_any_line_of_a_log(offset: int, frequency: int, servo: int, rest: str) -> None:
    parse_log(f"CLOCK_REALTIME phc offset {offset} s{servo} freq {frequency} {rest}")
