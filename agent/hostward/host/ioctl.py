"""Numbers of ioctls, and device nodes opened without side effects."""

from __future__ import annotations

import os
import stat

from hostward.host.errors import NotRegular, from_oserror

READ, WRITE = 2, 1  # from the kernel, to the kernel: _IOC_READ, _IOC_WRITE of include/uapi/asm-generic/ioctl.h
_OTHERS = ("ppc", "mips", "sparc", "alpha")


def number(direction: int, kind: str, nr: int, size: int) -> int:
    """_IOC of include/uapi/asm-generic/ioctl.h, or of the architectures that have their own (powerpc, mips, sparc)."""
    if os.uname().machine.startswith(_OTHERS):
        # _IOC_NONE is 1 there, _IOC_READ 2, _IOC_WRITE 4, and the size has 13 bits.
        there = (2 if direction & READ else 0) | (4 if direction & WRITE else 0) or 1
        return there << 29 | size << 16 | ord(kind) << 8 | nr
    return direction << 30 | size << 16 | ord(kind) << 8 | nr


def open_device(path: str) -> int:
    """A character device, open for reading.  Raises Missing, NotRegular, or Unreadable with the kernel's words."""
    try:
        if not stat.S_ISCHR(os.stat(path).st_mode):
            raise NotRegular(path, "is not a character device")
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        raise from_oserror(path, error) from None


def ask(fd: int, request: int, data: bytes) -> bytes:
    """ioctl(2) with a structure to and fro; what it holds afterwards.  Raises OSError."""
    import fcntl

    buffer = bytearray(data)  # bytes would be cut at 1,024
    fcntl.ioctl(fd, request, buffer, True)
    return bytes(buffer)
