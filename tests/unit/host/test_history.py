"""The history of clock samples: bounded, private, and never lost to a kill, a damaged file or a full disk."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from hostward.host import HostError, Missing, Untrusted
from hostward.host import database as database_module
from hostward.host.history import BOOTS_MAX, SAMPLES_MAX, ClockSample, History

AGENT = Path(__file__).parents[3] / "agent"


def sample(number: int, boot: str = "boot-a", reference: str = "rtc0") -> ClockSample:
    return ClockSample(boot, reference, 1_790_000_000_000_000_000 + number, number * 10**9, 0.25 * number, 0.003)


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(str(tmp_path / "state" / "hostward.db"))


def test_what_was_added_is_there(history: History) -> None:
    with pytest.raises(Missing, match="each `hostward clock` adds one"):
        history.samples("boot-a")
    assert history.add([sample(1), sample(2, reference="raw")]) == ""
    assert history.add([sample(3)]) == ""
    assert history.samples("boot-a") == [sample(1), sample(2, reference="raw"), sample(3)]
    assert history.samples("boot-b") == []
    assert Path(history.path).stat().st_mode & 0o777 == 0o600
    assert Path(history.path).parent.stat().st_mode & 0o777 == 0o700


def test_it_stays_small_and_keeps_its_span(history: History) -> None:
    for start in range(0, 4 * SAMPLES_MAX, 100):
        history.add(sample(number) for number in range(start, start + 100))
    kept = history.samples("boot-a")
    assert len(kept) <= SAMPLES_MAX
    assert (kept[0].raw_ns, kept[-1].raw_ns) == (0, (start + 99) * 10**9)
    gaps = [b.raw_ns - a.raw_ns for a, b in zip(kept, kept[1:])]
    assert max(gaps) <= 16 * 10**9
    for number in range(2 * BOOTS_MAX):
        history.add([sample(number, boot=f"boot-{number}")])
    assert history.samples("boot-a") == []
    assert [bool(history.samples(f"boot-{number}")) for number in range(2 * BOOTS_MAX)] == (
        [False] * BOOTS_MAX + [True] * BOOTS_MAX
    )
    assert Path(history.path).stat().st_size < 1 << 20


@pytest.mark.parametrize("content", [b"not a database at all, only words" * 50, b"SQLite format 3\0" + b"\xff" * 8000])
def test_a_damaged_file_is_kept_aside_and_a_new_one_begun(history: History, content: bytes) -> None:
    history.add([sample(1)])
    Path(history.path).write_bytes(content)
    with pytest.raises(HostError, match="damaged"):
        history.samples("boot-a")
    assert "moved to" in history.add([sample(2)])
    assert history.samples("boot-a") == [sample(2)]
    assert Path(history.path + ".damaged").read_bytes() == content


def test_a_page_damaged_in_the_middle_is_no_crash(history: History) -> None:
    history.add(sample(number) for number in range(400))
    data = bytearray(Path(history.path).read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    Path(history.path).write_bytes(data)
    with pytest.raises(HostError, match="damaged"):
        history.samples("boot-a")
    assert "moved to" in history.add([sample(1)])
    assert history.samples("boot-a") == [sample(1)]


def test_a_newer_schema_is_left_alone(history: History) -> None:
    history.add([sample(1)])
    with sqlite3.connect(history.path) as database:
        database.execute("PRAGMA user_version = 99")
    before = Path(history.path).read_bytes()
    for call in (lambda: history.add([sample(2)]), lambda: history.samples("boot-a")):
        with pytest.raises(HostError, match="newer hostward"):
            call()
    assert Path(history.path).read_bytes() == before


def test_killed_in_the_middle_again_and_again_loses_nothing_that_was_said_done(history: History) -> None:
    writer = (
        "import sys; from hostward.host.history import *\n"
        "h = History(sys.argv[1]); n = int(sys.argv[2])\n"
        "while True:\n"
        "    h.add([ClockSample('boot-a', 'rtc0', n, n, 0.0, 0.1)]); print(n, flush=True); n += 1\n"
    )
    done = 0
    for round_number in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", writer, history.path, str(done + 1)],
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": str(AGENT)},
            text=True,
        )
        assert process.stdout is not None
        for _ in range(5 + 3 * round_number):
            done = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        done = max([done, *(int(line) for line in process.stdout)])
        process.wait()
        numbers = [s.raw_ns for s in history.samples("boot-a")]
        assert set(range(1, done + 1)) <= set(numbers)
        done = max(numbers)
    assert len(numbers) == len(set(numbers))


def test_another_one_that_is_writing_is_waited_for_but_not_for_ever(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "WAIT_S", 0.1)
    history.add([sample(1)])
    other = sqlite3.connect(history.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(HostError, match="locked"):
        history.add([sample(2)])
    assert history.samples("boot-a") == [sample(1)]
    other.execute("COMMIT")
    history.add([sample(2)])
    assert len(history.samples("boot-a")) == 2


def test_a_place_that_someone_else_may_write_is_refused(history: History, tmp_path: Path) -> None:
    history.add([sample(1)])
    Path(history.path).parent.chmod(0o777)
    for call in (lambda: history.add([sample(2)]), lambda: history.samples("boot-a")):
        with pytest.raises(Untrusted, match="mode 777"):
            call()
    Path(history.path).parent.chmod(0o700)
    target = tmp_path / "elsewhere"
    target.write_bytes(b"precious")
    Path(history.path).unlink()
    Path(history.path).symlink_to(target)
    with pytest.raises(Untrusted):
        history.add([sample(2)])
    assert target.read_bytes() == b"precious"


def test_where_nothing_can_be_written_the_reason_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError, match="file"):
        History(str(tmp_path / "file" / "x" / "hostward.db")).add([sample(1)])
    with pytest.raises(HostError, match="/proc"):
        History("/proc/hostward/hostward.db").add([sample(1)])


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")
def test_a_read_only_file_system(tmp_path: Path) -> None:
    """Samples can still be read there, and a new one is refused with the reason."""
    script = 'mount -t tmpfs none $1 && python3 -c "$2" w $1 && mount -o remount,ro $1 && python3 -c "$2" r $1'
    code = (
        "import sys; from hostward.host.history import *; from hostward.host import HostError\n"
        "h = History(sys.argv[2] + '/hostward.db'); s = ClockSample('b', 'rtc0', 1, 2, 0.5, 0.1)\n"
        "if sys.argv[1] == 'w':\n    import os; os.chmod(sys.argv[2], 0o700); h.add([s]); raise SystemExit\n"
        "assert h.samples('b') == [s]\n"
        "try: h.add([s])\n"
        "except HostError as e: print(e)\n"
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", str(tmp_path), code],
        env={**os.environ, "PYTHONPATH": str(AGENT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "no sample could be written: its directory can't be written to" in done.stdout


def test_whose_history_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert History.of_this_agent().path == "/var/lib/hostward/hostward.db"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert History.of_this_agent().path == "/state/hostward/hostward.db"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/x")
    assert History.of_this_agent().path == "/home/x/.local/state/hostward/hostward.db"
