"""What changes in directories: trees watched with all below them, directories by themselves, files by their names.

inotify(7) by way of the C library.  A file is watched through its directory, so that one that is replaced by a rename,
removed or not there yet is seen as well.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable

from hostward.host.errors import HostError

#: More directories than this below all trees are not watched; a host's modules outside kernel/ lie in a few dozen.
DIRECTORIES_MAX = 4096
_DEPTH_MAX = 24
_EVENT = struct.Struct("iIII")
_CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x8, 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF, _OVERFLOW, _IGNORED = 0x400, 0x800, 0x4000, 0x8000
_ONLYDIR, _EXCL_UNLINK, _ISDIR = 0x0100_0000, 0x0400_0000, 0x4000_0000
_MASK = (
    _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF | _ONLYDIR | _EXCL_UNLINK
)  # fmt: skip
_READ = 64 << 10


class LimitReached(HostError):
    """The kernel gives this user no more watches (fs.inotify.max_user_watches, max_user_instances)."""


class _Watch:
    """One directory: whether all of it counts, or only `names`; whether directories made in it are watched too."""

    __slots__ = ("names", "path", "tree", "whole")

    def __init__(self, path: str) -> None:
        self.path = path
        self.whole = False
        self.tree = False
        self.names: set[str] = set()


class Watches:
    """Which paths changed since the last `read`.  `fd` becomes readable when there is something to read."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd: int = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise self._refusal("inotify", ctypes.get_errno())
        self._by_number: dict[int, _Watch] = {}
        self._by_path: dict[str, int] = {}
        self._trees: set[str] = set()

    def fileno(self) -> int:
        return self.fd

    def set(self, trees: Iterable[str], directories: Iterable[str], files: Iterable[str]) -> None:
        """Watches these and nothing else; what is not there is passed over.  Raises LimitReached, with as many
        watched as could be."""
        wanted: dict[str, _Watch] = {}

        def want(path: str) -> _Watch:
            return wanted.setdefault(path, _Watch(path))

        self._trees = set(trees)
        for path in directories:
            want(path).whole = True
        for tree in self._trees:
            for path in _below(tree):
                if len(wanted) >= DIRECTORIES_MAX:
                    break
                watch = want(path)
                watch.whole = watch.tree = True
        for file in files:
            parent, _, name = file.rpartition("/")
            want(parent or "/").names.add(name)
        for path in set(self._by_path) - set(wanted):
            self._remove(path)
        for path, watch in wanted.items():
            self._add(path, watch)

    def read(self) -> tuple[list[str], bool]:
        """(the paths that changed, each once; whether some are not known because the kernel's queue overflowed)."""
        changed: dict[str, None] = {}
        lost = False
        while True:
            try:
                data = os.read(self.fd, _READ)
            except BlockingIOError:
                return list(changed), lost
            at = 0
            while at + _EVENT.size <= len(data):
                number, mask, _, length = _EVENT.unpack_from(data, at)
                name = os.fsdecode(data[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0"))
                at += _EVENT.size + length
                if mask & _OVERFLOW:
                    lost = True
                watch = self._by_number.get(number)
                if watch is None:
                    continue
                if mask & _IGNORED:
                    # The directory is gone, and with it the watch.
                    del self._by_number[number]
                    if self._by_path.get(watch.path) == number:
                        del self._by_path[watch.path]
                    continue
                if watch.whole or name in watch.names:
                    changed[f"{watch.path.rstrip('/')}/{name}" if name else watch.path] = None
                if watch.tree and mask & _ISDIR and mask & (_CREATE | _MOVED_TO):
                    # What was put into it before the watch was there is told by the directory itself.
                    for path in _below(f"{watch.path}/{name}"):
                        if len(self._by_path) < DIRECTORIES_MAX:
                            below = _Watch(path)
                            below.whole = below.tree = True
                            try:
                                self._add(path, below)
                            except LimitReached:
                                lost = True

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _add(self, path: str, watch: _Watch) -> None:
        known = self._by_path.get(path)
        number = self._libc.inotify_add_watch(self.fd, os.fsencode(path), _MASK)
        if number < 0:
            why = ctypes.get_errno()
            if why == errno.ENOSPC:
                raise self._refusal(path, why)
            return  # it went away, or can't be looked into
        if known is not None and known != number:
            self._by_number.pop(known, None)  # another directory has that name now
        self._by_number[number] = watch
        self._by_path[path] = number

    def _remove(self, path: str) -> None:
        number = self._by_path.pop(path)
        self._by_number.pop(number, None)
        self._libc.inotify_rm_watch(self.fd, number)

    def _refusal(self, path: str, why: int) -> HostError:
        if why in (errno.ENOSPC, errno.EMFILE):
            limit = "max_user_watches" if why == errno.ENOSPC else "max_user_instances"
            return LimitReached(
                path, f"can't be watched: the limit fs.inotify.{limit} is reached; raise it with sysctl"
            )
        return HostError(path, f"can't be watched: {os.strerror(why)}")


def _below(tree: str, depth: int = 0) -> Iterable[str]:
    """A directory and all below it; links are not followed."""
    yield tree
    if depth >= _DEPTH_MAX:
        return
    try:
        with os.scandir(tree) as scan:
            inner = [entry.path for entry in scan if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for path in inner:
        yield from _below(path, depth + 1)
