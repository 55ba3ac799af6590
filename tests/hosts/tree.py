"""A small language for host trees: directories that hold a machine, written by code.

    tree = Tree(tmp_path)
    tree.file("/etc/os-release", "ID=debian\\n")
    tree.link("/lib", "usr/lib")
    tree.fifo("/etc/adjtime")

Paths are absolute paths inside the host. A path is a str as os.fsdecode gives it, so a name that is not
UTF-8 is written with os.fsdecode(b"..."). Parents are made as needed. Nothing is ever written outside the
tree: a parent that leads out by a link is refused.
"""

from __future__ import annotations

import gzip
import os
import shutil
import stat
from pathlib import Path
from typing import Union

Content = Union[str, bytes]


class Tree:
    """A host tree under construction at `root`, a directory that is made if it is not there."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        self.root.mkdir(parents=True, exist_ok=True)
        self._real = os.path.realpath(self.root)

    def __fspath__(self) -> str:
        return str(self.root)

    def at(self, path: str) -> str:
        """Where `path` of the host lies on this machine; links in its parents are followed, none out of the tree."""
        parent, name = os.path.split(self._real + "/" + path.strip("/"))
        real = os.path.realpath(parent)
        if real != self._real and not real.startswith(self._real + "/"):
            raise ValueError(f"{path}: its parent leads out of the tree, to {real}")
        return os.path.join(real, name)

    def _place(self, path: str) -> str:
        """`path` on this machine, free to be made: its parents are there, it is not."""
        where = self.at(path)
        os.makedirs(os.path.dirname(where), exist_ok=True)
        if os.path.lexists(where):
            os.unlink(where)
        return where

    def file(self, path: str, content: Content = b"", mode: int = 0o644) -> Tree:
        """A regular file; a link or file that stood there is replaced, not written through."""
        data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
        where = self._place(path)
        Path(where).write_bytes(data)
        os.chmod(where, mode)
        return self

    def script(self, path: str, content: Content) -> Tree:
        """A file that its owner may execute, mode 0755."""
        return self.file(path, content, 0o755)

    def gz(self, path: str, content: Content) -> Tree:
        """A file, gzip-compressed without a time stamp: the same content gives the same bytes."""
        data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
        return self.file(path, gzip.compress(data, 9, mtime=0))

    def directory(self, path: str, mode: int = 0o755) -> Tree:
        where = self.at(path)
        os.makedirs(where, exist_ok=True)
        os.chmod(where, mode)
        return self

    def link(self, path: str, target: str) -> Tree:
        """A symbolic link with `target` as its text, wherever that leads."""
        os.symlink(target, self._place(path))
        return self

    def fifo(self, path: str) -> Tree:
        """A FIFO: open(2) for reading blocks for ever on it unless O_NONBLOCK is given."""
        os.mkfifo(self._place(path), 0o644)
        return self

    def sparse(self, path: str, size: int, head: bytes = b"") -> Tree:
        """A regular file of `size` bytes that takes no room on the disk: `head`, then zeros."""
        where = self._place(path)
        with open(where, "wb") as file:
            file.write(head)
            file.truncate(size)
        return self

    def remove(self, path: str) -> Tree:
        """Take away a file, a link or a whole directory."""
        where = self.at(path)
        if stat.S_ISDIR(os.lstat(where).st_mode):
            shutil.rmtree(where)
        else:
            os.unlink(where)
        return self
