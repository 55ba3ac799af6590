"""The daemon's parent: one thread that waits for events and forks a child for each judgement.

It knows nothing of checks and imports none of them, so it stays small; what a judgement needs dies with its child.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from hostward.daemon.notify import Notifier
from hostward.daemon.schedule import Schedule
from hostward.daemon.sources import Sources
from hostward.daemon.worker import Failed, Task, Worker

#: How long a judgement may take, repairs included, in seconds.
LIMIT_S = 300.0
#: How long a boot may take before it is judged all the same, in seconds.
BOOT_S = 120.0
#: How often the parent looks round without a watchdog that asks for it, in seconds: a timer lost in suspend, say.
_AT_LEAST_S = 3600.0


def judge(task: Task) -> dict[str, Any]:
    """The judgement itself; only the child ever imports it."""
    from hostward.daemon.judge import run

    return run(task)


def clock() -> float:
    """Seconds since boot, sleep included: it never steps, and a sleep does not stretch a back-off."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Daemon:
    """`options` go into every task as they are (config, no_repair)."""

    def __init__(
        self,
        options: Task | None = None,
        work: Callable[[Task], dict[str, Any]] = judge,
        sources: Callable[[Callable[[str], None]], Sources] = Sources,
        limit_s: float = LIMIT_S,
    ) -> None:
        self._options = dict(options or {})
        self._work = work
        self._limit_s = limit_s
        self._schedule = Schedule()
        self._notifier = Notifier()
        self._sources = sources(say)
        self._worker: Worker | None = None
        self._kinds: list[str] = []
        self._because = ""
        self._summary = ""
        self._first = True
        self._boot_until: float | None = None
        self._alive_at = 0.0
        self._stop = False
        self._reload = False
        self._wake, self._woken = socket.socketpair()
        self.wake_ups = 0

    def run(self) -> int:
        """Until SIGTERM or SIGINT.  Returns the exit status."""
        self._catch_signals()
        now = clock()
        self._sources.connect(now)
        if self._booting():
            self._boot_until = now + BOOT_S
            self._notifier.status("waits for the boot to be done")
            # The boot's end may have come before the answer.
            for fd in self._sources.fds:
                self._happened(self._sources.read(fd, now), now)
        else:
            self._schedule.event("all", now)
        self._notifier.ready()
        try:
            while not self._stop:
                self._wait()
                self._work_off(clock())
        finally:
            self._notifier.stopping()
            if self._worker is not None:
                self._worker.kill()
            self._sources.close()
        return 0

    def _catch_signals(self) -> None:
        self._wake.setblocking(False)
        self._woken.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)

        def stop(*_: object) -> None:
            self._stop = True

        def again(*_: object) -> None:
            self._reload = True

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGHUP, again)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    def _booting(self) -> bool:
        from hostward.host import HostError

        try:
            return self._sources.bus is not None and self._sources.bus.state() in ("initializing", "starting")
        except HostError:
            return False

    def _wait(self) -> None:
        """Sleeps until something happens or something is due."""
        now = clock()
        at = [t for t in (self._sources.next_at(), self._boot_until) if t is not None]
        if self._worker is None:
            next_at = self._schedule.next_at()
            at += [next_at] if next_at is not None and self._boot_until is None else []
        timeout = min([t - now for t in at] + [_AT_LEAST_S])
        if self._worker is not None:
            timeout = min(timeout, self._worker.deadline - time.monotonic())
        if self._notifier.watchdog_s is not None:
            timeout = min(timeout, self._alive_at - time.monotonic())
        fds = [self._woken.fileno(), *self._sources.fds]
        if self._worker is not None:
            fds.append(self._worker.fd)
        poll = select.poll()
        for fd in fds:
            poll.register(fd, select.POLLIN)
        ready = poll.poll(max(timeout, 0.0) * 1000 + 1)
        self.wake_ups += 1
        now = clock()
        for fd, _ in ready:
            if fd == self._woken.fileno():
                self._woken.recv(4096)
            elif self._worker is not None and fd == self._worker.fd:
                if self._worker.read():
                    self._finish(now)
            else:
                self._happened(self._sources.read(fd, now), now)

    def _work_off(self, now: float) -> None:
        """What is due now."""
        if self._stop:
            return
        if self._notifier.watchdog_s is not None and time.monotonic() >= self._alive_at:
            self._notifier.alive()
            self._alive_at = time.monotonic() + self._notifier.watchdog_s / 2
        if self._reload:
            # Each judgement reads the configuration anew, so a reload is a whole judgement.
            self._reload = False
            self._notifier.reloading()
            self._happened([("all", "asked to reload")], now)
            self._notifier.ready()
        self._happened(self._sources.due(now), now)
        if self._boot_until is not None and now >= self._boot_until:
            self._happened([("started", "the boot takes too long to wait for its end")], now)
        if self._worker is not None:
            if time.monotonic() >= self._worker.deadline:
                self._worker.kill()
                self._failed(f"the judgement took longer than {self._limit_s:g} s and was ended", now)
            return
        if self._boot_until is None:
            kinds = self._schedule.take(now)
            if kinds:
                self._begin(kinds)

    def _happened(self, events: Iterable[tuple[str, str]], now: float) -> None:
        for kind, what in events:
            if kind == "started":
                if self._boot_until is not None:
                    self._boot_until = None
                    self._schedule.event("all", now)
                continue
            if kind == "clock" and what.startswith("the clock was set"):
                say(what)  # at once: what comes of it for the checks is told by the judgement
            self._schedule.event(kind, now)
            self._because = self._because or what

    def _begin(self, kinds: list[str]) -> None:
        reason = self._because or ("the daemon started" if self._first else "it was time to")
        self._because = ""
        task = {**self._options, "events": kinds, "reason": reason, "first": self._first, "daemon": os.getpid()}
        self._kinds = kinds
        self._notifier.status(f"judging: {reason}")
        close = [self._wake.fileno(), self._woken.fileno(), *self._sources.fds]
        try:
            self._worker = Worker(self._work, task, self._limit_s, close)
        except OSError as error:
            self._failed(f"no child could be started: {os.strerror(error.errno or 0)}", clock())

    def _finish(self, now: float) -> None:
        assert self._worker is not None
        try:
            answer = self._worker.finish()
        except Failed as error:
            self._failed(str(error), now)
            return
        self._worker = None
        self._first = False
        again_s = answer.get("again_s")
        status = str(answer.get("status", ""))
        summary = status.partition(";")[0]
        self._schedule.done(self._kinds, now, again_s, changed=bool(self._summary) and summary != self._summary)
        self._summary = summary
        self._sources.watch(answer.get("watch", {}), now)
        self._notifier.status(status)

    def _failed(self, why: str, now: float) -> None:
        self._worker = None
        wait_s = self._schedule.failed(self._kinds, now)
        say(f"{why}; the next try comes in {wait_s:.0f} s")
        self._notifier.status(why)


def say(text: str) -> None:
    """A line to the journal, by way of standard error; <4> is its priority (sd-daemon(3))."""
    mark = "<4>" if os.environ.get("JOURNAL_STREAM") else ""
    try:
        print(f"{mark}hostward: {text}", file=sys.stderr, flush=True)
    except OSError:
        pass  # nobody reads it, and that is no reason to end
