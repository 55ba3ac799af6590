"""Paths of a host stay inside its root, whatever links say; nothing that isn't a regular file is ever opened."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from hostward.host import Host, HostError, Missing, NotLive, NotRegular, TooLarge, Unreadable
from hostward.host.changes import State
from tests.hosts.tree import Tree


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    (tmp_path / "secret").write_text("outside")
    return Tree(tmp_path / "root").file("/etc/passwd", "inside")


def test_an_absolute_link_means_the_path_inside(tree: Tree) -> None:
    tree.link("/etc/link", "/etc/passwd")
    assert Host.at(str(tree.root)).text("/etc/link") == "inside"
    assert Host.at(str(tree.root)).resolve("/etc/link") == "/etc/passwd"


def test_dotdot_stops_at_the_root(tree: Tree) -> None:
    tree.link("/etc/up", "../../../../../../secret").link("/etc/up2", "../../../../etc/passwd")
    host = Host.at(str(tree.root))
    with pytest.raises(Missing):
        host.read("/etc/up")
    assert host.text("/etc/up2") == "inside"
    assert host.text("/../../etc/passwd") == "inside"


def test_a_link_to_the_outside_by_its_true_path_is_not_followed(tree: Tree, tmp_path: Path) -> None:
    tree.link("/etc/out", str(tmp_path / "secret")).link("/dir", str(tmp_path))
    host = Host.at(str(tree.root))
    for path in ("/etc/out", "/dir/secret"):
        with pytest.raises(Missing):
            host.read(path)
        assert not host.exists(path)


def test_a_loop_ends(tree: Tree) -> None:
    tree.link("/a", "b").link("/b", "a").link("/self", "self/x")
    host = Host.at(str(tree.root))
    for path in ("/a", "/self", "/a/deeper"):
        with pytest.raises(Unreadable, match="loop"):
            host.read(path)


def test_every_question_agrees_with_a_chroot(tree: Tree) -> None:
    """The walk by hand and the kernel's own walk under chroot say the same of every path."""
    tree.directory("/usr/bin").link("/bin", "usr/bin").file("/usr/bin/true", "x").link("/lib", "/usr/lib")
    tree.link("/usr/lib", "bin").link("/dangling", "/nowhere").link("/usr/root", "/").link("/l", "m").link("/m", "l")
    paths = ["/bin/true", "/lib/true", "/usr/root/bin/../bin/./true", "/dangling", "/bin/true/x", "/usr/root/usr/root"]
    paths += ["/", "//etc//passwd", "/etc/passwd/", "/l", "/bin", "/../bin", "/usr/lib/../root/etc"]
    if os.geteuid() != 0:
        pytest.skip("chroot(2) needs root")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.chroot(tree.root)
        os.chdir("/")
        answers = [(os.path.exists(p), os.path.isdir(p), os.path.isfile(p), os.path.islink(p)) for p in paths]
        os.write(write, repr(answers).encode())
        os._exit(0)
    os.waitpid(child, 0)
    wanted = eval(os.read(read, 65536))
    host = Host.at(str(tree.root))
    found = [(host.exists(p), host.is_dir(p), host.is_file(p), host.is_link(p)) for p in paths]
    # A trailing slash after a file is the one spelling we are more lenient about than the kernel.
    skip = paths.index("/etc/passwd/")
    del wanted[skip], found[skip], paths[skip]
    assert list(zip(paths, found)) == list(zip(paths, wanted))


def test_a_fifo_is_never_opened(tree: Tree) -> None:
    tree.fifo("/etc/adjtime")
    begun = time.monotonic()
    with pytest.raises(NotRegular, match="FIFO"):
        Host.at(str(tree.root)).read("/etc/adjtime")
    assert time.monotonic() - begun < 1


def test_a_ten_gigabyte_file_is_refused_by_its_size(tree: Tree) -> None:
    with open(tree.at("/etc/big"), "wb") as file:
        file.truncate(10 << 30)
    with pytest.raises(TooLarge, match="10737418240 bytes"):
        Host.at(str(tree.root)).read("/etc/big")


def test_what_grows_while_it_is_read_is_refused() -> None:
    with pytest.raises(TooLarge):
        Host.running().read("/proc/self/smaps", limit=100)


def test_names_that_are_not_utf8_survive(tree: Tree) -> None:
    name = os.fsdecode(b"caf\xe9.conf")
    tree.file(f"/etc/{name}", "x")
    host = Host.at(str(tree.root))
    assert name in host.names("/etc")
    assert host.text(f"/etc/{name}") == "x"


def test_a_directory_and_its_entries(tree: Tree) -> None:
    tree.link("/etc/link", "passwd").fifo("/etc/pipe").directory("/etc/sub").file("/etc/sub/x", "y")
    with Host.at(str(tree.root)).directory("/etc") as etc:
        assert etc.entries() == [("link", "link"), ("passwd", "file"), ("pipe", "other"), ("sub", "dir")]
        assert etc.readlink("link") == "passwd"
        with pytest.raises(NotRegular):
            etc.open("link")
        with pytest.raises(NotRegular):
            etc.open("pipe")
        with etc.open("passwd") as file:
            assert (file.size, file.read_at(2, 3), file.read(100)) == (6, b"sid", b"inside")
        with etc.sub("sub") as sub, sub.open("x") as inner:
            assert inner.path == "/etc/sub/x"
        with pytest.raises(HostError):
            etc.sub("link")


def test_a_file_where_a_directory_should_be(tree: Tree) -> None:
    host = Host.at(str(tree.root))
    with pytest.raises(NotRegular, match="not a directory"):
        host.names("/etc/passwd")
    with pytest.raises(Missing):
        host.read("/etc/passwd/x")
    with pytest.raises(NotRegular, match="is a directory"):
        host.read("/etc")


def test_no_descriptor_is_left_open(tree: Tree) -> None:
    tree.link("/a", "b").link("/b", "a").link("/etc/link", "/etc/passwd")
    host = Host.at(str(tree.root))
    before = len(os.listdir("/proc/self/fd"))
    for path in ("/etc/link", "/a", "/nowhere", "/etc", "/etc/passwd/x"):
        for question in (host.read, host.stat, host.lstat, host.names, host.readlink, host.resolve):
            try:
                question(path)
            except HostError:
                pass
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_running_machine_answers_the_same_way() -> None:
    host = Host.running()
    assert host.live
    assert host.text("/proc/sys/kernel/osrelease").strip() == os.uname().release
    with pytest.raises(Missing, match="/etc/no-such-file: does not exist"):
        host.read("/etc/no-such-file")


def test_a_tree_is_never_written_to_nor_executed(tree: Tree) -> None:
    tree.link("/etc/link", "passwd")
    host = Host.at(str(tree.root))
    for deed in (
        lambda: host.run(["true"]),
        lambda: host.put("/etc/link", host.look("/etc/link")[0], State("absent")),
        lambda: host.sweep("/etc/link"),
    ):
        with pytest.raises(NotLive):
            deed()
    assert host.names("/etc") == ["link", "passwd"]


def test_a_root_that_is_not_there() -> None:
    with pytest.raises(Missing, match="--root wants the directory"):
        Host.at("/no/such/tree")


def test_a_name_with_a_nul_byte_is_missing_and_no_crash(tree: Tree) -> None:
    for host in (Host.at(str(tree.root)), Host.running()):
        for read in (host.text, host.names, host.stat, host.lstat, host.readlink, host.resolve, host.open):
            with pytest.raises(Missing):
                read("/etc/pass\0wd")
        assert not host.exists("/etc/pass\0wd") and not host.is_link("/etc/pass\0wd")
