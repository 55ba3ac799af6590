"""Whether a process still is the one that it was: a number alone comes back for another."""

from __future__ import annotations

import os


def started(pid: int) -> int:
    """When a process was started, in clock ticks since boot (field 22 of proc_pid_stat(5)); 0 where there is none."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.read(fd, 4096)
        finally:
            os.close(fd)
        fields = data[data.rindex(b")") + 1 :].split()  # the name before may hold anything
        return 0 if fields[0] in (b"Z", b"X") else int(fields[19])
    except (OSError, ValueError, IndexError):
        return 0


def runs(pid: int, since: int) -> bool:
    """Whether the process of this number that was started then still runs."""
    return since > 0 and started(pid) == since
