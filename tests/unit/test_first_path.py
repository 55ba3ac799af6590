"""`hostward check --root` as a user runs it: on the host of the release note, and on trees that mean harm."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hosts import rhel5
from tests.hosts.hostile import STORIES

REPOSITORY = Path(__file__).parents[2]


def hostward(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "agent"), "LC_ALL": "C.UTF-8"}
    argv = [sys.executable, "-m", "hostward", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=60)


def test_the_host_of_the_release_note(tmp_path: Path) -> None:
    rhel5.build(tmp_path)
    done = hostward("check", "--root", str(tmp_path))
    assert (done.returncode, done.stderr) == (2, "")
    lines = done.stdout.splitlines()
    assert any("BZ#523478" in line and "hwclock sets the system clock" in line for line in lines)
    assert any("BZ#509361" in line and rhel5.OLD in line and "kmod-kvm" in line for line in lines)
    assert any(line.strip() == rhel5.WARNING for line in lines)
    (skipped,) = [line for line in lines if line.startswith("SKIP   modules.kvm-not-loaded")]
    assert "BZ#501543" in skipped and "isn't running" in skipped
    assert not any(line.startswith(("FAIL", "ERROR  modules.weak-updates-dangling")) for line in lines)


def test_nothing_is_repaired_in_a_tree(tmp_path: Path) -> None:
    rhel5.build(tmp_path)
    dry = hostward("fix", "--dry-run", "--root", str(tmp_path))
    assert dry.returncode == 1 and "chkconfig ntpd on" in dry.stdout
    done = hostward("fix", "--yes", "--root", str(tmp_path))
    assert done.returncode == 3 and "never changed" in done.stderr


@pytest.mark.parametrize("command", ["check", "fix", "modules"])
@pytest.mark.parametrize("story", sorted(STORIES))
def test_a_tree_that_means_harm(story: str, command: str, tmp_path: Path) -> None:
    STORIES[story](str(tmp_path))
    arguments = ["--dry-run"] if command == "fix" else []
    done = hostward(command, *arguments, "--root", str(tmp_path))
    assert done.returncode in (0, 1, 2, 3)
    assert "Traceback" not in done.stderr
    assert "fault of hostward" not in done.stdout
    assert done.stdout or done.stderr
