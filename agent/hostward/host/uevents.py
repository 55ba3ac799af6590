"""The kernel's own news of its modules: uevents by netlink, as udev hears them."""

from __future__ import annotations

import os
import socket

from hostward.host.errors import HostError

_KOBJECT_UEVENT = 15  # NETLINK_KOBJECT_UEVENT, linux/netlink.h
_KERNELS = 1  # the multicast group that the kernel itself speaks in; udev repeats its messages in another
_MESSAGE_MAX = 64 << 10


class ModuleEvents:
    """Modules that came and went since the last `read`.  Raises HostError where there is no such socket."""

    def __init__(self) -> None:
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, _KOBJECT_UEVENT
            )
            self._socket.bind((0, _KERNELS))
        except OSError as error:
            raise HostError("the kernel's uevents", f"can't be heard: {os.strerror(error.errno or 0)}") from None
        self.fd = self._socket.fileno()

    def fileno(self) -> int:
        return self.fd

    def read(self) -> tuple[list[str], bool]:
        """(names of the modules, whether some events were lost)."""
        names: dict[str, None] = {}
        lost = False
        while True:
            try:
                data, (sender, _) = self._socket.recvfrom(_MESSAGE_MAX)
            except BlockingIOError:
                return list(names), lost
            except OSError:
                lost = True  # ENOBUFS: more came than the socket holds
                continue
            if sender != 0:
                continue  # not the kernel
            name = module_of(data)
            if name:
                names[name] = None

    def close(self) -> None:
        self._socket.close()


def module_of(message: bytes) -> str:
    """The module that a uevent says came or went, "" for any other (lib/kobject_uevent.c)."""
    fields = message.split(b"\0")
    if b"SUBSYSTEM=module" not in fields:
        return ""
    action, _, path = fields[0].partition(b"@")
    if action not in (b"add", b"remove") or not path.startswith(b"/module/"):
        return ""
    return path[len(b"/module/") :].decode("utf-8", "replace")
