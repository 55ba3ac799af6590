"""A judgement killed at any instant: the next one goes on, and what happened is told in its order, none of it lost."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from hostward.host.state import State
from tests.hosts import rhel5

AGENT = Path(__file__).parents[3] / "agent"
CODE = """
import os, sys
from hostward.daemon.judge import Judgement
from hostward.daemon.memory import Memory
from hostward.host import Host
from hostward.host.state import State
class Writer:
    def send(self, message, fields):
        line = f"{fields['HOSTWARD_TRANSITION']} {fields['HOSTWARD_CHECK']} {fields.get('HOSTWARD_SUBJECT', '')}\\n"
        os.write(fd, line.encode())
        return True
tree, place, config, journal = sys.argv[1:]
fd = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
host = Host.at(tree)
host.state_directory = place
memory = Memory(State.at(place, keep_open=True), State.at(place + ".run"))
print("ready", flush=True)
Judgement(host, Writer(), memory=memory).run({"events": ["all"], "reason": "test", "config": config})
"""


def test_killed_again_and_again(tmp_path: Path) -> None:
    tree = tmp_path / "host"
    rhel5.build(tree)
    config, journal = tmp_path / "hostward.yaml", tmp_path / "journal"
    config.write_text('prometheus: {textfile: ""}\n')
    link = tree / "lib/modules" / rhel5.NEW / "weak-updates" / "test.ko"
    link.parent.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-c", CODE, str(tree), str(tmp_path / "state"), str(config), str(journal)]
    chance = random.Random(1)
    begun = time.monotonic()
    subprocess.run(argv, env={"PYTHONPATH": str(AGENT)}, check=True, capture_output=True)
    whole_s = time.monotonic() - begun
    killed = 0
    for turn in range(16):
        if link.is_symlink():
            link.unlink()
        else:
            link.symlink_to("/lib/modules/none/x.ko")
        process = subprocess.Popen(argv, env={"PYTHONPATH": str(AGENT)}, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        if turn % 5 != 4:  # now and then one ends by itself, so that there is something to be lost
            time.sleep(chance.random() * whole_s * 0.6)
            process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        process.stdout.close()
    done = subprocess.run(argv, env={"PYTHONPATH": str(AGENT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert killed >= 3
    state = State.at(str(tmp_path / "state"))
    assert state.untold() == []
    assert not Path(state.path + ".damaged").exists()
    happened = [f"{t.what} {t.check} {t.subject}" for t in state.transitions(limit=10_000)]
    told = journal.read_text().splitlines()
    # One that was told when the kill came, before that was noted, may stand there twice.
    assert set(happened) == set(told) and len(happened) <= len(told) <= len(happened) + 16 * 10
    about = f"modules.weak-updates-dangling {rhel5.NEW}"
    of_link = [line.split()[0] for line in happened if line.endswith(about)]
    assert len(of_link) > 2, happened
    assert of_link == [("appeared", "gone")[n % 2] for n in range(len(of_link))], of_link
    standing = state.picture().standings["modules.weak-updates-dangling"].result
    assert (rhel5.NEW in {finding.subject for finding in standing.findings}) is link.is_symlink()
