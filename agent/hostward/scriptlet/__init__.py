"""`hostward scriptlet`: the face that package transactions see.  Its only exit status is 0, and it is over in time.

The work is done in a child process in a session of its own, which hands lines back over a pipe: whatever happens to
it (a fault, no memory, a disk that does not answer), this process lives on, prints what there is and ends well.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Sequence

#: What the scriptlet is called with; any other event is told in a line and nothing is done.
EVENTS = ("post-install", "post-upgrade", "post-remove", "modules-changed", "modules-removed")
KERNEL_EVENTS = ("kernel-added", "kernel-removed")

#: How long judging may take, in seconds (HOSTWARD_SCRIPTLET_LIMIT_S in the environment says otherwise, for a machine
#: that is very slow), and how much longer when it came to a repair.
LIMIT_S = 5.0
REPAIR_S = 10.0
#: How long the child has to end the programs that it started, once its time is over.
_LAST_WISH_S = 0.3
#: What the child writes before a repair.
REPAIRING = b"\x01repairing\n"
_OUTPUT_MAX = 64 << 10


def _others_turn(event: str) -> bool:
    """Whether another call in the same rpm transaction does this work: told before anything large is imported."""
    from hostward.host.surroundings import first_in_transaction, rpm_transaction

    if event in KERNEL_EVENTS:
        return bool(rpm_transaction())  # kernel-install(8) called by a kernel package: the file trigger speaks, later
    # A trigger each for the directories that files went from.
    return event == "modules-removed" and not first_in_transaction(event)


def run(event: str, names: Sequence[str], limit_s: float | None = None) -> None:
    """Judges what a transaction did and prints a few lines, or none.  Raises nothing."""
    _streams_are_there()
    known = EVENTS + KERNEL_EVENTS
    if event not in known:
        shown = event.encode("ascii", "backslashreplace").decode()[:100]
        text = f"hostward: no event is called {shown!r}: nothing was done (known: {', '.join(known)})\n"
        _print(text.encode())
        return
    try:
        lines, late = _in_a_child(event, names, _limit_s() if limit_s is None else limit_s)
    except OSError as error:  # no process, no descriptor to be had
        lines, late = [f"hostward: could not look at kernel modules: {error.strerror}"], False
    if late:
        lines.append(
            "hostward: not all kernel modules could be looked at in time; `hostward check 'modules.*'` tells the rest"
        )
    if lines:
        _print("".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))


def _limit_s() -> float:
    given = os.environ.get("HOSTWARD_SCRIPTLET_LIMIT_S", "")
    return float(given) if given.isdecimal() and 0 < int(given) <= 3600 else LIMIT_S


def _streams_are_there() -> None:
    """Opens /dev/null in place of a standard stream that is closed: else a pipe of ours would take its number."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            try:
                os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one
            except OSError:
                return  # a root with no /dev: then nothing is read or printed


def _print(data: bytes) -> None:
    while data:
        try:
            data = data[os.write(1, data) :]
        except OSError:
            return  # nobody listens, or the disk is full


def _in_a_child(event: str, names: Sequence[str], limit_s: float) -> tuple[list[str], bool]:
    """What the child said, in lines, and whether its time was over."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            os.setsid()
            _work(writing, event, names)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    data, late = b"", False
    try:
        data, late = _read(reading, time.monotonic() + limit_s)
    finally:
        os.close(reading)
        _end(child)
    text = data.replace(REPAIRING, b"").decode("utf-8", "backslashreplace")
    return text.splitlines(), late


def _work(writing: int, event: str, names: Sequence[str]) -> None:
    def over(number: int, frame: object) -> None:
        raise SystemExit  # so that host.programs ends what it started

    signal.signal(signal.SIGTERM, over)
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def say(line: str) -> None:
        os.write(writing, line.encode("utf-8", "backslashreplace") + b"\n")

    def repairing() -> None:
        os.write(writing, REPAIRING)

    try:
        if not _others_turn(event):
            from hostward.scriptlet.judge import judge

            judge(event, names, say, repairing)
    except SystemExit:
        raise
    except BaseException as error:
        what = str(error).split("\n")[0]
        say(f"hostward: could not look at kernel modules: {type(error).__name__}: {what}"[:300])


def _read(fd: int, deadline: float) -> tuple[bytes, bool]:
    """All that comes until the other end is closed or the time is over, and whether it was over."""
    data = b""
    longer = False
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while len(data) < _OUTPUT_MAX:
        left = deadline - time.monotonic()
        if left <= 0:
            return data, True
        if poll.poll(left * 1000):
            got = os.read(fd, 4096)
            if not got:
                return data, False
            data += got
            if not longer and REPAIRING in data:
                longer = True
                deadline += REPAIR_S
    return data, False


def _end(child: int) -> None:
    """The child is gone when this returns, and what it left behind in its session with it."""
    deadline = time.monotonic() + _LAST_WISH_S
    asked = False
    while True:
        done, _ = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if not asked:
            _signal(child, signal.SIGTERM)
            asked = True
        if time.monotonic() > deadline:
            try:
                os.killpg(child, signal.SIGKILL)
            except OSError:
                _signal(child, signal.SIGKILL)
            os.waitpid(child, 0)
            break
        time.sleep(0.002)


def _signal(process: int, number: signal.Signals) -> None:
    try:
        os.kill(process, number)
    except OSError:
        pass


__all__ = ["EVENTS", "KERNEL_EVENTS", "LIMIT_S", "run"]
