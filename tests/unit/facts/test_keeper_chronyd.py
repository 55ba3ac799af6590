"""chronyd 4.0, 4.3 and 4.6.1 as chronyc printed them, and whatever else may come."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostward.facts import keeper_state as why
from hostward.facts.keeper_chronyd import ASK, parse
from hostward.facts.keeper_state import KeeperState
from tests.unit.facts.recordings import OFFSETS_S, PLACE, figure, recorded, said, unhurried, versions


def after(text: str, seconds: float) -> float:
    """So long after the last update in a recording."""
    return float(text.split(",", 4)[3]) + seconds


def states(case: str, after_s: float = 7.0) -> list[tuple[Path, KeeperState]]:
    texts = [(path, path.read_text()) for path in recorded("chronyd", case, "csv")]
    return [(path, parse(text, after(text, after_s))) for path, text in texts]


def test_every_version_is_recorded() -> None:
    assert versions("chronyd", "csv") == {"4.0", "4.3", "4.6.1"}


def test_a_kept_clock_agrees_with_what_chronyc_prints_for_eyes() -> None:
    for path, state in states("synchronised"):
        text = said(path)
        assert state.synchronised and not state.why_not, path
        assert f"({state.source})" in text
        assert state.stratum == figure(text, r"^Stratum +: (\d+)")
        slow = "slow of NTP time" in text
        offset = figure(text, r"^System time +: ([\d.]+)")
        assert state.offset_s == pytest.approx(-offset if slow else offset, abs=2e-6)
        distance = figure(text, r"^Root delay +: ([\d.]+)") / 2 + figure(text, r"^Root dispersion +: ([\d.]+)")
        assert state.root_distance_s == pytest.approx(distance, abs=2e-6)
        frequency = figure(text, r"^Frequency +: ([\d.]+)")
        assert state.frequency_ppm == (-frequency if "ppm slow" in text else frequency)
        assert state.skew_ppm == figure(text, r"^Skew +: ([\d.]+)")
        assert state.leap == "normal" and state.last_update_age_s == pytest.approx(7.0, abs=1e-3)


def test_each_source_is_told_with_its_offset_and_what_becomes_of_it() -> None:
    for path, state in states("synchronised"):
        by = {source.address: source for source in state.sources}
        assert set(by) == {"10.9.0.1", "10.9.0.2", "10.9.0.3", "10.9.0.4", "10.9.0.6"}
        assert by[state.source].selection == why.SELECTED
        assert by["10.9.0.4"].selection == why.FALSETICKER and by["10.9.0.4"].why_not == "differs from the majority"
        assert by["10.9.0.6"].selection == why.UNREACHED and by["10.9.0.6"].offset_s is None
        assert by["10.9.0.6"].last_heard_s is None and by["10.9.0.6"].reach == 0
        for address, source in by.items():
            if source.reach:
                # chronyd has begun to take its own 0.5 ms away, as it thinks
                assert source.offset_s == pytest.approx(OFFSETS_S[address], abs=1.5e-3), path
                assert source.reach == 0o17 and source.poll_s == 64.0


@pytest.mark.parametrize(
    ("case", "reason", "detail"),
    [
        ("no-sources", why.NO_SOURCE, ""),
        ("unreachable", why.UNREACHABLE, "none of 10.9.0.6 answers"),
        ("no-majority", why.NO_MAJORITY, "10.9.0.5 +5.000 s"),
        ("waiting", why.WAITING, "10.9.0.1: has not given enough measurements yet"),
        ("unsynchronised-server", why.UNSYNCHRONISED, "10.9.0.7: answers, but says"),
        ("local", why.OWN_CLOCK, "stratum 10 without any source"),
        ("offline", why.OFFLINE, "chronyc online"),
        ("unresolved", why.UNRESOLVED, "1 of the configured names"),
        ("noselect", why.UNSELECTABLE, "10.9.0.1: has the option noselect"),
        ("far", why.UNSELECTABLE, "10.9.0.1: its root distance is more than maxdistance"),
    ],
)
def test_why_nothing_is_kept(case: str, reason: str, detail: str) -> None:
    for path, state in states(case):
        assert state.synchronised is False, path
        assert state.why_not == reason, path
        assert detail in state.detail, path
        assert state.offset_s is None and state.source == ""


def test_a_source_that_stopped_answering_is_told_though_chronyd_still_says_normal() -> None:
    for path, state in states("stopped-answering"):
        assert state.synchronised and "Leap status     : Normal" in said(path)
        assert state.detail == "10.9.0.9 was the last source followed; none is followed now"
        assert state.sources[0].last_heard_s == 15.0
        assert state.sources[0].why_not == "does not answer" and state.sources[0].selection == why.UNREACHED


def test_a_clock_that_nothing_was_heard_for_is_not_kept_for_ever() -> None:
    for case, reason in (("stopped-answering", why.UNREACHABLE), ("synchronised", "")):
        for path, state in states(case, 5000.0):
            assert (state.synchronised, state.why_not) == (not reason, reason), path
            assert not reason or state.detail == "no update for 5000 s; none of 10.9.0.9 answers"


def test_without_root_selectdata_and_ntpdata_are_refused_and_the_rest_stands() -> None:
    """As chronyc prints for a user over UDP, and as one before 4.0 prints, which knows no selectdata."""
    for path in recorded("chronyd", "synchronised", "csv"):
        rows = [row for row in path.read_text().splitlines() if row.count(",") in (4, 9, 13)]
        for refusal in ("501 Not authorised", "Unrecognized command"):
            state = parse("\n".join([*rows, refusal, refusal]), 0.0)
            assert state.synchronised and len(state.sources) == 5
            assert {s.why_not for s in state.sources if s.selection == why.FALSETICKER} == {"differs from the majority"}


def test_a_chronyd_that_does_not_answer() -> None:
    state = parse("506 Cannot talk to daemon\n" * 5, 0.0)
    assert (state.synchronised, state.why_not, state.detail) == (None, why.SILENT, "506 Cannot talk to daemon")
    assert parse("", 0.0).why_not == why.SILENT


def test_it_only_asks() -> None:
    assert set(ASK) & {"makestep", "settime", "online", "offline", "reset", "burst", "doffset", "dfreq"} == set()


@unhurried
@given(st.text(), st.floats())
def test_any_text(text: str, now_s: float) -> None:
    assert parse(text, now_s).synchronised in (None, False, True)


WHOLE = [path.read_text() for path in PLACE.glob("chronyd_4.6.1_*.csv")]


@unhurried
@given(st.sampled_from(WHOLE), st.data())
def test_any_field_can_be_garbage(text: str, data: st.DataObject) -> None:
    rows = [line.split(",") for line in text.splitlines()]
    for _ in range(data.draw(st.integers(1, 6))):
        row = data.draw(st.sampled_from(rows))
        word = st.sampled_from(["", "-", "nan", "inf", "-1", "9" * 400, "1e999", "٣", "²", "x"]) | st.text(max_size=5)
        row[data.draw(st.integers(0, len(row) - 1))] = data.draw(word)
    parse("\n".join(",".join(row) for row in rows), data.draw(st.floats()))
