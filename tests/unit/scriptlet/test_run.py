"""The face of package transactions: in time, quiet, and status 0 whatever happens to the work behind it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from hostward import scriptlet
from hostward.scriptlet import judge as judging

AGENT = Path(scriptlet.__file__).parents[2]
Say = Callable[[str], None]


def printed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], work: object, limit_s: float = 5
) -> str:
    """What is printed when the child does `work` instead."""
    monkeypatch.setattr(judging, "judge", work)
    scriptlet.run("modules-changed", [], limit_s)
    out, err = capfd.readouterr()
    assert err == ""
    return out


def test_lines_of_the_child_are_printed(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def work(event: str, names: Sequence[str], say: Say, repairing: Callable[[], None]) -> None:
        say(f"{event}: grün\udcff")
        repairing()
        say("two")

    assert printed(monkeypatch, capfd, work) == "modules-changed: grün\\udcff\ntwo\n"


def test_nothing_is_printed_for_nothing(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert printed(monkeypatch, capfd, lambda *_: None) == ""


@pytest.mark.parametrize(
    "fault", [ValueError("of\ntwo lines"), MemoryError(), KeyboardInterrupt(), RecursionError("deep")]
)
def test_a_fault_is_one_line(
    fault: BaseException, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def work(*_: object) -> None:
        raise fault

    out = printed(monkeypatch, capfd, work)
    assert out.startswith(f"hostward: could not look at kernel modules: {type(fault).__name__}")
    assert out.count("\n") == 1


def test_a_child_that_is_killed(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def work(event: str, names: Sequence[str], say: Say, repairing: Callable[[], None]) -> None:
        say("before")
        os.kill(os.getpid(), signal.SIGKILL)

    assert printed(monkeypatch, capfd, work) == "before\n"


@pytest.mark.parametrize("stubborn", [False, True])
def test_when_the_time_is_over_the_child_and_its_programs_are_gone(
    stubborn: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def work(event: str, names: Sequence[str], say: Say, repairing: Callable[[], None]) -> None:
        say("begun")
        if stubborn:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        program = subprocess.Popen(["sleep", "100"])
        (tmp_path / "processes").write_text(f"{os.getpid()} {program.pid}")
        try:
            time.sleep(100)
        finally:
            if not stubborn:
                program.kill()  # as host.programs does
                program.wait()

    begun = time.monotonic()
    out = printed(monkeypatch, capfd, work, limit_s=0.5)
    assert time.monotonic() - begun < 2
    assert out.splitlines()[0] == "begun" and "in time" in out.splitlines()[1]
    for process in (tmp_path / "processes").read_text().split():
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            continue
        assert state == "Z"  # killed; whoever adopted it has not looked yet


def test_a_repair_gets_more_time(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def work(event: str, names: Sequence[str], say: Say, repairing: Callable[[], None]) -> None:
        repairing()
        time.sleep(1.0)
        say("repaired")

    assert printed(monkeypatch, capfd, work, limit_s=0.5) == "repaired\n"


@pytest.mark.parametrize("command", ["scriptlet", "scriptlet --what", "scriptlet nonsense", "scriptlet post-install"])
@pytest.mark.parametrize("streams", [">&-", ">/dev/full", "<&- >&- 2>&-", "| :", "</dev/zero | head -c 10"])
def test_the_status_is_0(command: str, streams: str, tmp_path: Path) -> None:
    argv = f"{sys.executable} -m hostward {command}; echo $? >{tmp_path}/status"
    environment = {**os.environ, "PYTHONPATH": str(AGENT)}
    subprocess.run(["sh", "-c", f"({argv}) {streams}"], env=environment, capture_output=True, timeout=60)
    assert (tmp_path / "status").read_text() == "0\n"


def test_descriptors_that_were_closed_are_not_taken_for_others() -> None:
    """Without standard streams the pipe to the child would be number 1, and the print would go into it."""
    program = "import os; from hostward import scriptlet; scriptlet.run('nonsense', []); [*map(os.fstat, (0, 1, 2))]"
    argv = f'exec {sys.executable} -c "{program}" <&- >&- 2>&-'
    done = subprocess.run(["sh", "-c", argv], env={**os.environ, "PYTHONPATH": str(AGENT)}, timeout=30)
    assert done.returncode == 0
