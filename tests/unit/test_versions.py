"""Versions compare exactly as rpm compares them; the real rpm is asked where it is installed."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from hostward.versions import compare_evr, parse_evr, rpmvercmp, satisfies


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("2.6.18-194.el5", "2.6.18-203.el5"),
        ("2.6.18-203.el5", "2.6.18-238.el5"),
        ("2.6.18-203.el5", "2.6.18-203.1.el5"),
        ("1.0~rc1", "1.0"),
        ("1.0", "1.0^git1"),
        ("1.0^git1", "1.0.1"),
        ("1.0a", "1.0.1"),  # digits are newer than letters
        ("9", "10"),
        ("5.14.0-70.el9", "5.14.0-362.8.1.el9_3"),
        ("2", "1:1"),
    ],
)
def test_order(older: str, newer: str) -> None:
    assert compare_evr(older, newer) == -1
    assert compare_evr(newer, older) == 1
    assert compare_evr(older, older) == 0


def test_leading_zeros_and_separators_do_not_count() -> None:
    assert rpmvercmp("1.010", "1_10") == 0


def test_a_release_counts_only_where_both_sides_have_one() -> None:
    assert compare_evr("2.6.18", "2.6.18-203.el5") == 0


def test_parts() -> None:
    assert parse_evr("3:1.2-4.el9") == ("3", "1.2", "4.el9")
    assert parse_evr("1.2") == ("0", "1.2", "")
    assert parse_evr("6.1.0-50-cloud-amd64") == ("0", "6.1.0-50-cloud", "amd64")


def test_conditions() -> None:
    assert satisfies("2.6.18-194.el5", "< 2.6.18-203.el5")
    assert not satisfies("2.6.18-203.el5", "< 2.6.18-203.el5")
    assert satisfies("5.14.0-70.el9", ">= 5.14, < 6")
    with pytest.raises(ValueError, match="not a version condition"):
        satisfies("1", "older than 2")


@pytest.mark.skipif(shutil.which("rpm") is None, reason="rpm is not installed: nothing to compare with")
def test_agrees_with_rpm_itself(tmp_path: Path) -> None:
    draw = random.Random(509361)
    pieces = ["0", "1", "9", "10", "010", "a", "b", "el5", "fc", "~", "^", ".", "_", "+", "..", "~~", "é"]
    pairs = [
        ("".join(draw.choices(pieces, k=draw.randint(1, 6))), "".join(draw.choices(pieces, k=draw.randint(1, 6))))
        for _ in range(4000)
    ]
    # rpm's Lua takes whole versions only: as the release of one, any text goes through rpmvercmp unchanged.
    script = tmp_path / "vercmp.lua"
    script.write_text("".join(f'print(rpm.vercmp("1-{a}","1-{b}") .. "\\n")' for a, b in pairs))
    asked = subprocess.run(
        ["rpm", "--eval", f"%{{lua:dofile('{script}')}}"], check=True, capture_output=True, text=True
    )
    answer = asked.stdout.split()
    assert len(answer) == len(pairs)
    wrong = [(a, b, want) for (a, b), want in zip(pairs, answer) if rpmvercmp(a, b) != int(want)]
    assert not wrong
    assert {"-1", "0", "1"} <= set(answer)
