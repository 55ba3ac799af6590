"""Where a scriptlet runs, seen by real locks and a real chroot."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostward.host import surroundings

LOCKER = """\
import fcntl, sys, time
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / ".rpm.lock"
    path.touch()
    monkeypatch.setattr(surroundings, "RPM_LOCKS", (str(tmp_path / "missing"), str(path)))
    monkeypatch.setattr(surroundings, "_DONE", str(tmp_path / "run" / "scriptlet"))
    return path


@pytest.fixture
def transaction(lock: Path) -> Iterator[int]:
    """A process that holds the lock, as rpm does with fcntl(2)."""
    process = subprocess.Popen(
        [sys.executable, "-c", LOCKER, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "locked\n"
    yield process.pid
    process.communicate()


def test_no_transaction(lock: Path) -> None:
    assert surroundings.rpm_transaction() == ""
    assert surroundings.first_in_transaction("x") and surroundings.first_in_transaction("x")


def test_a_transaction_is_known_by_who_holds_the_lock(transaction: int) -> None:
    process, begun = surroundings.rpm_transaction().split()
    assert int(process) == transaction and int(begun) > 0


def test_our_own_descriptor_takes_no_lock_away(transaction: int, lock: Path) -> None:
    surroundings.rpm_transaction()
    with open(lock, "w") as file, pytest.raises(OSError):
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_once_a_transaction(transaction: int) -> None:
    assert surroundings.first_in_transaction("one")
    assert surroundings.first_in_transaction("two")
    assert not surroundings.first_in_transaction("one")
    assert not surroundings.first_in_transaction("two")


def test_what_an_earlier_transaction_did_does_not_count(transaction: int, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o700)
    surroundings.first_in_transaction("one")
    done = tmp_path / "run" / "scriptlet"
    done.write_text(done.read_text().replace(str(transaction), "1", 1))
    assert surroundings.first_in_transaction("one")
    assert not surroundings.first_in_transaction("one")


def test_nowhere_to_note_it(transaction: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "_DONE", "/proc/nowhere/scriptlet")
    assert surroundings.first_in_transaction("one") and surroundings.first_in_transaction("one")


def test_a_link_is_not_followed(transaction: int, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o700)
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "run" / "scriptlet").symlink_to(tmp_path / "victim")
    assert surroundings.first_in_transaction("one")
    assert (tmp_path / "victim").read_text() == "mine"


def test_another_root_than_that_of_process_1_is_a_chroot(tmp_path: Path) -> None:
    """The running system is looked at by the lab's tests, in a machine that has one."""
    if os.geteuid() == 0:
        assert surroundings.not_live(str(tmp_path)) != ""
        chroot = "chroot" if os.access("/proc/1/root/.", os.R_OK) else "can't be told"
        assert chroot in surroundings.not_live(str(tmp_path))
    else:
        assert surroundings.not_live() == "not run by root"
