"""What wakes the daemon: files, kernel modules, units and steps of the clock, each as the kind of event that it means.

A source that can't be had, or that goes away, is said once and tried again; until then what it would have told is
looked at from time to time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hostward.daemon.places import kind_of
from hostward.host import HostError
from hostward.host.dbus import BusError, SystemdSignals
from hostward.host.inotify import LimitReached, Watches
from hostward.host.timerfd import ClockSteps
from hostward.host.uevents import ModuleEvents

#: How often to look at units while nobody tells of them, and at files while the kernel has no more watches, in s.
UNITS_S = 60.0
FILES_S = 600.0
_RETRY_S = 1.0

Say = Callable[[str], None]
#: A kind of event, and what happened, for people.
Event = tuple[str, str]


class Sources:
    """All of them; `fds` are to be polled, `read(fd)` tells what came."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._kinds: dict[str, str] = {}
        self._units: list[str] = []
        self._full = False
        self.bus: SystemdSignals | None = None
        self._bus_retry_s = _RETRY_S
        self._bus_at: float | None = None
        self._files_at: float | None = None
        self._files = self._have(Watches)
        self._modules = self._have(ModuleEvents)
        self._steps = self._have(ClockSteps)

    def _have(self, source: Callable[[], Any]) -> Any:
        try:
            return source()
        except HostError as error:
            self._say(f"{error}; a full judgement still comes once a day")
            return None

    @property
    def fds(self) -> list[int]:
        return [s.fileno() for s in (self._files, self._modules, self._steps, self.bus) if s is not None]

    def watch(self, places: dict[str, Any], now: float) -> None:
        """What the last judgement says is to be watched: trees, directories, files, units, each path with its kind."""
        self._kinds = dict(places.get("kinds", {}))
        self._units = list(places.get("units", []))
        if self._files is not None:
            try:
                self._files.set(places.get("trees", ()), places.get("directories", ()), places.get("files", ()))
                self._full, self._files_at = False, None
            except LimitReached as error:
                if not self._full:
                    self._say(f"{error}; until then files are looked at every {FILES_S / 60:.0f} minutes")
                self._full, self._files_at = True, now + FILES_S
        self._tell_bus(now)

    def connect(self, now: float) -> bool:
        """Connects to systemd's signals.  Whether that worked; if not it is tried again by `due`."""
        try:
            self.bus = SystemdSignals()
        except BusError as error:
            if self._bus_at is None:
                self._say(f"{error}; units are looked at every {UNITS_S:.0f} s until it answers")
            self._lost(now)
            return False
        self._bus_at = None
        self._bus_retry_s = _RETRY_S
        self._tell_bus(now)
        return self.bus is not None

    def _tell_bus(self, now: float) -> None:
        if self.bus is not None:
            try:
                self.bus.watch(self._units)
            except BusError as error:
                self._say(f"{error}; units are looked at every {UNITS_S:.0f} s until it answers")
                self._lost(now)

    def _lost(self, now: float) -> None:
        if self.bus is not None:
            self.bus.close()
            self.bus = None
        self._bus_at = now + self._bus_retry_s
        self._bus_retry_s = min(self._bus_retry_s * 2, UNITS_S)

    def next_at(self) -> float | None:
        """When `due` has something to do."""
        return min((at for at in (self._bus_at, self._files_at) if at is not None), default=None)

    def due(self, now: float) -> list[Event]:
        """Does what is due: connects again, looks at what nobody tells of."""
        events: list[Event] = []
        if self._bus_at is not None and now >= self._bus_at:
            waited_s = self._bus_retry_s
            if self.connect(now):
                self._say("systemd's signals are heard again")
                events.append(("units", "systemd's signals are heard again"))
            elif waited_s >= UNITS_S:
                events.append(("units", "nobody tells of units"))
        if self._files_at is not None and now >= self._files_at:
            self._files_at = now + FILES_S
            events.append(("all", "not all files can be watched"))
        return events

    def read(self, fd: int, now: float) -> list[Event]:
        """What a source has to tell, each kind with an example."""
        if self._files is not None and fd == self._files.fileno():
            paths, lost = self._files.read()
            events = {kind: path for path in reversed(paths) for kind in (kind_of(path, self._kinds),) if kind}
            return [*events.items(), *([("all", "more files changed than the kernel could tell")] if lost else [])]
        if self._modules is not None and fd == self._modules.fileno():
            names, lost = self._modules.read()
            return [("loaded", f"module {', '.join(names[:5])}")] if names or lost else []
        if self._steps is not None and fd == self._steps.fileno():
            step_s = self._steps.read()
            return [] if step_s is None else [("clock", f"the clock was set by {step_s:+.3f} s")]
        if self.bus is not None and fd == self.bus.fileno():
            return self._signals(now)
        return []

    def _signals(self, now: float) -> list[Event]:
        assert self.bus is not None
        try:
            signals = self.bus.read()
        except BusError as error:
            self._say(f"{error}; units are looked at every {UNITS_S:.0f} s until it answers")
            self._lost(now)
            return [("units", "systemd's signals are not heard any more")]
        events: list[Event] = []
        for signal in signals:
            if signal.kind == "started":
                events.append(("started", "the boot is done"))
            else:
                events.append(("units", signal.unit or "unit files"))
        return events

    def close(self) -> None:
        for source in (self._files, self._modules, self._steps, self.bus):
            if source is not None:
                source.close()
