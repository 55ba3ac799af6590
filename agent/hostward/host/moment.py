"""An instant that can be compared later, whatever becomes of the system clock between."""

from __future__ import annotations

import os
import time

#: What is older than this by the wall clock, or younger than now, tells of a clock that was set, not of an age.
ABSURD_S = 10 * 365.25 * 86400


class Moment:
    """`at` is CLOCK_REALTIME in s, for people; `boot` the boot's id and `up` CLOCK_BOOTTIME in s, for intervals."""

    __slots__ = ("at", "boot", "up")

    def __init__(self, at: float, boot: str, up: float) -> None:
        self.at = at
        self.boot = boot
        self.up = up

    def __repr__(self) -> str:
        return f"Moment({self.at!r}, {self.boot!r}, {self.up!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Moment) and (self.at, self.boot, self.up) == (other.at, other.boot, other.up)

    def __hash__(self) -> int:
        return hash((self.at, self.boot, self.up))

    def same_boot(self, now: Moment) -> bool:
        return bool(self.boot) and self.boot == now.boot

    def age_s(self, now: Moment) -> float:
        """Seconds from here to `now`: by the time since boot within one boot, which no step of the clock upsets, and
        by the wall clock across boots, where it may be negative or absurd."""
        return now.up - self.up if self.same_boot(now) else now.at - self.at

    def age_words(self, now: Moment) -> str:
        """ "5 minutes ago", or that the clock was set between and the age is not known."""
        age = self.age_s(now)
        if age < -1 or age > ABSURD_S:
            what = "in the future" if age < 0 else "years ago"
            return f"at an unknown time (by the clock {what}: it was set since)"
        return f"{span_words(max(age, 0))} ago"


def now() -> Moment:
    return Moment(round(time.time(), 3), boot_id(), round(time.clock_gettime(time.CLOCK_BOOTTIME), 3))


def boot_id() -> str:
    """The kernel's random name of this boot, "" where /proc is not there."""
    try:
        fd = os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(fd, 64).decode("ascii", "replace").strip()
        finally:
            os.close(fd)
    except OSError:
        return ""


def span_words(seconds: float) -> str:
    """A span in its largest unit that leaves at least two of it: 119 -> "119 s", 120 -> "2 min"."""
    for name, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {name}"
    return f"{seconds:.0f} s"


def date_words(at: float) -> str:
    """A wall clock time as local date and time; what is no date is told as the number it is."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    except (OverflowError, ValueError, OSError):
        return f"@{at:.0f}"
