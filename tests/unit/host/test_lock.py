"""One hostward at a time: the second waits or says who holds the lock, and a killed holder holds nothing."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from hostward.host.lock import Held, Lock


def _holder(path: str, then: str) -> int:
    """A process that holds the lock and says so; what it does `then`: "kill"s itself at once or "wait"s."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with Lock("watch", path=path):
            os.write(writer, b"!")
            if then == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.6 if then == "wait" else 60)
        os._exit(0)
    os.close(writer)
    assert os.read(reader, 1) == b"!"
    os.close(reader)
    return child


def test_the_second_says_who_holds_it(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    child = _holder(path, "sleep")
    try:
        with (
            pytest.raises(Held, match=rf"hostward watch \(process {child}, since \d{{4}}-.*\) holds it"),
            Lock("fix", path=path),
        ):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_the_second_waits_and_tells_once(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    child = _holder(path, "wait")
    told: list[str] = []
    with Lock("fix", 20.0, told.append, path):
        assert len(told) == 1 and "hostward watch" in told[0]
    os.waitpid(child, 0)


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    os.waitpid(_holder(path, "kill"), 0)
    with Lock("fix", path=path):
        pass
