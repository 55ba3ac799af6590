"""The system clock, looked at and never touched: adjtimex(2) with no mode set, and pairs of clocks at one instant.

The real-time clock and the PTP clocks have doors of their own, host/rtc.py and host/ptp.py.
"""

from __future__ import annotations

import functools
import io
import os
import time
from dataclasses import dataclass
from typing import Any

from hostward.host.errors import HostError

_PAIRS = 5


@dataclass(frozen=True)
class Instant:
    """CLOCK_REALTIME and CLOCK_MONOTONIC_RAW at one instant, in ns, right to within `bound_ns` of each other."""

    realtime_ns: int
    raw_ns: int
    bound_ns: int

    def realtime_at(self, raw_ns: int) -> int:
        """What CLOCK_REALTIME showed at a near instant of CLOCK_MONOTONIC_RAW, in ns.

        The two differ in rate by the frequency correction: 0.5 us a ms at the 500 ppm that adjtimex(2) allows.
        """
        return self.realtime_ns - (self.raw_ns - raw_ns)


def raw_ns() -> int:
    """CLOCK_MONOTONIC_RAW, which no keeper steers, in ns."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)


def now() -> Instant:
    """The narrowest of a few pairs, so that an interruption between two readings does not count."""
    return min((_pair() for _ in range(_PAIRS)), key=lambda pair: pair.bound_ns)


def _pair() -> Instant:
    before = raw_ns()
    real = time.clock_gettime_ns(time.CLOCK_REALTIME)
    after = raw_ns()
    return Instant(real, (before + after) // 2, (after - before + 1) // 2)


@dataclass(frozen=True)
class Timex:
    """struct timex as the kernel filled it, in its own units (adjtimex(2)); `state` is what the call returned.

    `offset` is in us, or ns where `status` has STA_NANO; `freq` in ppm << 16; `maxerror` and `esterror` in us;
    `tick` in us per tick of USER_HZ.
    """

    state: int
    offset: int
    freq: int
    maxerror: int
    esterror: int
    status: int
    tick: int
    tai: int


def adjtimex() -> Timex:
    """adjtimex(2) with modes = 0, which reads and sets nothing and needs no privilege.

    Raises HostError with the kernel's words (a seccomp filter, say).
    """
    import ctypes

    call, structure = _door()
    timex = structure()
    assert timex.modes == 0
    state = call(ctypes.byref(timex))
    if state < 0:
        raise HostError("adjtimex(2)", f"the kernel does not answer: {os.strerror(ctypes.get_errno())}")
    names = ("offset", "freq", "maxerror", "esterror", "status", "tick", "tai")
    return Timex(state, *(int(getattr(timex, name)) for name in names))


@functools.lru_cache(maxsize=1)
def _door() -> tuple[Any, Any]:
    """The C library's adjtimex and the struct timex of its word size (include/uapi/linux/timex.h)."""
    import ctypes

    class Structure(ctypes.Structure):
        _fields_ = [
            ("modes", ctypes.c_uint),
            *((name, ctypes.c_long) for name in ("offset", "freq", "maxerror", "esterror")),
            ("status", ctypes.c_int),
            *((name, ctypes.c_long) for name in ("constant", "precision", "tolerance", "sec", "usec", "tick")),
            *((name, ctypes.c_long) for name in ("ppsfreq", "jitter")),
            ("shift", ctypes.c_int),
            *((name, ctypes.c_long) for name in ("stabil", "jitcnt", "calcnt", "errcnt", "stbcnt")),
            ("tai", ctypes.c_int),
            ("reserved", ctypes.c_int * 11),
        ]

    call = ctypes.CDLL(None, use_errno=True).adjtimex
    call.argtypes = [ctypes.POINTER(Structure)]
    call.restype = ctypes.c_int
    return call, Structure


def user_hz() -> int:
    """USER_HZ: the nominal tick is 1,000,000 / USER_HZ us."""
    return os.sysconf("SC_CLK_TCK")


def as_utc(local_s: float, zone: bytes) -> float:
    """Seconds since the epoch of a wall clock time that was counted as if it were UTC.

    `zone` is the content of /etc/localtime (tzfile(5)), empty for UTC.  Of the two readings of an hour that comes
    twice the first is taken, as mktime(3) without a hint does.  Raises ValueError for what is no tzfile.
    """
    if not zone:
        return local_s
    from datetime import datetime, timedelta, timezone
    from zoneinfo import ZoneInfo

    wall = datetime(1970, 1, 1) + timedelta(seconds=local_s)
    there = wall.replace(tzinfo=ZoneInfo.from_file(io.BytesIO(zone)))
    return (there.astimezone(timezone.utc) - datetime(1970, 1, 1, tzinfo=timezone.utc)).total_seconds()
