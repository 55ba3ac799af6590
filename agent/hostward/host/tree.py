"""Files of a host: every path is taken inside its root, as in a chroot, whatever the links in it say.

A path is walked one component at a time with directory descriptors, and each link is read and
followed by us, so an absolute link or `..` cannot leave the root and nothing can be swapped under
the walk.  The running machine's root is `/`, where the kernel's own walk does the same.
"""

from __future__ import annotations

import errno
import os
import stat
from types import TracebackType

from hostward.host.errors import HostError, Missing, NotRegular, TooLarge, from_oserror

_LINKS_MAX = 40  # as the kernel's MAXSYMLINKS
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOCTTY
_WALK = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
ENTRIES_MAX = 100_000


class File:
    """A regular file opened for reading.  `size` is in bytes; 0 for what /proc and /sys make up as it is read.

    There is no mmap on purpose: a file cut short under a mapping ends the process with SIGBUS.
    """

    __slots__ = ("fd", "path", "stat")

    def __init__(self, fd: int, path: str, status: os.stat_result) -> None:
        self.fd = fd
        self.path = path
        self.stat = status

    @property
    def size(self) -> int:
        return self.stat.st_size

    def read_at(self, offset: int, count: int) -> bytes:
        """At most `count` bytes from `offset`; fewer at the end of the file."""
        try:
            return os.pread(self.fd, count, offset)
        except OSError as error:
            raise from_oserror(self.path, error) from None

    def read(self, limit: int) -> bytes:
        """The whole file.  Raises TooLarge when it has more than `limit` bytes."""
        if self.stat.st_size > limit:
            raise TooLarge(self.path, f"{self.stat.st_size} bytes, more than the {limit} that make sense here")
        chunks: list[bytes] = []
        got = 0
        try:
            while True:
                chunk = os.read(self.fd, min(max(self.stat.st_size - got + 1, 65536), limit + 1 - got))
                if not chunk:
                    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
                chunks.append(chunk)
                got += len(chunk)
                if got > limit:
                    raise TooLarge(self.path, f"more than the {limit} bytes that make sense here")
        except OSError as error:
            raise from_oserror(self.path, error) from None

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> File:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open_regular(name: str, directory: int | None, path: str) -> File:
    """Opens a regular file and nothing else; a device or FIFO is never opened, not even for a moment."""
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=directory is None)
        if not stat.S_ISREG(status.st_mode):
            raise NotRegular(path, f"is {kind_of(status.st_mode)}, not a regular file")
        nofollow = 0 if directory is None else os.O_NOFOLLOW
        fd = os.open(name, _READ | nofollow, dir_fd=directory)
    except OSError as error:
        raise from_oserror(path, error) from None
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise NotRegular(path, f"is {kind_of(status.st_mode)}, not a regular file")
    return File(fd, path, status)


def kind_of(mode: int) -> str:
    for test, word in (
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a character device"),
        (stat.S_ISBLK, "a block device"),
    ):
        if test(mode):
            return word
    return "a regular file"


class Directory:
    """An open directory, for work on many files: names are looked up in it and links are never followed."""

    __slots__ = ("fd", "path")

    def __init__(self, fd: int, path: str) -> None:
        self.fd = fd
        self.path = path

    def entries(self) -> list[tuple[str, str]]:
        """(name, kind) of each entry, sorted; kind is file, dir, link or other."""
        found: list[tuple[str, str]] = []
        try:
            with os.scandir(self.fd) as scan:
                for entry in scan:
                    if entry.is_file(follow_symlinks=False):
                        kind = "file"
                    elif entry.is_dir(follow_symlinks=False):
                        kind = "dir"
                    elif entry.is_symlink():
                        kind = "link"
                    else:
                        kind = "other"
                    found.append((entry.name, kind))
                    if len(found) > ENTRIES_MAX:
                        raise TooLarge(self.path, f"a directory of more than {ENTRIES_MAX} entries")
        except OSError as error:
            raise from_oserror(self.path, error) from None
        found.sort()
        return found

    def open(self, name: str) -> File:
        """The regular file `name` of this directory; a link of that name is refused (NotRegular)."""
        return _open_regular(name, self.fd, self.child(name))

    def sub(self, name: str) -> Directory:
        """The directory `name` of this directory; a link of that name is refused."""
        try:
            return Directory(os.open(name, _LIST | os.O_NOFOLLOW, dir_fd=self.fd), self.child(name))
        except OSError as error:
            raise from_oserror(self.child(name), error) from None

    def lstat(self, name: str) -> os.stat_result:
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except OSError as error:
            raise from_oserror(self.child(name), error) from None

    def readlink(self, name: str) -> str:
        try:
            return os.readlink(name, dir_fd=self.fd)
        except OSError as error:
            raise from_oserror(self.child(name), error) from None

    def child(self, name: str) -> str:
        return f"{self.path.rstrip('/')}/{name}"

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Directory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Walk:
    """The end of a walk: the last component's name in an open directory, or that directory itself."""

    __slots__ = ("names", "parents", "tail")

    def __init__(self, parents: list[int], names: list[str], tail: str | None) -> None:
        self.parents = parents
        self.names = names
        self.tail = tail

    @property
    def directory(self) -> int:
        return self.parents[-1]

    @property
    def path(self) -> str:
        return "/" + "/".join(self.names + ([self.tail] if self.tail is not None else []))

    def __enter__(self) -> _Walk:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for fd in self.parents:
            os.close(fd)


def _refuse_nul(path: str) -> None:
    """Lists of a hostile host may name files that no file system can hold; for the os module that is no OSError."""
    if "\0" in path:
        raise Missing(path, "no file has a NUL byte in its name")


class Tree:
    """The files of one host.  Paths are absolute paths inside it."""

    def __init__(self, root: str) -> None:
        self.root = root

    def _walk(self, path: str, follow: bool) -> _Walk:
        """Walks to `path` without leaving the root.  Raises OSError."""
        parents = [os.open(self.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]
        names: list[str] = []
        todo = path.split("/")[::-1]
        links = 0
        try:
            while todo:
                name = todo.pop()
                if name in ("", "."):
                    continue
                if name == "..":
                    if names:
                        names.pop()
                        os.close(parents.pop())
                    continue
                last = not any(part not in ("", ".") for part in todo)
                status = os.stat(name, dir_fd=parents[-1], follow_symlinks=False)
                if stat.S_ISLNK(status.st_mode) and (follow or not last):
                    links += 1
                    if links > _LINKS_MAX:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                    target = os.readlink(name, dir_fd=parents[-1])
                    if target.startswith("/"):
                        while len(parents) > 1:
                            os.close(parents.pop())
                        names.clear()
                    todo += target.split("/")[::-1]
                    continue
                if last:
                    return _Walk(parents, names, name)
                parents.append(os.open(name, _WALK, dir_fd=parents[-1]))
                names.append(name)
            return _Walk(parents, names, None)
        except BaseException:
            for fd in parents:
                os.close(fd)
            raise

    def open(self, path: str) -> File:
        """A regular file.  Raises Missing, NotRegular, Unreadable."""
        _refuse_nul(path)
        if self.root == "/":
            return _open_regular(path, None, path)
        try:
            walk = self._walk(path, follow=True)
        except OSError as error:
            raise from_oserror(path, error) from None
        with walk:
            if walk.tail is None:
                raise NotRegular(path, "is a directory, not a regular file")
            return _open_regular(walk.tail, walk.directory, path)

    def directory(self, path: str) -> Directory:
        """An open directory.  Raises Missing, NotRegular, Unreadable."""
        _refuse_nul(path)
        try:
            if self.root == "/":
                return Directory(os.open(path, _LIST), path)
            with self._walk(path, follow=True) as walk:
                name = "." if walk.tail is None else walk.tail
                return Directory(os.open(name, _LIST | os.O_NOFOLLOW, dir_fd=walk.directory), path)
        except NotADirectoryError:
            raise NotRegular(path, "is not a directory") from None
        except OSError as error:
            raise from_oserror(path, error) from None

    def read(self, path: str, limit: int = 1 << 20) -> bytes:
        """The whole of a regular file.  Raises TooLarge when it has more than `limit` bytes."""
        with self.open(path) as file:
            return file.read(limit)

    def text(self, path: str, limit: int = 1 << 20) -> str:
        """The whole of a file as UTF-8; bytes that are not become surrogates."""
        return self.read(path, limit).decode("utf-8", "surrogateescape")

    def names(self, path: str) -> list[str]:
        """The names in a directory, sorted."""
        with self.directory(path) as directory:
            return [name for name, _ in directory.entries()]

    def _stat(self, path: str, follow: bool) -> os.stat_result:
        _refuse_nul(path)
        try:
            if self.root == "/":
                return os.stat(path, follow_symlinks=follow)
            with self._walk(path, follow) as walk:
                if walk.tail is None:
                    return os.fstat(walk.directory)
                return os.stat(walk.tail, dir_fd=walk.directory, follow_symlinks=False)
        except OSError as error:
            raise from_oserror(path, error) from None

    def stat(self, path: str) -> os.stat_result:
        return self._stat(path, True)

    def lstat(self, path: str) -> os.stat_result:
        return self._stat(path, False)

    def _is(self, path: str, follow: bool, *tests: object) -> bool:
        try:
            mode = self._stat(path, follow).st_mode
        except HostError:
            return False
        return all(test(mode) for test in tests if callable(test))

    def exists(self, path: str) -> bool:
        return self._is(path, True)

    def is_dir(self, path: str) -> bool:
        return self._is(path, True, stat.S_ISDIR)

    def is_file(self, path: str) -> bool:
        return self._is(path, True, stat.S_ISREG)

    def is_link(self, path: str) -> bool:
        return self._is(path, False, stat.S_ISLNK)

    def readlink(self, path: str) -> str:
        """The text of a symbolic link, as it stands there."""
        _refuse_nul(path)
        try:
            if self.root == "/":
                return os.readlink(path)
            with self._walk(path, follow=False) as walk:
                return os.readlink(walk.tail or ".", dir_fd=walk.directory)
        except OSError as error:
            raise from_oserror(path, error) from None

    def resolve(self, path: str) -> str:
        """The same file's path inside the host with no link left in it.  Raises Missing where a link dangles."""
        _refuse_nul(path)
        try:
            with self._walk(path, follow=True) as walk:
                return walk.path
        except OSError as error:
            raise from_oserror(path, error) from None
