"""Changing files and links of a host so that a kill, a full disk or a power cut leaves the old state or the new one.

Every change takes the state that was seen before it (`look`) and refuses where something else stands there by now.
Whatever is made is made beside its place under a name of hostward's own, synced, and renamed into it.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from hostward.host.errors import Changed, HostError, NotRegular, from_oserror
from hostward.host.tree import Tree, kind_of

#: The largest file that is changed, in bytes; configuration files are far smaller.
FILE_MAX = 8 << 20
#: What a name of hostward's own begins with, beside the place that it is renamed into.
TEMPORARY = ".hostward-"


@dataclass(frozen=True)
class State:
    """What stands at a path: `kind` is "absent", "link", "file" or "directory" (of which only that it is one counts).

    `target` is a link's text.  Of a file: `sha256` of its content, `mode`, `uid`, `gid`, and `label` (security.selinux
    as hexadecimal, "" without one).
    """

    kind: str
    target: str = ""
    sha256: str = ""
    mode: int = 0
    uid: int = 0
    gid: int = 0
    label: str = ""

    @property
    def words(self) -> str:
        """For an error message."""
        if self.kind == "link":
            return f"a link to {self.target}"
        if self.kind == "file":
            return f"a file (sha256 {self.sha256[:12]}, mode {self.mode:o})"
        return "nothing" if self.kind == "absent" else "a directory"

    def same(self, other: State) -> bool:
        """Whether both are the same to whoever reads the path; the label is not compared."""
        return (self.kind, self.target, self.sha256, self.mode, self.uid, self.gid) == (
            (other.kind, other.target, other.sha256, other.mode, other.uid, other.gid)
        )


def digest(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def look(tree: Tree, path: str) -> tuple[State, bytes]:
    """What stands at a path, no link followed at its end, and a file's content.

    Raises NotRegular for a FIFO or device, and HostError for what can't be read.
    """
    with _Place(tree, path) as place:
        return place.look()


def put(tree: Tree, path: str, before: State, after: State, data: bytes = b"") -> None:
    """Makes `after` stand at `path` where `before` (or `after` already) does, and syncs it.

    Raises Changed where anything else stands there; then nothing was touched.
    """
    with _Place(tree, path) as place:
        now, _ = place.look()
        if now.same(after):
            return
        if not now.same(before):
            raise Changed(path, f"not touched: {now.words} stands there by now, where {before.words} was")
        place.put(now, after, data)


class _Place:
    """A name in an open directory: whatever is renamed above it meanwhile, this directory is what is worked in."""

    def __init__(self, tree: Tree, path: str) -> None:
        self.path = path
        parent, _, self.name = path.rstrip("/").rpartition("/")
        if self.name in ("", ".", ".."):
            raise NotRegular(path, "is no name of a file")
        self.directory = tree.directory(parent or "/")

    def __enter__(self) -> _Place:
        return self

    def __exit__(self, *_: object) -> None:
        self.directory.close()

    def look(self) -> tuple[State, bytes]:
        try:
            status = os.stat(self.name, dir_fd=self.directory.fd, follow_symlinks=False)
        except FileNotFoundError:
            return State("absent"), b""
        except OSError as error:
            raise from_oserror(self.path, error) from None
        if stat.S_ISLNK(status.st_mode):
            return State("link", self.directory.readlink(self.name), uid=status.st_uid, gid=status.st_gid), b""
        if stat.S_ISDIR(status.st_mode):
            return State("directory"), b""
        if not stat.S_ISREG(status.st_mode):
            raise NotRegular(self.path, f"is {kind_of(status.st_mode)}, neither a file nor a link")
        with self.directory.open(self.name) as file:
            data = file.read(FILE_MAX)
            mode = stat.S_IMODE(file.stat.st_mode)
            label = _label(file.fd)
            return State("file", "", digest(data), mode, file.stat.st_uid, file.stat.st_gid, label), data

    def put(self, before: State, after: State, data: bytes) -> None:
        fd = self.directory.fd
        try:
            if after.kind == "absent" and before.kind == "directory":
                os.rmdir(self.name, dir_fd=fd)
            elif after.kind == "absent":
                os.unlink(self.name, dir_fd=fd)
            elif after.kind == "directory":
                os.mkdir(self.name, 0o755, dir_fd=fd)
            else:
                temporary = f"{TEMPORARY}{self.name}"[:255]
                try:
                    os.unlink(temporary, dir_fd=fd)  # one that a kill left behind
                except FileNotFoundError:
                    pass
                try:
                    self._make(temporary, after, data)
                    os.rename(temporary, self.name, src_dir_fd=fd, dst_dir_fd=fd)
                except OSError:
                    try:
                        os.unlink(temporary, dir_fd=fd)
                    except OSError:
                        pass
                    raise
            os.fsync(fd)
        except OSError as error:
            raise HostError(self.path, f"can't be changed: {os.strerror(error.errno or 0)}") from None

    def _make(self, name: str, after: State, data: bytes) -> None:
        if after.kind == "link":
            os.symlink(after.target, name, dir_fd=self.directory.fd)
            os.chown(name, after.uid, after.gid, dir_fd=self.directory.fd, follow_symlinks=False)
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(name, flags, 0o600, dir_fd=self.directory.fd)
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(file, left) :]
            os.fchown(file, after.uid, after.gid)
            os.fchmod(file, after.mode)
            if after.label:
                try:
                    os.setxattr(file, "security.selinux", bytes.fromhex(after.label))
                except OSError:
                    pass  # where SELinux is off the old label means nothing
            os.fsync(file)
        finally:
            os.close(file)


def _label(fd: int) -> str:
    try:
        return os.getxattr(fd, "security.selinux").hex()
    except OSError:
        return ""


def sweep(tree: Tree, path: str) -> None:
    """Removes what a kill left beside a path: the half-made file under hostward's own name."""
    try:
        with _Place(tree, path) as place:
            os.unlink(f"{TEMPORARY}{place.name}"[:255], dir_fd=place.directory.fd)
    except (HostError, OSError):
        pass
