"""What systemd is told (sd_notify(3)), by systemd-python where there is somebody to tell."""

from __future__ import annotations

import os
import time


class Notifier:
    """`watchdog_s` is how often systemd wants to hear from us, None for never."""

    def __init__(self) -> None:
        self._notify = None
        self.watchdog_s: float | None = None
        if not os.environ.get("NOTIFY_SOCKET"):
            return
        try:
            from systemd import daemon
        except ImportError:
            return
        self._notify = daemon.notify
        usec = os.environ.get("WATCHDOG_USEC", "")
        if usec.isdigit() and os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            self.watchdog_s = int(usec) / 1e6

    def tell(self, *lines: str) -> None:
        if self._notify is not None:
            try:
                self._notify("\n".join(lines))
            except OSError:
                pass  # systemd is being replaced, or is gone

    def ready(self) -> None:
        self.tell("READY=1")

    def status(self, text: str) -> None:
        self.tell(f"STATUS={text}")

    def alive(self) -> None:
        self.tell("WATCHDOG=1")

    def reloading(self) -> None:
        self.tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        self.tell("STOPPING=1")
