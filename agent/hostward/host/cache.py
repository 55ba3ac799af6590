"""What was worked out from large files, kept for the next run: never trusted further than the directory it lies in.

An entry is found by a key that names all it was made from (a file with its inode, size and times) and carries a
checksum of itself. Whatever is wrong with the cache, the answer is "nothing known", and the work is done anew.
"""

from __future__ import annotations

import os
import stat

#: More entries than this are not kept; those written longest ago go first.
ENTRIES_MAX = 64
#: The largest entry, in bytes: a full kernel's exports come to 1 MB.
ENTRY_MAX = 16 << 20
_MAGIC = b"hostward cache 1\n"


class Cache:
    """Entries in one directory, which must belong to this user and be writable by nobody else."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    @classmethod
    def of_this_agent(cls) -> Cache:
        """/var/cache/hostward for root; $XDG_CACHE_HOME/hostward or ~/.cache/hostward for anyone else."""
        if os.geteuid() == 0:
            return cls("/var/cache/hostward")
        base = os.environ.get("XDG_CACHE_HOME", "")
        if not base.startswith("/"):
            base = os.path.join(os.path.expanduser("~"), ".cache")
        return cls(os.path.join(base, "hostward"))

    def get(self, key: str) -> bytes | None:
        """What was put under this key, None for nothing that can be relied on."""
        try:
            directory = self._open()
            try:
                fd = os.open(_name(key), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
                with os.fdopen(fd, "rb") as file:
                    status = os.fstat(file.fileno())
                    if not stat.S_ISREG(status.st_mode) or not _ours(status):
                        return None
                    data = file.read(ENTRY_MAX)
            finally:
                os.close(directory)
        except OSError:
            return None
        head = _MAGIC + key.encode("utf-8", "surrogateescape") + b"\n"
        if not data.startswith(head):
            return None
        checksum, body = data[len(head) : len(head) + 32], data[len(head) + 32 :]
        return body if _checksum(body) == checksum else None

    def put(self, key: str, body: bytes) -> None:
        """Keeps `body` under this key, whole or not at all; nothing happens where that can't be done."""
        data = _MAGIC + key.encode("utf-8", "surrogateescape") + b"\n" + _checksum(body) + body
        if len(data) > ENTRY_MAX:
            return
        try:
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
            directory = self._open()
        except OSError:
            return
        part = f".{_name(key)}.{os.getpid()}"
        try:
            fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=directory)
            try:
                with os.fdopen(fd, "wb") as file:
                    file.write(data)
                os.rename(part, _name(key), src_dir_fd=directory, dst_dir_fd=directory)
            except OSError:
                os.unlink(part, dir_fd=directory)
            self._prune(directory)
        except OSError:
            pass
        finally:
            os.close(directory)

    def _open(self) -> int:
        """The directory, if nobody else could have put anything there.  Raises OSError."""
        fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        if not _ours(os.fstat(fd)):
            os.close(fd)
            raise PermissionError(f"{self.directory} is not this user's alone")
        return fd

    def _prune(self, directory: int) -> None:
        names = os.listdir(directory)
        if len(names) <= ENTRIES_MAX:
            return
        ages = sorted((os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime_ns, name) for name in names)
        for _, name in ages[: len(names) - ENTRIES_MAX]:
            os.unlink(name, dir_fd=directory)


def _ours(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _checksum(body: bytes) -> bytes:
    import hashlib

    return hashlib.sha256(body).digest()


def _name(key: str) -> str:
    import hashlib

    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:40]
