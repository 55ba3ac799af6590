"""OpenNTPD 6.2p3 of Debian 11, 12 and 13 as ntpctl printed it, and whatever else may come."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostward.facts import keeper_state as why
from hostward.facts.keeper_openntpd import parse
from hostward.facts.keeper_state import KeeperState
from tests.unit.facts.recordings import OFFSETS_S, PLACE, recorded, unhurried, versions


def states(case: str) -> list[tuple[Path, KeeperState]]:
    return [(path, parse(path.read_text())) for path in recorded("openntpd", case, "txt")]


def test_every_version_is_recorded() -> None:
    assert versions("openntpd", "txt") == {"6.2p3-deb11", "6.2p3-deb12", "6.2p3-deb13"}


def test_a_kept_clock_follows_the_source_with_the_star() -> None:
    for path, state in states("synchronised"):
        rows = path.read_text().splitlines()
        star = next(number for number, row in enumerate(rows) if row.startswith(" *"))
        assert state.synchronised and not state.why_not, path
        assert state.source == rows[star - 1].strip()
        assert state.stratum == int(rows[0].rsplit(" ", 1)[1]) == 3
        assert state.offset_s == pytest.approx(-float(rows[star].split()[6].rstrip("ms")) / 1000)
        assert [source.selection for source in state.sources].count(why.SELECTED) == 1
        for source in state.sources:
            assert source.offset_s is not None and source.error_s is not None
            assert abs(source.offset_s - OFFSETS_S[source.address]) <= source.error_s + 5e-4, path


@pytest.mark.parametrize(
    ("case", "reason", "detail"),
    [
        ("no-sources", why.NO_SOURCE, ""),
        ("unreachable", why.UNREACHABLE, "none of 10.9.0.6 answers"),
        # an answer that says it is not synchronised leaves no trace in what ntpctl prints
        ("unsynchronised-server", why.UNREACHABLE, "none of 10.9.0.7 answers"),
        ("waiting", why.WAITING, "10.9.0.1: not valid yet, at trust level 3"),
        ("settling", why.WAITING, "10.9.0.3: valid"),
    ],
)
def test_why_nothing_is_kept(case: str, reason: str, detail: str) -> None:
    for path, state in states(case):
        assert (state.synchronised, state.why_not) == (False, reason), path
        assert detail in state.detail, path
        assert state.offset_s is None and state.source == ""


def test_nobody_answers_ntpctl() -> None:
    state = parse("ntpctl: connect: /var/lib/openntpd/run/ntpd.sock: No such file or directory\n")
    assert (state.synchronised, state.why_not) == (None, why.SILENT)
    assert "No such file" in state.detail
    assert parse("").why_not == why.SILENT


@unhurried
@given(st.text())
def test_any_text(text: str) -> None:
    parse(text)


WHOLE = [path.read_text() for path in sorted(PLACE.glob("openntpd_*.txt"))]
GARBAGE = st.sampled_from(["", "-", "*", "nan", "1e999ms", "9" * 5000, "²", "...ms"]) | st.text(max_size=6)


@unhurried
@given(st.sampled_from(WHOLE), st.data())
def test_any_word_can_be_garbage(text: str, data: st.DataObject) -> None:
    words = text.split(" ")
    for _ in range(data.draw(st.integers(1, 6))):
        words[data.draw(st.integers(0, len(words) - 1))] = data.draw(GARBAGE)
    parse(" ".join(words))
