"""Where a package's scriptlet runs: on a live machine or in a tree that is being filled, and in which transaction."""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct

from hostward.host.errors import HostError

#: Where rpm keeps the lock that it holds for a transaction (%_rpmlock_path: .rpm.lock beside the database).
RPM_LOCKS = ("/usr/lib/sysimage/rpm/.rpm.lock", "/var/lib/rpm/.rpm.lock")
#: struct flock of the C library on every 64-bit Linux: type, whence, start, length, pid.
_FLOCK = struct.Struct("hhqqi4x")
#: What was done in the last transaction, by digest.
_DONE = "/run/hostward/scriptlet"


def not_live(root: str = "/") -> str:
    """Why this is no running system of its own, "" where it is one: then nothing may be started, loaded or repaired.

    A chroot (mock, `rpm --root`, `dnf --installroot`) has another root directory than process 1 (as systemd's
    running_in_chroot() looks); an image build or a container without an init has no /run/systemd/system
    (sd_booted(3)); rpm-ostree runs scriptlets in a tree that only becomes the system at the next boot.
    """
    if os.geteuid() != 0:
        return "not run by root"
    try:
        ours, init = os.stat(root), os.stat("/proc/1/root/.")
    except OSError as error:
        return f"whether this is a chroot can't be told ({error.filename}: {error.strerror})"
    if (ours.st_dev, ours.st_ino) != (init.st_dev, init.st_ino):
        return "a chroot"
    if os.path.exists("/run/ostree-booted"):
        return "rpm-ostree: the tree that is being changed is not the one that runs"
    if not os.path.isdir("/run/systemd/system"):
        return "systemd does not run here: an image build or a container"
    return ""


def rpm_transaction() -> str:
    """The rpm transaction that is under way on this root, "" for none: the process that holds rpm's lock, and when it
    began."""
    for path in RPM_LOCKS:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            continue
        try:
            asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, _, _, _, process = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_GETLK, asked))
        except (OSError, struct.error):
            continue
        finally:
            os.close(fd)
        if kind == fcntl.F_WRLCK:
            return f"{process} {_begun(process)}"
    return ""


def _begun(process: int) -> str:
    """When a process began, in ticks since the boot (field 22 of /proc/PID/stat), "" where that can't be read."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            return file.read(4096).rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError):
        return ""


def first_in_transaction(what: str) -> bool:
    """Whether this is the first time that `what` is done in the rpm transaction under way; from now on it was done.

    Always so outside a transaction, and where /run can't be written to.
    """
    transaction = rpm_transaction()
    if not transaction:
        return True
    from hostward.host.place import own_directory

    head = f"{transaction}\n".encode()
    line = hashlib.sha256(what.encode("utf-8", "surrogateescape")).hexdigest().encode() + b"\n"
    try:
        own_directory(os.path.dirname(_DONE))
        fd = os.open(_DONE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        try:
            before = os.read(fd, 1 << 16)
            if not before.startswith(head):
                os.ftruncate(fd, 0)
                before = b""
            elif line in before:
                return False
            os.pwrite(fd, (before or head) + line, 0)
        finally:
            os.close(fd)
    except (HostError, OSError):
        pass
    return True


def names_on_stdin(limit: int = 32 << 20) -> list[str]:
    """The lines on standard input, none from a terminal.  A file trigger gets the names of files so."""
    if os.isatty(0):
        return []
    data = b""
    try:
        while len(data) < limit:
            got = os.read(0, 1 << 16)
            if not got:
                break
            data += got
    except OSError:
        return []
    return data.decode("utf-8", "surrogateescape").split("\n")
