"""Running programs of the host: only trusted ones, without a shell, with a time limit and bounded output."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hostward.host.errors import HostError, Missing, Unreadable, Untrusted, from_oserror

PATH = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
ENVIRONMENT = {"PATH": ":".join(PATH), "LC_ALL": "C", "LANG": "C", "TERM": "dumb", "HOME": "/"}
OUTPUT_MAX = 4 << 20


@dataclass(frozen=True)
class Completed:
    """What a program left: its exit status (negative: the signal that ended it) and what it printed."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str

    @property
    def said(self) -> str:
        """The last line it printed, for an error message."""
        lines = (self.stderr.strip() or self.stdout.strip()).splitlines()
        return lines[-1] if lines else f"exit status {self.status}, no output"


def trusted(path: str) -> str:
    """The program's own path, links resolved, when only root can have put it there.

    Every directory on the way, of every link followed, must belong to root and be writable by
    nobody else.  Raises Missing, Untrusted.
    """
    done, todo, links = "/", [part for part in path.split("/") if part][::-1], 0
    while True:
        try:
            status = os.lstat(done)
        except OSError as error:
            raise from_oserror(path, error) from None
        if status.st_uid != 0:
            raise Untrusted(path, f"not run: {done} belongs to user {status.st_uid}, not to root")
        if stat.S_ISLNK(status.st_mode):
            links += 1
            if links > 40:
                raise Unreadable(path, "symbolic links in a loop")
            target = os.readlink(done)
            todo += [part for part in target.split("/") if part][::-1]
            done = "/" if target.startswith("/") else os.path.dirname(done)
            continue
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise Untrusted(
                path, f"not run: {done} can be written by others than root (mode {status.st_mode & 0o7777:o})"
            )
        if not todo:
            break
        part = todo.pop()
        done = os.path.dirname(done) if part == ".." else done if part == "." else os.path.join(done, part)
    if not stat.S_ISREG(status.st_mode) or not status.st_mode & 0o111:
        raise Untrusted(path, "not run: it is not an executable file")
    return done


def find(name: str) -> str:
    """The path of a program, by its name in the system's own directories or as an absolute path."""
    if name.startswith("/"):
        return name
    for directory in PATH:
        if os.access(f"{directory}/{name}", os.X_OK):
            return f"{directory}/{name}"
    raise Missing(name, f"no such program in {', '.join(PATH)}")


def _bound_to_us() -> Callable[[], None]:
    """What a child calls to be sent SIGKILL when its parent ends (prctl(2), PR_SET_PDEATHSIG; its own children are
    not): a step that goes on behind our back could end after it was undone."""
    import ctypes
    import signal

    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(1, signal.SIGKILL, 0, 0, 0)


def run(argv: Sequence[str], timeout_s: float, input: bytes, bound: bool = False) -> Completed:
    """Runs a trusted program to its end.  At the time limit its whole process group is killed; with `bound` the
    program is killed too when this process is.

    Raises Missing, Untrusted, or HostError for a time-out.
    """
    import signal
    import subprocess

    path = find(argv[0])
    trusted(path)
    try:
        process = subprocess.Popen(
            [path, *argv[1:]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
            cwd="/",
            start_new_session=True,
            preexec_fn=_bound_to_us() if bound else None,
        )
    except OSError as error:
        raise from_oserror(path, error) from None
    try:
        out, err = process.communicate(input, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise HostError(path, f"`{' '.join(argv)}` did not finish within {timeout_s:g} s and was ended") from None
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    return Completed(
        tuple(argv),
        process.returncode,
        out[:OUTPUT_MAX].decode("utf-8", "surrogateescape"),
        err[:OUTPUT_MAX].decode("utf-8", "surrogateescape"),
    )
