"""The child that does one task: forked from the small parent, bounded in time and in what it may answer."""

from __future__ import annotations

import json
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any

Task = dict[str, Any]
#: The largest answer that is taken, in bytes.
ANSWER_MAX = 1 << 20


class Worker:
    """One task under way.  `fd` becomes readable while it answers, and at its end."""

    def __init__(
        self, work: Callable[[Task], dict[str, Any]], task: Task, limit_s: float, close: Iterable[int]
    ) -> None:
        self.task = task
        self.deadline = time.monotonic() + limit_s
        self._answer = b""
        parent = os.getpid()
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.pid = os.fork()
        if self.pid == 0:
            _child(work, task, writer, [reader, *close], parent)
        os.close(writer)
        self.fd = reader

    def read(self) -> bool:
        """Takes what there is of the answer.  Whether that was the end of it."""
        while True:
            try:
                data = os.read(self.fd, 65536)
            except BlockingIOError:
                return False
            if not data:
                return True
            self._answer += data
            if len(self._answer) > ANSWER_MAX:
                return True

    def finish(self) -> dict[str, Any]:
        """The answer, once `read` said that it is whole.  Raises Failed with why there is none."""
        status = self._reap(0.5)
        try:
            answer = json.loads(self._answer)
        except ValueError:
            raise Failed(f"the judgement ended without an answer ({_end(status)})") from None
        if not isinstance(answer, dict) or "failed" in answer:
            raise Failed(str(answer.get("failed")) if isinstance(answer, dict) else "the judgement answered nonsense")
        return answer

    def kill(self) -> None:
        """Ends it, and whatever it started, at once."""
        for pid in (*reversed(list(descendants(self.pid))), self.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        self._reap(0.5)

    def _reap(self, wait_s: float) -> int:
        """Waits for its end, and makes it where it does not come by itself.  Closes the pipe."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        deadline = time.monotonic() + wait_s
        while True:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                return 0
            if pid:
                return status
            if time.monotonic() >= deadline:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.005)


class Failed(Exception):
    """A task that came to nothing, and why."""


def _child(work: Callable[[Task], dict[str, Any]], task: Task, writer: int, close: Iterable[int], parent: int) -> None:
    """Never returns."""
    status = 1
    try:
        os.setsid()
        _end_with(parent)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        for fd in close:
            os.close(fd)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.set_blocking(writer, True)
        try:
            answer = work(task)
        except Exception as error:
            traceback.print_exc()
            answer = {"failed": f"{type(error).__name__}: {error} (a fault of hostward: please report it)"}
        data = memoryview(json.dumps(answer).encode())
        while data:
            data = data[os.write(writer, data) :]
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _end_with(parent: int) -> None:
    """The kernel kills us when our parent ends (prctl(2), PR_SET_PDEATHSIG)."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def descendants(pid: int) -> Iterable[int]:
    """The children of a process, theirs, and so on: programs run in sessions of their own, so a process group does
    not hold them all (/proc/PID/task/TID/children, proc(5))."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
                children = [int(word) for word in file.read(65536).split()]
        except (OSError, ValueError):
            continue
        for child in children:
            yield child
            yield from descendants(child)


def _end(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"killed by signal {os.WTERMSIG(status)}"
    return f"exit status {os.WEXITSTATUS(status)}"
