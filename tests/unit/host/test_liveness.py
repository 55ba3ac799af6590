"""A process is known by its number and the instant it was started."""

from __future__ import annotations

import os
import subprocess

from hostward.host.liveness import runs, started


def test_a_process_and_its_end() -> None:
    child = subprocess.Popen(["sleep", "100"])
    since = started(child.pid)
    assert since > 0 and runs(child.pid, since)
    assert not runs(child.pid, since + 1), "another process of this number"
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not runs(child.pid, since), "ended, and not yet waited for"
    child.wait()
    assert not runs(child.pid, since)


def test_no_process_at_all() -> None:
    assert started(2**22 + 5) == 0 and not runs(2**22 + 5, 0)
