"""The child of the daemon: its answer, its end, and the end of all it started."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hostward.daemon.worker import ANSWER_MAX, Failed, Worker, descendants


def begin(work: Callable[[dict[str, Any]], dict[str, Any]], task: dict[str, Any] | None = None) -> Worker:
    return Worker(work, task or {}, 10.0, [])


def answer(worker: Worker) -> dict[str, Any]:
    deadline = time.monotonic() + 20
    while not worker.read():
        assert time.monotonic() < deadline
        select.select([worker.fd], [], [], 1.0)
    return worker.finish()


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie has."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state in "ZX":
            return True
        time.sleep(0.01)
    return False


def test_the_answer_comes_back(capfd: pytest.CaptureFixture[str]) -> None:
    worker = begin(lambda task: {"status": f"saw {task['events']}", "long": "x" * 300_000}, {"events": ["units"]})
    assert answer(worker)["status"] == "saw ['units']"


def test_a_child_that_breaks_says_how(capfd: pytest.CaptureFixture[str]) -> None:
    def work(task: dict[str, Any]) -> dict[str, Any]:
        raise RuntimeError("no such luck")

    with pytest.raises(Failed, match=r"RuntimeError: no such luck .*please report"):
        answer(begin(work))
    assert "Traceback" in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_child_that_is_killed_is_told(number: int) -> None:
    def work(task: dict[str, Any]) -> dict[str, Any]:
        os.kill(os.getpid(), number)
        return {}

    with pytest.raises(Failed, match=f"killed by signal {int(number)}"):
        answer(begin(work))


def test_an_answer_without_end_is_cut() -> None:
    worker = begin(lambda task: {"x": "x" * (ANSWER_MAX * 2)})
    with pytest.raises(Failed, match="without an answer"):
        answer(worker)
    assert gone(worker.pid)


def test_an_end_takes_along_programs_in_sessions_of_their_own(tmp_path: Path) -> None:
    marker = tmp_path / "pid"

    def work(task: dict[str, Any]) -> dict[str, Any]:
        script = f"sleep 300 & echo $! >{marker}.new; mv {marker}.new {marker}; wait"
        subprocess.Popen(["sh", "-c", script], start_new_session=True).wait()
        return {}

    worker = begin(work)
    deadline = time.monotonic() + 10
    while not marker.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(list(descendants(worker.pid))) == 2
    begun = time.monotonic()
    worker.kill()
    assert time.monotonic() - begun < 1
    assert gone(int(marker.read_text())) and gone(worker.pid)


def test_a_child_does_not_outlive_its_parent(tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    code = (
        "import os, sys, time\n"
        "from hostward.daemon.worker import Worker\n"
        "def work(task):\n"
        f"    open({str(marker)!r} + '.new', 'w').write(str(os.getpid()))\n"
        f"    os.rename({str(marker)!r} + '.new', {str(marker)!r})\n"
        "    time.sleep(300)\n"
        "Worker(work, {}, 300, [])\n"
        "time.sleep(300)\n"
    )
    agent = str(Path(__file__).parents[3] / "agent")
    parent = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": agent})
    deadline = time.monotonic() + 20
    while not marker.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    assert gone(int(marker.read_text()))
