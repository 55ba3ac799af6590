"""ntpd 4.2.8p15 and ntpsec 1.2.0, 1.2.2 and 1.2.3 as they answered control messages, and whatever else may come."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostward.facts import keeper_state as why
from hostward.facts.keeper_ntpd import associations, parse, variables
from hostward.facts.keeper_state import KeeperState
from tests.unit.facts.recordings import OFFSETS_S, PLACE, figure, mode6, recorded, said, unhurried, versions

DAEMONS = ("ntpd", "ntpsec")


def state_of(path: Path) -> KeeperState:
    words, system, peers = mode6(path)
    return parse(system, associations(words), peers, path.name.split("_")[0])


def states(case: str) -> list[tuple[Path, KeeperState]]:
    return [(path, state_of(path)) for daemon in DAEMONS for path in recorded(daemon, case, "json")]


def test_every_version_is_recorded() -> None:
    assert versions("ntpd", "json") == {"4.2.8p15"}
    assert versions("ntpsec", "json") == {"1.2.0", "1.2.2", "1.2.3"}


def test_a_kept_clock_agrees_with_what_ntpq_prints() -> None:
    for path, state in states("synchronised"):
        text = said(path)
        assert state.synchronised and not state.why_not, path
        assert re.search(rf"^[*]{re.escape(state.source)} ", text, re.M)
        assert state.stratum == figure(text, r"\bstratum=(\d+)")
        assert state.offset_s == pytest.approx(-figure(text, r"\boffset=([+-]?[\d.]+)") / 1000, abs=1e-5)
        distance = (figure(text, r"rootdelay=([\d.]+)") / 2 + figure(text, r"rootdisp=([\d.]+)")) / 1000
        assert state.root_distance_s == pytest.approx(
            distance, abs=1e-4
        )  # rootdisp grows from one question to the next
        assert state.leap == "normal" and state.frequency_ppm == -figure(text, r"\bfrequency=([+-]?[\d.]+)")
        assert state.last_update_age_s is not None and 0 < state.last_update_age_s < 20


#: ntpq's tally in the words of SourceState.
TALLY = {"*": why.SELECTED, "+": why.COMBINED, "-": why.CANDIDATE, "x": why.FALSETICKER}


def test_each_source_is_told_as_in_ntpqs_table() -> None:
    for path, state in states("synchronised"):
        rows = {line[1:].split()[0]: line for line in said(path).splitlines() if re.match(r".10\.9\.0\.", line)}
        assert len(state.sources) == len(rows) == 5
        for source in state.sources:
            row = rows[source.address]
            assert source.reach == int(row[1:].split()[6], 8)
            assert source.selection == TALLY.get(row[0], why.UNREACHED), (path, row)
            if source.reach:
                assert source.offset_s == pytest.approx(OFFSETS_S[source.address], abs=5e-3)
                assert source.offset_s == pytest.approx(-float(row[1:].split()[8]) / 1000, abs=0.05)
            else:
                assert source.offset_s is None and source.why_not == "does not answer"


@pytest.mark.parametrize(
    ("case", "reason", "detail"),
    [
        ("no-sources", why.NO_SOURCE, ""),
        ("unreachable", why.UNREACHABLE, "none of 10.9.0.6 answers"),
        ("no-majority", why.NO_MAJORITY, "10.9.0.8 -11.00"),
        ("waiting", why.WAITING, "10.9.0.1: its distance is more than maxdist"),
        ("local-waiting", why.OWN_CLOCK, "127.127.1.0 is the driver"),
        ("local", why.OWN_CLOCK, "127.127.1.0 is the driver"),
    ],
)
def test_why_nothing_is_kept(case: str, reason: str, detail: str) -> None:
    for path, state in states(case):
        assert state.synchronised is False, path
        assert state.why_not == reason, path
        assert detail in state.detail, path
        assert state.offset_s is None and state.source == ""


def test_a_server_that_is_not_synchronised_itself() -> None:
    """ntpd keeps why it took no answer; ntpsec drops such an answer before it leaves any trace."""
    for path, state in states("unsynchronised-server"):
        expected = why.UNSYNCHRONISED if state.keeper == "ntpd" else why.UNREACHABLE
        assert (state.synchronised, state.why_not) == (False, expected), path


def test_values_with_commas_in_quotes() -> None:
    assert variables(b'version="ntpd 4.2.8, patched", leap=0,\r\nstratum=2\r\n') == {
        "version": "ntpd 4.2.8, patched",
        "leap": "0",
        "stratum": "2",
    }


@unhurried
@given(st.binary(max_size=400), st.binary(max_size=40), st.binary(max_size=400))
def test_any_bytes(system: bytes, words: bytes, peer: bytes) -> None:
    status = associations(words)
    assert parse(system, status, dict.fromkeys(status, peer), "ntpd").synchronised in (None, False, True)


WHOLE = [mode6(path) for path in sorted(PLACE.glob("ntp*_*.json"))]
GARBAGE = st.sampled_from([b"", b"-", b"nan", b"1e999", b"0x", b"0xffffffff.ffffffff", b"9" * 400, b"\xb2", b'"'])


@unhurried
@given(st.sampled_from(WHOLE), st.data())
def test_any_value_can_be_garbage(whole: tuple[bytes, bytes, dict[int, bytes]], data: st.DataObject) -> None:
    words, system, peers = whole

    def spoilt(text: bytes) -> bytes:
        names = data.draw(st.lists(st.sampled_from(re.findall(rb"(\w+)=", text)), max_size=4))
        for name in names:
            value = data.draw(GARBAGE | st.binary(max_size=6))
            before, equals, after = text.partition(name + b"=")
            text = before + equals + value + after[after.find(b",") :]
        return text

    parse(spoilt(system), associations(words), {id: spoilt(peer) for id, peer in peers.items()}, "ntpd")
