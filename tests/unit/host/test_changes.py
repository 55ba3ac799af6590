"""Changes of files and links: the old state or the new one, owner and mode kept, nothing that is not as expected."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hostward.host import Changed, Host, HostError, NotRegular
from hostward.host.changes import FILE_MAX, State, digest


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(str(tmp_path), live=True)


def file(data: bytes, mode: int = 0o644) -> State:
    return State("file", "", digest(data), mode, os.geteuid(), os.getegid())


def test_a_file_is_replaced_and_keeps_what_is_said_of_it(host: Host, tmp_path: Path) -> None:
    (tmp_path / "conf").write_bytes(b"old\n")
    (tmp_path / "conf").chmod(0o640)
    before, data = host.look("/conf")
    assert (before.kind, before.mode, data) == ("file", 0o640, b"old\n")
    host.put("/conf", before, file(b"new\n", 0o640), b"new\n")
    assert (tmp_path / "conf").read_bytes() == b"new\n"
    assert (tmp_path / "conf").stat().st_mode & 0o7777 == 0o640
    assert os.listdir(tmp_path) == ["conf"]


def test_what_changed_meanwhile_is_not_touched(host: Host, tmp_path: Path) -> None:
    (tmp_path / "conf").write_bytes(b"old\n")
    before, _ = host.look("/conf")
    (tmp_path / "conf").write_bytes(b"somebody else\n")
    with pytest.raises(Changed, match="not touched: a file"):
        host.put("/conf", before, file(b"new\n"), b"new\n")
    assert (tmp_path / "conf").read_bytes() == b"somebody else\n"


def test_what_is_so_already_is_left_alone(host: Host, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("there")
    inode = (tmp_path / "link").lstat().st_ino
    host.put("/link", State("absent"), host.look("/link")[0])
    assert (tmp_path / "link").lstat().st_ino == inode


def test_links_and_directories_come_and_go(host: Host, tmp_path: Path) -> None:
    link = State("link", "/x", uid=os.geteuid(), gid=os.getegid())
    host.put("/d", State("absent"), State("directory"))
    host.put("/d/l", State("absent"), link)
    assert os.readlink(tmp_path / "d" / "l") == "/x"
    with pytest.raises(HostError, match="not empty"):
        host.put("/d", State("directory"), State("absent"))
    host.put("/d/l", link, State("absent"))
    host.put("/d", State("directory"), State("absent"))
    assert os.listdir(tmp_path) == []


def test_a_link_in_the_way_cannot_lead_out_of_the_root(host: Host, tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "etc").symlink_to("/inside")
    host.put("/etc/new", State("absent"), file(b"x"), b"x")
    assert (tmp_path / "inside" / "new").read_bytes() == b"x"


@pytest.mark.parametrize("path", ["/", "/..", "/d/.."])
def test_what_is_no_name_is_refused(host: Host, path: str) -> None:
    with pytest.raises(HostError):
        host.look(path)


def test_neither_fifos_nor_huge_files_are_changed(host: Host, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(NotRegular):
        host.look("/fifo")
    with open(tmp_path / "huge", "wb") as huge:
        huge.truncate(FILE_MAX + 1)
    with pytest.raises(HostError, match="more than"):
        host.look("/huge")


def test_a_half_made_file_of_an_earlier_kill_is_no_obstacle(host: Host, tmp_path: Path) -> None:
    (tmp_path / ".hostward-conf").write_bytes(b"half")
    host.put("/conf", State("absent"), file(b"whole"), b"whole")
    assert os.listdir(tmp_path) == ["conf"] and (tmp_path / "conf").read_bytes() == b"whole"
    (tmp_path / ".hostward-conf").write_bytes(b"half")
    host.sweep("/conf")
    assert os.listdir(tmp_path) == ["conf"]
