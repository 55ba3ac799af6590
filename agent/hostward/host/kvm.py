"""The one question hostward asks of /dev/kvm itself."""

from __future__ import annotations

import os
import stat

from hostward.host.errors import HostError, NotRegular, from_oserror

KVM_GET_API_VERSION = 0xAE00  # _IO(KVMIO, 0x00), Documentation/virt/kvm/api.rst


def api_version(path: str = "/dev/kvm") -> int:
    """What KVM_GET_API_VERSION answers: 12 on every kernel since 2.6.22.

    Raises Missing, NotRegular where no character device stands there (a FIFO is never opened), or
    HostError with the kernel's words for why it can't be opened or asked.
    """
    try:
        if not stat.S_ISCHR(os.stat(path).st_mode):
            raise NotRegular(path, "is not a character device")
        fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        raise from_oserror(path, error) from None
    try:
        import fcntl

        return fcntl.ioctl(fd, KVM_GET_API_VERSION, 0)
    except OSError as error:
        raise HostError(path, f"does not answer KVM_GET_API_VERSION: {os.strerror(error.errno or 0)}") from None
    finally:
        os.close(fd)
