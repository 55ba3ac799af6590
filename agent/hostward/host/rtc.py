"""The real-time clock, read at the turn of its second, to a millisecond or two.

An RTC shows whole seconds; only the instant at which they turn tells more.  The update interrupt (RTC_UIE) does not:
where HPET stands in for the RTC's interrupts the kernel looks at the clock 64 times a second and reports the turn up
to 16 ms late (arch/x86/kernel/hpet.c), and /dev/rtcN can be open only once, so that hwclock or chronyd would find it
busy.  Here the clock is read with sleeps in between, coarsely up to a first turn, then finely around the next one.
Each reading proves a bound: the turn was after the last that showed the old second and before the first with the new.
"""

from __future__ import annotations

import calendar
import os
import struct
import time
from dataclasses import dataclass
from types import TracebackType

from hostward.host.clock import Instant, now, raw_ns
from hostward.host.errors import HostError, Missing, NotRegular, from_oserror
from hostward.host.ioctl import READ, ask, number, open_device

RTC_RD_TIME = number(READ, "p", 0x09, 36)
_TM = struct.Struct("9i")

SECOND = 1_000_000_000
_COARSE = 30_000_000
_FINE = 1_000_000
#: A bound that is narrow enough, in ns; else the next turn is tried too.
_GOOD = 3_000_000
_TURNS_MAX = 4
#: No turn within this: the clock stands still.
_STILL = 1_500_000_000


@dataclass(frozen=True)
class RtcTime:
    """At the instant `at` the RTC's calendar, counted as UTC, was `shown_s` since the epoch, to within `bound_s`."""

    device: str
    shown_s: float
    at: Instant
    bound_s: float


class Rtc:
    """One RTC.  `sys` is its directory in sysfs, whose since_epoch anyone may read and nobody can hold busy;
    `device` its device, for kernels without that file.

    Raises HostError where neither can be read, with the reason of each.
    """

    def __init__(self, sys: str, device: str) -> None:
        self.device = device
        self._fd, self._sysfs = -1, True
        try:
            self._fd = os.open(f"{sys}/since_epoch", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            first = from_oserror(f"{sys}/since_epoch", error)
            self._sysfs = False
            try:
                self._fd = open_device(device)
            except (Missing, NotRegular) as missing:
                raise Missing(device, f"{missing.reason}, nor does {sys}: no RTC that the kernel knows") from None
            except HostError as second:
                raise HostError(device, f"{second.reason}; {first}") from None

    def __enter__(self) -> Rtc:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        os.close(self._fd)

    def seconds(self) -> int:
        """The calendar it shows, counted as UTC, in seconds since the epoch.

        Raises HostError where the clock has none (EINVAL: it lost its power) or its chip does not answer.
        """
        try:
            if self._sysfs:
                return int(os.pread(self._fd, 32, 0))
            second, minute, hour, day, month, year, *_ = _TM.unpack(ask(self._fd, RTC_RD_TIME, bytes(_TM.size)))
            return calendar.timegm((year + 1900, month + 1, day, hour, minute, second))
        except OSError as error:
            words = os.strerror(error.errno or 0)
            if error.errno == 22:
                words += ": it holds no valid date and time (a battery gone flat?); `hwclock --systohc` writes one"
            raise HostError(self.device, f"the clock can't be read: {words}") from None
        except ValueError:
            raise HostError(self.device, "the clock shows no valid date and time") from None

    def glance(self) -> RtcTime:
        """Read once, at any instant: right to half a second, without waiting."""
        before = raw_ns()
        shown = self.seconds()
        at = now()
        bound = SECOND // 2 + (at.raw_ns - before)
        return RtcTime(self.device, shown + 0.5, at, bound / SECOND)

    def turn(self) -> RtcTime:
        """Read at the turn of its second.  Sleeps one to two seconds, up to five on a busy machine.

        Raises HostError as `seconds` does, where the clock stands still, and where someone set it meanwhile.
        """
        low = raw_ns()
        second, low, high = self._change(self.seconds(), low, 0, _COARSE)
        best = self._between(second, low, high)
        for _ in range(_TURNS_MAX):
            if high - low <= _GOOD:
                break
            step = max(_FINE, (high - low) // 32)
            second, low, high = self._change(second, low, low + SECOND - 2 * _FINE, step)
            best = min(best, self._between(second, low, high), key=lambda read: read.bound_s)
        return best

    def _between(self, second: int, low: int, high: int) -> RtcTime:
        """That `second` came between two instants just past, in ns of CLOCK_MONOTONIC_RAW."""
        at = now()
        middle = (low + high) // 2
        there = Instant(at.realtime_at(middle), middle, at.bound_ns)
        return RtcTime(self.device, float(second), there, ((high - low + 1) // 2 + at.bound_ns) / SECOND)

    def _change(self, old: int, low: int, begin: int, step: int) -> tuple[int, int, int]:
        """Looks every `step` from `begin` on until it shows another second than `old`, which it did after `low`.

        Returns that second, and between which instants it came, by what was seen alone: when it was expected says
        nothing after a pause of the machine.  Instants are of CLOCK_MONOTONIC_RAW, all in ns.
        """
        time.sleep(max(0, begin - raw_ns()) / SECOND)
        begun = raw_ns()
        while True:
            before = raw_ns()
            shown = self.seconds()
            after = raw_ns()
            if shown != old:
                return self._one_later(old, shown), low, after
            if after - begun > _STILL:
                raise HostError(self.device, f"the clock stands still: no turn of its second in {_STILL / SECOND:g} s")
            low = before
            time.sleep(step / SECOND)

    def _one_later(self, old: int, new: int) -> int:
        if new != old + 1:
            raise HostError(
                self.device, f"it went from {old} to {new} while it was read: it was set, or this machine was stopped"
            )
        return new
