"""The parent itself, as a process: judgements injected, signals real, told to a notify socket of the test's own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[3]
#: A daemon whose judgement writes what it was asked for, does what the file `how` says, and watches the test's places.
PROGRAM = """
import json, os, sys, time
from hostward.daemon.loop import Daemon
from hostward.host import dbus

top = sys.argv[1]
dbus.SYSTEM_BUS = top + "/no-bus"

def work(task):
    with open(top + "/tasks", "a") as file:
        file.write(json.dumps(task) + chr(10))
    how = open(top + "/how").read()
    if how == "hang":
        time.sleep(300)
    if how == "break":
        raise RuntimeError("broken")
    if how == "die":
        os.kill(os.getpid(), 9)
    if how.startswith("slow"):
        time.sleep(float(how[4:]))
    return {
        "status": "nothing wrong; judged", "severity": "ok", "again_s": None,
        "watch": {"trees": [top + "/modules"], "directories": [top], "files": [top + "/conf"], "units": [],
                  "kinds": {top + "/modules": "modules", top + "/conf": "config"}},
    }

daemon = Daemon({"no_repair": True}, work, limit_s=float(os.environ.get("LIMIT_S", "20")))
status = daemon.run()
print(daemon.wake_ups)
sys.exit(status)
"""


class Running:
    def __init__(self, top: Path, **environment: str) -> None:
        self.top = top
        (top / "modules").mkdir()
        (top / "how").write_text("well")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(top / "notify"))
        self.socket.settimeout(10)
        env = {**os.environ, "PYTHONPATH": str(REPOSITORY / "agent"), "NOTIFY_SOCKET": str(top / "notify")}
        env.pop("JOURNAL_STREAM", None)
        argv = [sys.executable, "-c", PROGRAM, str(top)]
        with open(top / "stderr", "wb") as err:
            self.process = subprocess.Popen(argv, env={**env, **environment}, stdout=subprocess.PIPE, stderr=err)

    def how(self, word: str) -> None:
        (self.top / "how.new").write_text(word)
        (self.top / "how.new").rename(self.top / "how")

    @property
    def tasks(self) -> list[dict[str, Any]]:
        try:
            return [json.loads(line) for line in (self.top / "tasks").read_text().splitlines()]
        except FileNotFoundError:
            return []

    def told(self, what: str) -> str:
        """Waits until systemd is told a message that contains this."""
        while True:
            message = self.socket.recv(65536).decode()
            if what in message:
                return message

    def judged(self, count: int, within_s: float = 15.0) -> list[dict[str, Any]]:
        """Waits for so many judgements."""
        deadline = time.monotonic() + within_s
        while len(self.tasks) < count:
            assert time.monotonic() < deadline, f"{self.tasks}\n{self.stderr}"
            assert self.process.poll() is None, self.stderr
            time.sleep(0.02)
        return self.tasks

    @property
    def stderr(self) -> str:
        return (self.top / "stderr").read_text()

    def stop(self) -> tuple[int, float]:
        """(exit status, seconds until the end) after SIGTERM."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(20)
        return status, time.monotonic() - begun


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    daemon = Running(tmp_path)
    yield daemon
    daemon.process.kill()
    daemon.process.wait()


def test_it_is_ready_at_once_judges_everything_and_says_so(running: Running) -> None:
    running.told("READY=1")
    (first,) = running.judged(1)
    assert first["events"] == ["all"] and first["first"] is True and first["no_repair"] is True
    assert first["daemon"] == running.process.pid
    running.told("STATUS=nothing wrong; judged")
    assert running.stop()[0] == 0
    running.told("STOPPING=1")


def test_a_burst_of_files_is_one_judgement(running: Running) -> None:
    running.told("STATUS=nothing wrong")
    for number in range(4000):
        (running.top / "modules" / f"{number}.ko").write_text("x")
    tasks = running.judged(2)
    assert tasks[1]["events"] == ["modules"] and tasks[1]["first"] is False
    assert str(running.top / "modules") in tasks[1]["reason"]
    time.sleep(2.5)
    assert len(running.tasks) == 2


def test_what_comes_during_a_judgement_is_judged_once_more(running: Running) -> None:
    running.told("STATUS=nothing wrong")
    running.how("slow1.5")
    (running.top / "modules" / "a.ko").write_text("x")
    running.judged(2)
    for number in range(50):
        (running.top / "modules" / f"{number}.ko").write_text("x")
        time.sleep(0.01)
    assert running.judged(3)[2]["events"] == ["modules"]
    time.sleep(2.5)
    assert len(running.tasks) == 3


def test_sighup_is_a_whole_judgement_and_systemd_is_told(running: Running) -> None:
    running.told("STATUS=nothing wrong")
    running.process.send_signal(signal.SIGHUP)
    assert "MONOTONIC_USEC=" in running.told("RELOADING=1")
    running.told("READY=1")
    assert running.judged(2)[1]["events"] == ["all"]


def test_it_stops_within_a_second_whatever_its_child_does(running: Running) -> None:
    running.told("STATUS=nothing wrong")
    running.how("hang")
    (running.top / "conf").write_text("x")
    running.judged(2)
    status, took_s = running.stop()
    assert status == 0 and took_s < 1.0


def test_a_judgement_that_hangs_is_ended_and_tried_again(tmp_path: Path) -> None:
    daemon = Running(tmp_path, LIMIT_S="1")
    try:
        daemon.told("STATUS=nothing wrong")
        daemon.how("hang")
        (daemon.top / "conf").write_text("x")
        daemon.judged(2)
        daemon.told("STATUS=the judgement took longer than 1 s and was ended")
        daemon.how("well")
        assert daemon.judged(3)[2]["events"] == ["config"]
        assert "the next try comes in 10 s" in daemon.stderr
    finally:
        daemon.process.kill()
        daemon.process.wait()


@pytest.mark.parametrize(
    ("how", "said"), [("break", "RuntimeError: broken"), ("die", "ended without an answer (killed by signal 9)")]
)
def test_a_judgement_that_breaks_is_said_and_not_fatal(running: Running, how: str, said: str) -> None:
    running.told("STATUS=nothing wrong")
    running.how(how)
    (running.top / "conf").write_text("x")
    assert said in running.told(said)
    assert running.process.poll() is None
    assert running.stop()[0] == 0


def test_the_watchdog_is_fed_while_a_judgement_hangs(tmp_path: Path) -> None:
    daemon = Running(tmp_path, WATCHDOG_USEC="400000")
    try:
        daemon.told("STATUS=nothing wrong")
        daemon.how("hang")
        (daemon.top / "conf").write_text("x")
        daemon.judged(2)
        for _ in range(5):
            daemon.told("WATCHDOG=1")
    finally:
        daemon.process.kill()
        daemon.process.wait()


def test_a_bus_that_is_not_there_is_said_once(running: Running) -> None:
    running.told("STATUS=nothing wrong")
    time.sleep(4)
    assert running.stderr.count("no-bus") == 1
    assert "units are looked at every 60 s" in running.stderr


def test_idle_it_sleeps(running: Running) -> None:
    running.told("STATUS=nothing wrong")
    before = _times(running.process.pid)
    time.sleep(5)
    assert _times(running.process.pid) - before < 0.05
    assert len(running.tasks) == 1


def _times(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
