"""The system's journal, written to with structured fields; standard error where there is none. It never waits long."""

from __future__ import annotations

import os
import select
import socket

SOCKET = "/run/systemd/journal/socket"
#: How long a journal that takes nothing at the moment is waited for, in seconds.
WAIT_S = 1.0
_LINE_MAX = 2_000  # on standard error, in bytes: a write up to PIPE_BUF is whole or not at all


class JournalWriter:
    """`send` writes one entry; what can't go to the journal goes to standard error as a line, and why is said once."""

    def __init__(self, socket_path: str = SOCKET, error_fd: int = 2) -> None:
        self._socket = socket_path
        self._fd = error_fd
        self._said = False

    def send(self, message: str, fields: dict[str, str]) -> bool:
        """Writes an entry, its PRIORITY (0 to 7) among the fields.  False where neither journal nor standard error
        would take it."""
        why = self._unable()
        if not why:
            try:
                from systemd import journal

                journal.send(message, **fields)
                return True
            except ImportError:
                why = "python's module systemd (package python3-systemd) is not installed"
            except (OSError, ValueError, TypeError) as error:
                why = f"the journal refused an entry: {error}"
        if not self._said:
            self._said = self._line("4", f"messages go to standard error, without their fields: {why}")
        more = fields.get("HOSTWARD_ADVICE", "")
        return self._line(fields.get("PRIORITY", "6"), f"{message}; {more}" if more else message)

    def _unable(self) -> str:
        """Why the journal can't be written to now, "" when it can.

        sd_journal_sendv(3) takes a missing socket for success and waits for ever for one that is full, so both are
        asked for before.
        """
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as probe:
                probe.connect(self._socket)
                poll = select.poll()
                poll.register(probe, select.POLLOUT)
                if not poll.poll(WAIT_S * 1000):
                    return f"journald does not read from {self._socket} (it hangs, or was stopped)"
        except OSError as error:
            return f"journald is not there ({self._socket}: {error.strerror})"
        return ""

    def _line(self, priority: str, text: str) -> bool:
        """One line with the prefix of sd-daemon(3), for whatever keeps standard error."""
        line = f"<{priority}>hostward: {' '.join(text.split())}"
        data = line.encode("utf-8", "backslashreplace")[:_LINE_MAX] + b"\n"
        try:
            poll = select.poll()
            poll.register(self._fd, select.POLLOUT)
            events = poll.poll(WAIT_S * 1000)
            if not events or events[0][1] & (select.POLLERR | select.POLLNVAL):
                return False
            return os.write(self._fd, data) == len(data)
        except OSError:
            return False
