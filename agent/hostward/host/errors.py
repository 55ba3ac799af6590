"""What can go wrong between hostward and a machine, in words for the person who reads it."""

from __future__ import annotations

import errno
import os


class HostError(Exception):
    """Something of the host could not be read or done.  `path` is the path inside the host."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class Missing(HostError):
    """No such file or directory."""


class NotRegular(HostError):
    """A FIFO, socket, device or directory stands where a file was expected, or a file where a directory was."""


class TooLarge(HostError):
    """Larger than anything that belongs there."""


class Unreadable(HostError):
    """Permission, a loop of links or an input/output error."""


class NotLive(HostError):
    """Only a running machine can do this; this host is a tree looked at from outside."""


class Untrusted(HostError):
    """A program that someone other than root could have replaced."""


class Changed(HostError):
    """What stands there is not what was expected, so nothing was touched."""


def from_oserror(path: str, error: OSError) -> HostError:
    """The HostError that says what an OSError means."""
    if error.errno == errno.ENOENT:
        return Missing(path, "does not exist")
    if error.errno == errno.ENOTDIR:
        return Missing(path, "does not exist (a file stands where a directory of its path should be)")
    if error.errno == errno.ELOOP:
        return Unreadable(path, "symbolic links in a loop")
    if error.errno in (errno.EACCES, errno.EPERM):
        return Unreadable(path, "permission denied" + ("" if os.geteuid() == 0 else " (run as root to see it)"))
    if error.errno == errno.ENAMETOOLONG:
        return Unreadable(path[:80] + "...", "the name is too long")
    return Unreadable(path, os.strerror(error.errno) if error.errno else str(error))
