"""Only programs that root alone could have put there are run, without a shell, and never for longer than allowed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from hostward.host import Host, HostError, Missing, Untrusted
from hostward.host.programs import trusted

HOST = Host.running()
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="making files of root needs root")


def test_a_program_of_the_system() -> None:
    done = HOST.run(["sh", "-c", 'echo "$1"; echo no >&2; exit 3', "sh", "a b; `c`"])
    assert (done.status, done.stdout, done.stderr) == (3, "a b; `c`\n", "no\n")
    assert done.said == "no"


def test_the_environment_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/tmp/evil.so")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    said = HOST.run(["env"]).stdout
    assert "LC_ALL=C" in said and "LD_PRELOAD" not in said and "de_DE" not in said


def test_no_such_program() -> None:
    with pytest.raises(Missing, match="no such program in /usr/sbin"):
        HOST.run(["no-such-program-here"])


def test_the_time_limit_ends_the_whole_process_group() -> None:
    begun = time.monotonic()
    with pytest.raises(HostError, match=r"did not finish within 0\.3 s"):
        HOST.run(["sh", "-c", "sleep 98765 & sleep 98765"], timeout_s=0.3)
    assert time.monotonic() - begun < 5
    left = [p for p in Path("/proc").glob("[0-9]*/cmdline") if _cmdline(p) == b"sleep\x0098765\x00"]
    assert not left


def _cmdline(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@needs_root
@pytest.mark.parametrize("spoil", ["file-writable", "directory-writable", "owner", "link-by-other", "not-executable"])
def test_a_program_that_others_could_replace_is_refused(spoil: str) -> None:
    # Not under pytest's own directory: /tmp can be written by all, which is a refusal of its own.
    import shutil
    import tempfile

    top = Path(tempfile.mkdtemp(dir="/root" if Path("/root").is_dir() else "/"))
    try:
        os.chmod(top, 0o755)
        (top / "bin").mkdir(mode=0o755)
        program = top / "bin" / "tool"
        shutil.copy("/bin/true", program)
        os.chmod(program, 0o755)
        asked = program
        assert trusted(str(program)) == str(program)
        if spoil == "file-writable":
            os.chmod(program, 0o775)
        elif spoil == "directory-writable":
            os.chmod(top / "bin", 0o777)
        elif spoil == "owner":
            os.chown(program, 1234, 1234)
        elif spoil == "link-by-other":
            (top / "theirs").mkdir()
            asked = top / "theirs" / "tool"
            asked.symlink_to(program)
            assert trusted(str(asked)) == str(program)
            os.chown(top / "theirs", 1234, 1234)
        else:
            os.chmod(program, 0o644)
        with pytest.raises(Untrusted, match="not run"):
            HOST.run([str(asked)])
    finally:
        shutil.rmtree(top)


def test_a_directory_that_all_can_write_is_refused(tmp_path: Path) -> None:
    program = tmp_path / "tool"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    with pytest.raises(Untrusted):
        HOST.run([str(program)])
