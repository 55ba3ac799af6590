"""Steps of the system clock, told by the kernel at once: a timerfd that is cancelled when the clock is set."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import time

from hostward.host.errors import HostError

_CLOCK_REALTIME = 0
_ABSTIME, _CANCEL_ON_SET = 1, 2  # TFD_TIMER_*, timerfd_create(2)
_ITIMERSPEC = struct.Struct("qqqq")
#: The timer itself never matters; it is set as far away as a 64-bit time in ns reaches.
_FAR_S = 9_000_000_000


class ClockSteps:
    """`fd` becomes readable when the clock was set.  Raises HostError where the kernel has no such timer."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd: int = self._libc.timerfd_create(_CLOCK_REALTIME, os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise HostError("timerfd", f"steps of the clock can't be seen: {os.strerror(ctypes.get_errno())}")
        self._ahead_s = _ahead()
        self._arm()

    def fileno(self) -> int:
        return self.fd

    def read(self) -> float | None:
        """By how many seconds the clock was set since the last read, None for not at all.

        A machine that comes back from suspend sets its clock too: by as much as it slept, which is no step.
        """
        stepped = False
        while True:
            try:
                os.read(self.fd, 8)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ECANCELED:
                    raise
                stepped = True
            self._arm()
            if stepped:
                break
        before, self._ahead_s = self._ahead_s, _ahead()
        return self._ahead_s - before if stepped else None

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _arm(self) -> None:
        new = (ctypes.c_char * _ITIMERSPEC.size).from_buffer_copy(_ITIMERSPEC.pack(0, 0, _FAR_S, 0))
        if self._libc.timerfd_settime(self.fd, _ABSTIME | _CANCEL_ON_SET, new, None) < 0:
            why = ctypes.get_errno()
            if why != errno.ECANCELED:  # it was set again while we armed it: the next read tells
                raise HostError("timerfd", f"steps of the clock can't be seen: {os.strerror(why)}")


def _ahead() -> float:
    """How far the system clock is ahead of the time since boot, sleep included, in seconds."""
    return (time.clock_gettime_ns(time.CLOCK_REALTIME) - time.clock_gettime_ns(time.CLOCK_BOOTTIME)) / 1e9
