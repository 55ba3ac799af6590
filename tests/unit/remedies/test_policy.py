"""Unattended tries: a back-off, an end, a crash that is not repeated, and a person's word that stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hostward.host.journal import Entry, Journal
from hostward.host.moment import Moment, now
from hostward.model import LoadModule, Remedy
from hostward.remedies import policy
from hostward.remedies.policy import TRIES_MAX, WAIT_FACTOR, WAIT_S, decide, fingerprint

MINE = "0123456789abcdef"


def tried(
    number: int, up: float, outcome: str = "undone", *, boot: str = "now", by: str = "watch", undone: bool = False
) -> Entry:
    records: list[dict[str, Any]] = [{"kind": "begin", "print": MINE, "by": by, "boot": boot, "up": up - 1}]
    records.append({"kind": "intent", "step": 0, "boot": boot, "up": up})
    if outcome:
        records.append({"kind": "end", "outcome": outcome, "boot": boot, "up": up})
    if undone:
        records += [{"kind": "undo", "by": "undo", "boot": boot, "up": up}, {"kind": "end", "outcome": "undone"}]
    return Entry(Journal("/nowhere"), number, records)


def at(up: float, boot: str = "now") -> Moment:
    return Moment(0.0, boot, up)


def test_the_first_try_is_at_once() -> None:
    assert decide([], MINE, at(10)).word == "go"
    other = tried(1, 5)
    other.records[0]["print"] = "another"
    assert decide([other], MINE, at(10)).word == "go"


def test_each_wait_is_longer_and_then_it_is_given_up() -> None:
    entries: list[Entry] = []
    up = 100.0
    for number in range(1, TRIES_MAX):
        entries.insert(0, tried(number, up))
        wait = WAIT_S * WAIT_FACTOR ** (number - 1)
        early = decide(entries, MINE, at(up + wait - 1))
        assert (early.word, round(early.wait_s)) == ("waiting", 1)
        up += wait + 1
        assert decide(entries, MINE, at(up)).word == "go"
    entries.insert(0, tried(TRIES_MAX, up))
    for later in (0, 1e6, 1e9):
        assert decide(entries, MINE, at(up + later)).word == "gave-up"


def test_a_repair_that_helps_and_comes_back_at_once_is_not_done_for_ever() -> None:
    entries = [tried(n, 100.0 + n, "helped") for n in range(TRIES_MAX, 0, -1)]
    assert decide(entries, MINE, at(200)).word == "gave-up"


def test_one_that_held_for_a_day_begins_anew() -> None:
    entries = [tried(n, 100.0 + n, "helped") for n in range(TRIES_MAX, 0, -1)]
    assert decide(entries, MINE, at(101 + TRIES_MAX + policy.HELD_S)).word == "go"


def test_a_new_boot_begins_anew_unless_the_last_one_ended_in_the_middle_of_it() -> None:
    assert decide([tried(1, 100, boot="before")], MINE, at(10)).word == "go"
    crashed = decide([tried(1, 100, "", boot="before")], MINE, at(10))
    assert crashed.word == "gave-up" and "the machine went down while repair 1 was under way" in crashed.reason


def test_one_that_was_killed_in_this_boot_is_a_try() -> None:
    assert decide([tried(1, 100, "")], MINE, at(101)).word == "waiting"


def test_what_a_person_undid_stays_undone_until_a_person_does_it_again() -> None:
    undone = tried(1, 100, "helped", undone=True)
    held = decide([undone], MINE, at(1e6))
    assert held.word == "held-back" and "somebody undid repair 1" in held.reason
    assert decide([undone], MINE, at(5, "another boot")).word == "held-back"
    again = tried(2, 200, "helped", by="fix")
    assert decide([again, undone], MINE, at(300)).word == "go"


@pytest.mark.parametrize(
    "changed",
    [
        fingerprint(Remedy("r", "t", (LoadModule("kvm_intel"),)), [("c", "s")], "6.1"),
        fingerprint(Remedy("r", "t", (LoadModule("kvm_amd"),)), [("c", "other")], "6.1"),
        fingerprint(Remedy("r", "t", (LoadModule("kvm_amd"),)), [("c", "s")], "6.12"),
        fingerprint(Remedy("q", "t", (LoadModule("kvm_amd"),)), [("c", "s")], "6.1"),
    ],
)
def test_what_matters_changes_the_fingerprint(changed: str) -> None:
    same = Remedy("r", "another title", (LoadModule("kvm_amd"),), why="another reason")
    print_ = fingerprint(same, [("c", "s")], "6.1")
    assert print_ == fingerprint(Remedy("r", "t", (LoadModule("kvm_amd"),)), [("c", "s")], "6.1") != changed


def test_the_journal_itself_is_read(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    journal.begin(print=MINE, by="watch").add("end", outcome="undone")
    assert decide(journal.entries(), MINE, now()).word == "waiting"
