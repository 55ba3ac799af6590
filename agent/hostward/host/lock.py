"""One hostward at a time changes a machine: a lock that the kernel lets go of when its holder ends, however it ends."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable

from hostward.host.errors import HostError, from_oserror

#: Never unlinked: a lock file that came back under the same name would be another lock.
PATH = "/var/lib/hostward/lock"
_POLL_S = 0.05


class Held(HostError):
    """Another hostward holds the lock; the reason says which and since when."""


class Lock:
    """`with Lock(): ...` — waits at most `wait_s` for another holder; `waiting` is told once who that is.

    Raises Held at the end of the wait, HostError where there is no place for the lock (a read-only /var).
    """

    def __init__(
        self, what: str, wait_s: float = 0.0, waiting: Callable[[str], None] | None = None, path: str = PATH
    ) -> None:
        self.path = path
        self._what = what
        self._wait_s = wait_s
        self._waiting = waiting
        self._fd = -1

    def __enter__(self) -> Lock:
        from hostward.host.place import own_directory

        own_directory(os.path.dirname(self.path))
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            self._fd = os.open(self.path, flags, 0o600)
        except OSError as error:
            raise from_oserror(self.path, error) from None
        deadline = time.monotonic() + self._wait_s
        told = False
        while not self._try():
            if time.monotonic() >= deadline:
                holder = self._holder()
                self._close()
                raise Held(self.path, f"{holder} holds it; nothing was changed. Try again when it is done")
            if not told and self._waiting is not None:
                self._waiting(self._holder())
                told = True
            time.sleep(_POLL_S)
        # Only for whoever has to wait: the lock itself is the kernel's.
        text = f"hostward {self._what} (process {os.getpid()}, since {time.strftime('%Y-%m-%d %H:%M:%S')})\n"
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, text.encode(), 0)
        except OSError:
            pass
        return self

    def _try(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            self._close()
            raise from_oserror(self.path, error) from None
        return True

    def _holder(self) -> str:
        try:
            text = os.pread(self._fd, 200, 0).decode("utf-8", "replace").strip()
        except OSError:
            text = ""
        return text or "another hostward"

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __exit__(self, *_: object) -> None:
        self._close()
