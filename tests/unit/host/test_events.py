"""inotify, uevents and timerfd on the real kernel."""

from __future__ import annotations

import os
import select
import shutil
import time
from pathlib import Path

import pytest

from hostward.host.inotify import LimitReached, Watches
from hostward.host.timerfd import ClockSteps
from hostward.host.uevents import ModuleEvents, module_of


def changed(watches: Watches) -> set[str]:
    """What is told within a moment."""
    paths: set[str] = set()
    while select.select([watches], [], [], 0.05)[0]:
        paths |= set(watches.read()[0])
    return paths


@pytest.fixture
def watches() -> Watches:
    return Watches()


def test_a_tree_with_all_below_it_also_what_comes_later(watches: Watches, tmp_path: Path) -> None:
    (tmp_path / "t" / "a").mkdir(parents=True)
    watches.set([f"{tmp_path}/t"], [], [])
    (tmp_path / "t" / "a" / "x.ko").write_text("x")
    (tmp_path / "elsewhere").write_text("x")
    assert changed(watches) == {f"{tmp_path}/t/a/x.ko"}
    (tmp_path / "t" / "b" / "c").mkdir(parents=True)
    assert f"{tmp_path}/t/b" in changed(watches)
    (tmp_path / "t" / "b" / "c" / "y.ko").symlink_to("nowhere")
    assert changed(watches) == {f"{tmp_path}/t/b/c/y.ko"}
    (tmp_path / "t" / "a" / "x.ko").unlink()
    assert changed(watches) == {f"{tmp_path}/t/a/x.ko"}


def test_a_tree_that_is_moved_in_whole(watches: Watches, tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "new" / "deep").mkdir(parents=True)
    watches.set([f"{tmp_path}/t"], [], [])
    (tmp_path / "new").rename(tmp_path / "t" / "new")
    assert changed(watches) == {f"{tmp_path}/t/new"}
    (tmp_path / "t" / "new" / "deep" / "f").write_text("x")
    assert changed(watches) == {f"{tmp_path}/t/new/deep/f"}


def test_a_directory_alone(watches: Watches, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    watches.set([], [str(tmp_path)], [])
    (tmp_path / "d" / "below").write_text("x")
    assert changed(watches) == set()
    (tmp_path / "f").write_text("x")
    assert changed(watches) == {f"{tmp_path}/f"}


def test_a_file_by_its_name_replaced_removed_and_made(watches: Watches, tmp_path: Path) -> None:
    watches.set([], [], [f"{tmp_path}/conf"])
    (tmp_path / "other").write_text("x")
    assert changed(watches) == set()
    (tmp_path / "conf.new").write_text("x")
    (tmp_path / "conf.new").rename(tmp_path / "conf")
    assert changed(watches) == {f"{tmp_path}/conf"}
    (tmp_path / "conf").unlink()
    assert changed(watches) == {f"{tmp_path}/conf"}


def test_what_is_not_wanted_any_more_is_not_told(watches: Watches, tmp_path: Path) -> None:
    watches.set([], [str(tmp_path)], [])
    watches.set([], [], [f"{tmp_path}/conf"])
    (tmp_path / "other").write_text("x")
    assert changed(watches) == set()
    watches.set([], [], [])
    (tmp_path / "conf").write_text("x")
    assert changed(watches) == set()


def test_a_directory_that_goes_and_comes_back(watches: Watches, tmp_path: Path) -> None:
    gone = tmp_path / "d"
    gone.mkdir()
    watches.set([], [str(tmp_path), str(gone)], [])
    shutil.rmtree(gone)
    assert str(gone) in changed(watches)
    gone.mkdir()
    watches.set([], [str(tmp_path), str(gone)], [])
    changed(watches)
    (gone / "f").write_text("x")
    assert changed(watches) == {f"{gone}/f"}


def test_more_events_than_the_queue_holds_are_told_as_lost(watches: Watches, tmp_path: Path) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 70_000:
        pytest.skip(f"fs.inotify.max_queued_events is {limit}: too many to overflow it in a test")
    watches.set([], [str(tmp_path)], [])
    for number in range(limit // 2 + 100):  # two events each: made, closed; the name changes, so they don't merge
        os.close(os.open(f"{tmp_path}/{number % 50}-{number}", os.O_CREAT | os.O_WRONLY))
        os.unlink(f"{tmp_path}/{number % 50}-{number}")
    paths, lost = watches.read()
    assert lost and paths


def test_the_limit_of_watches_says_which_sysctl(watches: Watches, tmp_path: Path) -> None:
    import errno

    assert "fs.inotify.max_user_watches" in str(watches._refusal("/x", errno.ENOSPC))
    assert isinstance(watches._refusal("/x", errno.EMFILE), LimitReached)


@pytest.mark.parametrize(
    ("message", "module"),
    [
        (b"add@/module/kvm_amd\0ACTION=add\0DEVPATH=/module/kvm_amd\0SUBSYSTEM=module\0SEQNUM=1\0", "kvm_amd"),
        (b"remove@/module/kvm\0ACTION=remove\0DEVPATH=/module/kvm\0SUBSYSTEM=module\0", "kvm"),
        (b"add@/devices/x\0ACTION=add\0SUBSYSTEM=block\0", ""),
        (b"change@/module/kvm\0SUBSYSTEM=module\0", ""),
        (b"libudev\0\xfe\xed\xca\xfe", ""),
        (b"", ""),
    ],
)
def test_which_module_a_uevent_is_about(message: bytes, module: str) -> None:
    assert module_of(message) == module


def test_a_message_of_another_process_is_not_the_kernels() -> None:
    import socket

    events = ModuleEvents()
    stranger = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15)
    try:
        stranger.bind((0, 0))
        stranger.sendto(b"add@/module/evil\0SUBSYSTEM=module\0", (events._socket.getsockname()[0], 0))
    except OSError:
        pytest.skip("this kernel lets nobody send there")
    time.sleep(0.05)
    assert events.read() == ([], False)
    events.close()


def test_a_clock_that_nobody_sets_tells_nothing() -> None:
    """One that is set is for the lab: a test does not touch the clock of the machine it runs on."""
    steps = ClockSteps()
    assert select.select([steps], [], [], 0.1)[0] == [] and steps.read() is None
    steps.close()
