"""The textfile: whole or not at all, readable by the exporter, and never written through something else."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from hostward.host import HostError, textfile
from hostward.host.textfile import publish, target


def test_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "hostward.prom"
    mask = os.umask(0o077)
    try:
        publish(str(path), "one\n")
        first = path.stat().st_ino
        publish(str(path), "two\n")
    finally:
        os.umask(mask)
    assert path.read_text() == "two\n" and path.stat().st_ino != first
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [p.name for p in tmp_path.iterdir()] == ["hostward.prom"]


def test_what_a_kill_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".hostward.prom.part").symlink_to(tmp_path / "elsewhere")
    publish(str(tmp_path / "hostward.prom"), "one\n")
    assert [p.name for p in tmp_path.iterdir()] == ["hostward.prom"]


@pytest.mark.parametrize("kind", ["link", "directory", "fifo"])
def test_only_a_plain_file_is_replaced(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "hostward.prom"
    if kind == "link":
        path.symlink_to("/dev/null")
    elif kind == "directory":
        path.mkdir()
    else:
        os.mkfifo(path)
    with pytest.raises(HostError, match="something other than a file"):
        publish(str(path), "one\n")
    assert [p.name for p in tmp_path.iterdir()] == ["hostward.prom"]


def test_where_it_can_not_be_written_the_old_one_stands(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="does not exist"):
        publish(str(tmp_path / "none" / "hostward.prom"), "one\n")
    with pytest.raises(HostError):
        publish("/proc/hostward.prom", "one\n")


def test_auto_is_the_first_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textfile, "DIRECTORIES", (str(tmp_path / "a"), str(tmp_path / "b")))
    assert target("auto") == ""
    (tmp_path / "b").mkdir()
    assert target("auto") == f"{tmp_path}/b/hostward.prom"
    assert (target(""), target("/x/y.prom")) == ("", "/x/y.prom")
