"""The journal as it is: a real journald takes the fields; where it is gone, hung or has no module nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hostward.host import journald as journald_module
from hostward.host.journald import JournalWriter

AGENT = Path(__file__).parents[3] / "agent"
JOURNALD = "/lib/systemd/systemd-journald"
SCRIPT = """
mount -t tmpfs none /run && mkdir -p /run/systemd/journal /run/log/journal && mount -t tmpfs none /var/log || exit 77
%s >/dev/null 2>&1 & journald=$!
for i in $(seq 100); do [ -S /run/systemd/journal/socket ] && break; sleep 0.1; done
"$0" -c "$1"; status=$?
journalctl --sync; journalctl -D /run/log/journal -o json SYSLOG_IDENTIFIER=hostward
kill $journald; wait $journald
exit $status
"""


def in_a_journald_of_its_own(code: str) -> list[dict[str, str]]:
    """Runs Python code where a real journald listens, and returns hostward's entries."""
    if os.geteuid() != 0 or not Path(JOURNALD).exists() or shutil.which("unshare") is None:
        pytest.skip("a journald of one's own needs root, systemd-journald and unshare")
    try:
        import systemd.journal  # noqa: F401
    except ImportError:
        pytest.skip("systemd-python is not installed")
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", SCRIPT % JOURNALD, sys.executable, code],
        env={**os.environ, "PYTHONPATH": str(AGENT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode == 77:
        pytest.skip(f"no mount namespace can be had here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_real_journald_gets_every_field() -> None:
    (entry,) = in_a_journald_of_its_own(
        "from hostward.host.journald import JournalWriter\n"
        "assert JournalWriter().send('it is broken', {'PRIORITY': '3', 'SYSLOG_IDENTIFIER': 'hostward',"
        " 'HOSTWARD_EVIDENCE': 'one\\ntwo', 'MESSAGE_ID': '0' * 32, 'HOSTWARD_SUBJECT': 'x' * 4_000})\n"
    )
    assert len(entry["HOSTWARD_SUBJECT"]) == 4_000
    assert (entry["MESSAGE"], entry["PRIORITY"], entry["HOSTWARD_EVIDENCE"]) == ("it is broken", "3", "one\ntwo")
    assert entry["_TRANSPORT"] == "journal"


def lines_of(writer_socket: str, *messages: str) -> list[str]:
    read, write = os.pipe()
    writer = JournalWriter(writer_socket, write)
    for text in messages:
        assert writer.send(text, {"PRIORITY": "3", "HOSTWARD_ADVICE": "mend\nit"})
    os.close(write)
    with os.fdopen(read) as file:
        return file.read().splitlines()


def test_without_a_journald_every_message_is_a_line_and_why_is_said_once(tmp_path: Path) -> None:
    found = lines_of(str(tmp_path / "none"), "one", "two")
    assert found == [
        f"<4>hostward: messages go to standard error, without their fields: journald is not there "
        f"({tmp_path}/none: No such file or directory)",
        "<3>hostward: one; mend it",
        "<3>hostward: two; mend it",
    ]


def test_a_socket_that_nobody_listens_on(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(tmp_path / "s"))
    listener.close()
    assert "Connection refused" in lines_of(str(tmp_path / "s"), "one")[0]


def test_a_journald_that_hangs_costs_a_moment_and_no_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journald_module, "WAIT_S", 0.2)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "s"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as other:
            other.connect(str(tmp_path / "s"))
            with pytest.raises(BlockingIOError):
                while True:
                    other.send(b"x")
        start = time.monotonic()
        found = lines_of(str(tmp_path / "s"), "one")
        assert time.monotonic() - start < 2
    assert "it hangs, or was stopped" in found[0] and found[1] == "<3>hostward: one; mend it"


def test_without_the_python_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "systemd", None)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "s"))
        found = lines_of(str(tmp_path / "s"), "one")
    assert "python3-systemd" in found[0] and found[1] == "<3>hostward: one; mend it"


def test_nobody_takes_it_is_told_to_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journald_module, "WAIT_S", 0.1)
    read, write = os.pipe()
    os.set_blocking(write, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(write, b"x" * 4096)
    assert not JournalWriter(str(tmp_path / "none"), write).send("one", {})
    os.close(read)
    assert not JournalWriter(str(tmp_path / "none"), write).send("one", {})
    os.close(write)
    assert not JournalWriter(str(tmp_path / "none"), write).send("one", {})
