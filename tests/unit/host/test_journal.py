"""The journal of repairs: a line counts when it is whole, whatever a kill left behind it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hostward.host import HostError, Missing, Untrusted
from hostward.host.journal import REPAIRS_MAX, Journal


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(str(tmp_path / "repairs"))


def test_what_was_written_is_read_back(journal: Journal) -> None:
    entry = journal.begin(remedy="modules.load-kvm", title="Läd\udcff")
    entry.add("intent", step=0, saved={"loaded": ["kvm"]})
    assert entry.kept(entry.keep(0, b"\0old")) == b"\0old"
    again = journal.entry(entry.number)
    assert again.damage == "" and [record["kind"] for record in again.records] == ["begin", "intent"]
    assert again.records[1]["saved"] == {"loaded": ["kvm"]} and again.records[1]["boot"]
    assert journal.begin(remedy="x").number == entry.number + 1


def test_of_a_line_cut_short_at_any_byte_only_that_line_is_lost(journal: Journal) -> None:
    entry = journal.begin(remedy="x")
    entry.add("intent", step=0)
    path = Path(journal.directory) / entry.name
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(first, len(whole)):
        path.write_bytes(whole[:cut])
        read = journal.entry(entry.number)
        assert [r["kind"] for r in read.records] == ["begin"] and read.damage == ""
        read.add("end", outcome="helped")
        assert [r["kind"] for r in journal.entry(entry.number).records] == ["begin", "end"]


def test_zeros_at_the_end_as_a_power_cut_leaves_them(journal: Journal) -> None:
    entry = journal.begin(remedy="x")
    path = Path(journal.directory) / entry.name
    path.write_bytes(path.read_bytes() + b"\0" * 300)
    journal.entry(entry.number).add("end", outcome="helped")
    assert [r["kind"] for r in journal.entry(entry.number).records] == ["begin", "end"]


def test_damage_in_the_middle_is_told(journal: Journal) -> None:
    entry = journal.begin(remedy="x")
    entry.add("intent", step=0)
    entry.add("end", outcome="helped")
    path = Path(journal.directory) / entry.name
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], lines[1].replace(b"intent", b"intend"), *lines[2:]]))
    read = journal.entry(entry.number)
    assert [r["kind"] for r in read.records] == ["begin", "end"] and "line 2 is damaged" in read.damage
    path.write_bytes(b"nonsense\n")
    assert "its beginning can't be read" in journal.entry(entry.number).damage


def test_only_so_many_are_kept(journal: Journal) -> None:
    for _ in range(REPAIRS_MAX + 5):
        entry = journal.begin(remedy="x")
    entry.keep(0, b"data")
    assert journal.numbers() == list(range(6, REPAIRS_MAX + 6))


def test_a_directory_that_others_can_write_to_is_not_used(journal: Journal) -> None:
    os.mkdir(journal.directory)
    os.chmod(journal.directory, 0o777)
    with pytest.raises(Untrusted, match="nobody else can write"):
        journal.begin(remedy="x")


def test_a_journal_that_never_was_and_a_number_that_is_not_there(journal: Journal) -> None:
    assert journal.numbers() == []
    with pytest.raises(Missing):
        journal.entry(3)
    entry = journal.begin(remedy="x")
    with pytest.raises(HostError):
        entry.kept("../../etc/passwd")
