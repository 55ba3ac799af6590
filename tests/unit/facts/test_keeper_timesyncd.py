"""systemd-timesyncd 247, 252 and 257 as busctl printed it, and whatever else may come."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostward.facts import keeper_state as why
from hostward.facts.keeper_state import KeeperState
from hostward.facts.keeper_timesyncd import parse
from tests.unit.facts.recordings import PLACE, figure, recorded, said, unhurried, versions


def at_s(path: Path) -> float:
    """Some 20 s after the answer in the recording."""
    return int(path.read_text().splitlines()[2].split()[-4]) / 1e6 + 20.0


def states(case: str, after_s: float = 0.0) -> list[tuple[Path, KeeperState]]:
    return [(path, parse(path.read_text(), at_s(path) + after_s)) for path in recorded("timesyncd", case, "busctl")]


def test_every_version_is_recorded() -> None:
    assert versions("timesyncd", "busctl") == {"247.3", "252.39", "257.13"}


def seconds(text: str) -> float:
    """A time span as systemd writes it: "+1.076ms"."""
    for unit, scale in (("ms", 1e-3), ("us", 1e-6), ("s", 1.0)):
        if text.endswith(unit):
            return float(text[: -len(unit)]) * scale
    return float(text)


def field(text: str, name: str) -> str:
    line = next(line for line in text.splitlines() if line.strip().startswith(f"{name}:"))
    return line.split(":", 1)[1].split("(")[0].strip()


def test_a_kept_clock_agrees_with_timedatectl() -> None:
    for path, state in states("synchronised"):
        text = said(path)
        assert state.synchronised and state.source == "10.9.0.2" == field(text, "Server"), path
        assert state.stratum == figure(text, r"Stratum: (\d+)") + 1
        assert state.offset_s == pytest.approx(-seconds(field(text, "Offset")), abs=2e-6)
        delay = seconds(field(text, "Delay"))
        # timedatectl's distance is the server's own; ours has the way to the server in it
        assert state.root_distance_s == pytest.approx(seconds(field(text, "Root distance")) + delay / 2, abs=3e-6)
        assert state.leap == field(text, "Leap") == "normal"
        assert state.frequency_ppm == 0.0 and state.last_update_age_s == pytest.approx(20.0, abs=1e-3)
        assert state.sources[0].poll_s == 64.0
        # the server was 1 ms ahead, which the way there and back blurs by half of what it took
        error_s = state.sources[0].error_s
        assert error_s == pytest.approx(delay / 2, abs=2e-6)
        assert state.offset_s == pytest.approx(-0.001, abs=error_s)


@pytest.mark.parametrize(
    ("case", "reason", "detail"),
    [
        ("unreachable", why.UNREACHABLE, "10.9.0.6 has sent no answer that can be used"),
        ("waiting", why.UNREACHABLE, "10.9.0.6 has sent no answer"),
        ("unsynchronised-server", why.UNREACHABLE, "10.9.0.7 has sent no answer that can be used"),
        ("unresolved", why.UNRESOLVED, "ntp.no-such-host.invalid"),
    ],
)
def test_why_nothing_is_kept(case: str, reason: str, detail: str) -> None:
    for path, state in states(case):
        assert (state.synchronised, state.why_not) == (False, reason), path
        assert detail in state.detail, path
        assert state.offset_s is None and state.leap == "unsynchronised"


def test_no_server_configured() -> None:
    """Before 257 an empty FallbackNTP= did not take the built-in names away, which cannot be resolved here."""
    for path, state in states("no-sources"):
        expected = why.NO_SOURCE if "_257" in path.name else why.UNRESOLVED
        assert (state.synchronised, state.why_not) == (False, expected), path


def test_an_answer_of_long_ago_is_no_kept_clock() -> None:
    for _, state in states("synchronised", 3600.0):
        assert state.synchronised and state.last_update_age_s == pytest.approx(3620.0, abs=1e-3)
    for _, state in states("synchronised", 5000.0):
        assert (state.synchronised, state.why_not) == (False, why.UNREACHABLE)
        assert state.detail == "the last answer, of 10.9.0.2, is 5020 s old"


def test_nobody_on_the_bus() -> None:
    assert parse("", 0.0).why_not == why.SILENT
    assert parse('s ""\n', 0.0).synchronised is None


@unhurried
@given(st.text(), st.floats())
def test_any_text(text: str, now_s: float) -> None:
    parse(text, now_s)


WHOLE = [path.read_text() for path in sorted(PLACE.glob("timesyncd_*.busctl"))]
GARBAGE = st.sampled_from(["", "-1", "9" * 30, "nan", "²", "256", '"', "true"]) | st.text(max_size=4)


@unhurried
@given(st.sampled_from(WHOLE), st.data())
def test_any_word_can_be_garbage(text: str, data: st.DataObject) -> None:
    rows = [line.split(" ") for line in text.splitlines()]
    for _ in range(data.draw(st.integers(1, 5))):
        row = data.draw(st.sampled_from(rows))
        row[data.draw(st.integers(0, len(row) - 1))] = data.draw(GARBAGE)
    parse("\n".join(" ".join(row) for row in rows), 1_795_442_500.0)
