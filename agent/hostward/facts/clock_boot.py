"""What set the system clock in this boot, from the journal: the kernel or hwclock from the RTC, systemd, a keeper."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hostward.facts import fact
from hostward.facts.boot import Boot
from hostward.facts.clock_kernel import of_a_running_machine
from hostward.facts.clock_services import ClockServices
from hostward.host import Host
from hostward.model import Unavailable

#: (identifier, what it says, from where the time came).  A group named `step` is the step in seconds.
#: Sources: drivers/rtc/class.c (rtc_hctosys); systemd's src/shared/clock-warp.c, src/core/main.c,
#: src/timesync/timesyncd.c and -manager.c; chrony's local.c; ntpd's ntp_loopfilter.c and ntpdate.c; openntpd's ntpd.c.
_NUMBER = r"(?P<step>[+-]?\d+(?:\.\d+)?)"
_SAYINGS = (
    ("kernel", r"setting (?:the )?system clock to ", "RTC"),
    ("systemd", r"RTC configured in localtime, applying delta of ", "time zone"),
    ("systemd", r"System time before build time, advancing clock", "build time"),
    ("systemd", r"System time (?:advanced|reverted) to ", "build time"),
    ("systemd-timesyncd", r"System (?:clock )?time unset or jumped backwards, restor", "last shutdown"),
    ("systemd-timesyncd", r"System clock time advanced to ", "last shutdown"),
    ("systemd-timesyncd", r"Initial (?:clock synchronization to|synchronization to time server) ", "network"),
    ("systemd-timesyncd", r"Synchronized to time server ", "network"),
    ("chronyd", rf"System clock was stepped by {_NUMBER} seconds", "network"),
    ("ntpd", rf"clock_step {_NUMBER}", "network"),
    ("ntpd", rf"(?:CLOCK: time stepped by|time reset) {_NUMBER}", "network"),
    ("ntpd", rf"set local clock to .*\(offset {_NUMBER}", "network"),
    ("ntpdate", rf"(?:step|adjust) time server \S+ offset {_NUMBER}", "network"),
    ("systemd-timedated", r"Changed local time to ", "timedatectl"),
)
_HWCLOCK_RAN = r"^(?:Started|Finished) "
#: The first line of a boot's kernel log; without it the journal's start of this boot is lost.
_FIRST = "Linux version "
_FIELDS = "MESSAGE,SYSLOG_IDENTIFIER,UNIT,_SOURCE_MONOTONIC_TIMESTAMP"
_SETTINGS_MAX = 200


@dataclass(frozen=True)
class ClockSetting:
    """One setting of the system clock.  `by` is the program ("kernel", "hwclock", "chronyd", ...), `source` where it
    had the time from ("RTC", "network", "build time", "last shutdown", "time zone", "timedatectl").

    `step_s` is by how much, None where the line does not say; `at_s` the time since boot (CLOCK_MONOTONIC).
    """

    by: str
    source: str
    at_s: float
    step_s: float | None
    line: str


@dataclass(frozen=True)
class ClockSetAtBoot:
    """In the order they came.  `complete`: the journal reaches back to the start of this boot.

    hwclock says nothing by itself: what shows it is that systemd ran a unit which calls it.
    """

    settings: tuple[ClockSetting, ...]
    complete: bool

    @property
    def last(self) -> ClockSetting | None:
        return self.settings[-1] if self.settings else None

    def by(self, *programs: str) -> tuple[ClockSetting, ...]:
        return tuple(setting for setting in self.settings if setting.by in programs)


@fact
def clock_set_at_boot(host: Host, boot: Boot | Unavailable, services: ClockServices | Unavailable) -> ClockSetAtBoot:
    """Raises NotApplicable under a root and in a container, Unavailable where the journal can't be read."""
    of_a_running_machine(host, boot)
    units = _hwclock_units(services)
    return read(_journal(host, units), units)


def _hwclock_units(services: ClockServices | Unavailable) -> frozenset[str]:
    """The units whose start runs hwclock to set the system clock."""
    units = {"hwclock.service"}
    if not isinstance(services, Unavailable):
        units |= {use.name for use in services.hwclock if use.kind == "systemd" and use.sets_system_clock}
    return frozenset(units)


def _journal(host: Host, units: Iterable[str]) -> Iterable[str]:
    """The lines of this boot that may tell, as JSON, oldest first."""
    matches = ["_TRANSPORT=kernel"]
    for identifier in dict.fromkeys(identifier for identifier, _, _ in _SAYINGS):
        if identifier not in ("kernel", "systemd"):  # both speak through the kernel's log at this point
            matches += ["+", f"SYSLOG_IDENTIFIER={identifier}"]
    for unit in sorted(units):
        matches += ["+", "_PID=1", f"UNIT={unit}"]
    words = "|".join(re.sub(r"\(\?P<\w+>", "(?:", saying) for _, saying, _ in _SAYINGS)
    options = [f"--grep={words}|{_FIRST}|{_HWCLOCK_RAN}", f"--output-fields={_FIELDS}"]
    argv = ["journalctl", "--boot", "--quiet", "--no-pager", "--output=json"]
    done = host.run([*argv, *options, *matches])
    if done.status != 0 and ("not supported" in done.stderr or "unrecognized" in done.stderr):
        done = host.run([*argv, *matches])  # systemd before 237, or built without PCRE2
    # With --grep, a status of 1 and silence is that nothing matched.
    if done.status != 0 and (done.stderr.strip() or done.status != 1):
        raise Unavailable(f"journalctl can't tell what set the clock: {done.said}")
    return done.stdout.splitlines()


def read(lines: Iterable[str], hwclock_units: frozenset[str] = frozenset(("hwclock.service",))) -> ClockSetAtBoot:
    """The settings among lines of `journalctl --output=json`.  Raises Unavailable where it holds nothing at all."""
    settings: list[ClockSetting] = []
    complete = any_line = False
    for line in lines:
        try:
            entry = json.loads(line)
            at_s = int(entry.get("_SOURCE_MONOTONIC_TIMESTAMP") or entry["__MONOTONIC_TIMESTAMP"]) / 1e6
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            continue  # the last line of an output that was cut
        any_line = True
        message, identifier = entry.get("MESSAGE"), entry.get("SYSLOG_IDENTIFIER")
        if not isinstance(message, str) or not isinstance(identifier, str):
            continue  # not UTF-8, or larger than journalctl prints
        if identifier == "kernel" and message.startswith(_FIRST):
            complete = True
        if len(settings) < _SETTINGS_MAX:
            settings += list(_settings(message, identifier, entry.get("UNIT"), at_s, hwclock_units))
    if not any_line:
        raise Unavailable("the journal has no line of this boot's start: rotated away, or not for this user to read")
    return ClockSetAtBoot(tuple(sorted(settings, key=lambda setting: setting.at_s)), complete)


def _settings(
    message: str, identifier: str, unit: object, at_s: float, units: frozenset[str]
) -> Iterator[ClockSetting]:
    if identifier == "systemd" and unit in units and re.match(_HWCLOCK_RAN, message):
        yield ClockSetting("hwclock", "RTC", at_s, None, f"{unit}: {message}"[:400])
        return
    for who, saying, source in _SAYINGS:
        if identifier != who:
            continue
        match = re.search(saying, message)
        if match:
            step = match.groupdict().get("step")
            yield ClockSetting(who, source, at_s, float(step) if step else None, f"{who}: {message}"[:400])
            return
