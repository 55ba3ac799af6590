"""Steps done and taken back, and the same with a kill, a full disk or a read-only file system at every system call."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hostward.host import Host, HostError
from hostward.host.journal import Entry, Journal
from hostward.model import EditFile, MakeDirectory, MakeLink, Remedy, RemoveLink, RunProgram, Step, WriteFile
from hostward.remedies import executor
from hostward.remedies.executor import Applied
from hostward.remedies.steps import decode, encode, show

#: Every call by which the agent changes a file system.
CALLS = (
    *("fsync", "fdatasync", "rename", "symlink", "unlink", "mkdir", "makedirs", "rmdir", "ftruncate", "pwrite"),
    *("fchmod", "fchown", "chown", "write", "open"),
)


def build(root: Path) -> None:
    weak = root / "lib/modules/2/weak-updates/kmod"
    weak.mkdir(parents=True)
    (weak / "dangling.ko").symlink_to("/lib/modules/1/extra/gone.ko")
    (weak / "moved.ko").symlink_to("/lib/modules/1/extra/old.ko")
    (root / "etc").mkdir()
    (root / "etc/conf").write_text("a\ndefault=0\nb\n")
    (root / "etc/conf").chmod(0o640)
    (root / "etc/other").write_text("other\n")


WANTED: dict[str, Step] = {
    "lib/modules/2/weak-updates/kmod/dangling.ko": RemoveLink("/lib/modules/2/weak-updates/kmod/dangling.ko"),
    "lib/modules/2/weak-updates/kmod/moved.ko": MakeLink(
        "/lib/modules/2/weak-updates/kmod/moved.ko", "/lib/modules/3/extra/new.ko", replace=True
    ),
    "etc/conf": EditFile("/etc/conf", "default=0", "default=1"),
    "etc/other": WriteFile("/etc/other", "something else\n"),
    "etc/new.d": MakeDirectory("/etc/new.d"),
    "etc/new.d/file": WriteFile("/etc/new.d/file", "x" * 5000, 0o600),
    "etc/new.d/link": MakeLink("/etc/new.d/link", "file"),
}


def snapshot(root: Path) -> dict[str, Any]:
    """Every path below the host's own directories: what it is and what it holds."""
    found: dict[str, Any] = {}
    for top in ("lib", "etc"):
        for path in sorted((root / top).rglob("*")):
            status = path.lstat()
            content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
            found[str(path.relative_to(root))] = (oct(status.st_mode), content)
    return found


def plan(root: Path) -> Remedy:
    """What is still to be done: as a second `fix` would plan it from what is there."""
    now, then = snapshot(root), wanted_state()
    return Remedy("test", "Test", tuple(step for path, step in WANTED.items() if now.get(path) != then.get(path)))


_STATE: dict[str, Any] = {}


def wanted_state() -> dict[str, Any]:
    assert _STATE
    return _STATE


@pytest.fixture(scope="module", autouse=True)
def _wanted(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The state that all steps together lead to."""
    root = tmp_path_factory.mktemp("wanted")
    build(root)
    apply(root, Remedy("test", "Test", tuple(WANTED.values())))
    _STATE.update(snapshot(root))
    assert (root / "etc/conf").read_text() == "a\ndefault=1\nb\n"


def host_of(root: Path) -> Host:
    host = Host(str(root), live=True)
    host.state_directory = str(root / "state")
    return host


def apply(root: Path, remedy: Remedy) -> Entry:
    host = host_of(root)
    entry = executor.begin(host, remedy, by="test")
    whole = executor.apply(host, remedy, entry, lambda _: None)
    executor.close(entry, "helped" if whole else "failed")
    return entry


def undo_all(root: Path) -> bool:
    """Takes back every repair, the newest first.  Whether all of it could be."""
    host = host_of(root)
    entries = list(Journal(f"{host.state_directory}/repairs").entries())
    whole = [executor.undo(host, entry, lambda _: None) for entry in entries]
    return all(whole)


def at_every_call(tmp_path: Path, work: Callable[[Path], object], error: int = 0) -> Iterator[Path]:
    """A tree for each system call of `work` that changes something: killed there, or told `error` by it."""
    for number in range(1, 1000):
        root = tmp_path / str(number)
        root.mkdir()
        build(root)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            _interrupt(number, error)
            try:
                work(root)
            except HostError:
                os._exit(7)
            finally:
                os._exit(9 if os.environ.get("INTERRUPTED") else 0)
        os.close(writer)
        os.close(reader)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        assert code in (0, 7, 9)
        yield root
        shutil.rmtree(root)
        if code == 0:
            assert number > 20, "the calls were not seen"
            return
    raise AssertionError("the work never came to its end")


def _interrupt(at: int, error: int) -> None:
    """From the call number `at` on: the process ends before the call, or the call answers with an error (of a full
    disk every later one too)."""
    seen = 0

    def wrap(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            nonlocal seen
            if call.__name__ == "open" and not (len(arguments) > 1 and arguments[1] & os.O_CREAT):
                return call(*arguments, **named)
            seen += 1
            if seen >= at and not error:
                os._exit(9)
            if seen >= at and call.__name__ not in ("unlink", "ftruncate", "rmdir", "fsync", "fdatasync"):
                os.environ["INTERRUPTED"] = "1"
                raise OSError(error, os.strerror(error))
            return call(*arguments, **named)

        return wrapped

    for name in CALLS:
        setattr(os, name, wrap(getattr(os, name)))


def test_all_of_it_is_done_and_taken_back(tmp_path: Path) -> None:
    build(tmp_path)
    before = snapshot(tmp_path)
    apply(tmp_path, plan(tmp_path))
    assert snapshot(tmp_path) == wanted_state() != before
    assert undo_all(tmp_path)
    assert snapshot(tmp_path) == before
    assert undo_all(tmp_path), "taking back twice changes nothing"
    assert snapshot(tmp_path) == before


def test_killed_at_every_system_call_undo_restores(tmp_path: Path) -> None:
    (tmp_path / "original").mkdir()
    build(tmp_path / "original")
    before = snapshot(tmp_path / "original")
    for root in at_every_call(tmp_path, lambda root: apply(root, plan(root))):
        assert undo_all(root)
        assert snapshot(root) == before


def test_killed_at_every_system_call_a_second_fix_ends_well_and_both_can_be_undone(tmp_path: Path) -> None:
    (tmp_path / "original").mkdir()
    build(tmp_path / "original")
    before = snapshot(tmp_path / "original")
    for root in at_every_call(tmp_path, lambda root: apply(root, plan(root))):
        apply(root, plan(root))
        left = {path: state for path, state in snapshot(root).items() if "/.hostward-" not in path}
        assert left == wanted_state()
        assert undo_all(root)
        assert snapshot(root) == before


def test_killed_at_every_system_call_of_an_undo_a_second_undo_restores(tmp_path: Path) -> None:
    (tmp_path / "original").mkdir()
    build(tmp_path / "original")
    before = snapshot(tmp_path / "original")

    for root in at_every_call(tmp_path, lambda root: (apply(root, plan(root)), undo_all(root))):
        assert undo_all(root)
        assert snapshot(root) == before


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_disk_that_fills_up_at_every_system_call_loses_nothing(tmp_path: Path, error: int) -> None:
    (tmp_path / "original").mkdir()
    build(tmp_path / "original")
    before = snapshot(tmp_path / "original")
    for root in at_every_call(tmp_path, lambda root: apply(root, plan(root)), error):
        assert undo_all(root)
        assert snapshot(root) == before


def test_what_somebody_changed_since_is_left_and_the_rest_taken_back(tmp_path: Path) -> None:
    build(tmp_path)
    before = snapshot(tmp_path)
    apply(tmp_path, plan(tmp_path))
    (tmp_path / "etc/other").write_text("by somebody else\n")
    assert not undo_all(tmp_path)
    after = snapshot(tmp_path)
    assert after.pop("etc/other")[1] == b"by somebody else\n"
    before.pop("etc/other")
    assert after == before


def test_a_step_that_fails_stops_the_rest_and_says_why(tmp_path: Path) -> None:
    build(tmp_path)
    host = host_of(tmp_path)
    remedy = Remedy("t", "T", (RemoveLink("/etc/conf"), WriteFile("/etc/never", "x")))
    seen: list[Applied] = []
    entry = executor.begin(host, remedy, by="test")
    assert not executor.apply(host, remedy, entry, seen.append)
    (failed,) = seen
    assert not failed.done and "is not a symbolic link any more" in failed.said
    assert not (tmp_path / "etc/never").exists()
    assert list(executor.begun(entry)) == [], "nothing was begun"


def test_an_edit_wants_its_line_exactly_once(tmp_path: Path) -> None:
    build(tmp_path)
    (tmp_path / "etc/conf").write_text("default=0\ndefault=0\n")
    entry = apply(tmp_path, Remedy("t", "T", (EditFile("/etc/conf", "default=0", "default=1"),)))
    assert entry.of_kind("end")[0]["outcome"] == "failed"
    assert (tmp_path / "etc/conf").read_text() == "default=0\ndefault=0\n"


def test_a_program_is_taken_back_by_its_opposite_or_not_at_all(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    there = RunProgram(("touch", str(marker)), undo=("rm", str(marker)))
    entry = apply(tmp_path, Remedy("t", "T", (there, RunProgram(("true",)))))
    assert marker.exists()
    assert executor.cant_undo(entry) == ["nothing takes back `true`"]
    seen: list[Applied] = []
    assert not executor.undo(host_of(tmp_path), entry, seen.append)
    assert not marker.exists(), "what can be taken back is"
    assert [(one.done, one.back) for one in seen] == [(False, True), (True, True)]


def test_a_hanging_program_is_ended_with_all_it_started(tmp_path: Path) -> None:
    import time

    script = Path("/root/.hostward-test-hang") if os.geteuid() == 0 else None
    if script is None:
        pytest.skip("only root's own programs are run")
    script.write_text("#!/bin/sh\nsleep 300 &\necho $! >" + str(tmp_path / "pid") + "\nwait\n")
    script.chmod(0o755)
    try:
        begun = time.monotonic()
        entry = apply(tmp_path, Remedy("t", "T", (RunProgram((str(script),), timeout_s=1.0),)))
        assert time.monotonic() - begun < 20
    finally:
        script.unlink()
    (outcome,) = entry.of_kind("outcome")
    assert "did not finish within 1 s and was ended" in outcome["said"]
    pid = int((tmp_path / "pid").read_text())
    state = Path(f"/proc/{pid}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize("step", [*WANTED.values(), RunProgram(("a", "b"), undo=("c",), loads_modules=True)], ids=show)
def test_a_step_survives_the_journal(step: Step) -> None:
    import json

    assert decode(json.loads(json.dumps(encode(step)))) == step


@pytest.mark.parametrize("document", [{}, {"step": "Nonsense"}, {"step": "RemoveLink", "where": "/"}])
def test_what_no_hostward_wrote_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="step"):
        decode(document)
