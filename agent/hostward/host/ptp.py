"""PTP hardware clocks (/dev/ptpN) against the system clock; the hypervisor's clock is one of them in a guest."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hostward.host.clock import Instant, now
from hostward.host.errors import HostError
from hostward.host.ioctl import READ, WRITE, ask, number, open_device

_SAMPLES = 9
_SAMPLES_MAX = 25  # PTP_MAX_SAMPLES
_HEAD = struct.Struct("4I")
_TIME = struct.Struct("qII")  # struct ptp_clock_time: s, ns, reserved
_PRECISE = struct.Struct("qIIqIIqII4I")
_PAIRED = _HEAD.size + _TIME.size * (2 * _SAMPLES_MAX + 1)
_TRIPLE = _HEAD.size + _TIME.size * 3 * _SAMPLES_MAX

PTP_SYS_OFFSET = number(WRITE, "=", 5, _PAIRED)
PTP_SYS_OFFSET_PRECISE = number(READ | WRITE, "=", 8, _PRECISE.size)
PTP_SYS_OFFSET_EXTENDED = number(READ | WRITE, "=", 9, _TRIPLE)

SECOND = 1_000_000_000
#: What one cross timestamp is good for at least: the hardware's or the hypercall's own grain.
_PRECISE_BOUND_NS = 1_000
#: A way that this clock does not have; the next one is tried.
_NOT_THIS_WAY = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL)


@dataclass(frozen=True)
class PtpTime:
    """The system clock minus the PTP clock in seconds, to within `bound_s`, at the instant `at`.

    `by` is the ioctl that told: PTP_SYS_OFFSET_PRECISE, a cross timestamp by the hardware or the hypervisor, or
    _EXTENDED or PTP_SYS_OFFSET, where the kernel read its own clock right before and after the other one.
    """

    device: str
    offset_s: float
    bound_s: float
    at: Instant
    by: str


def read(device: str) -> PtpTime:
    """The best of a few samples, by the best way this clock has.  Raises HostError with the kernel's words."""
    fd = open_device(device)
    try:
        for by, way in (("_PRECISE", _precise), ("_EXTENDED", _extended), ("", _paired)):
            try:
                offset, bound = way(fd)
            except OSError as error:
                if error.errno in _NOT_THIS_WAY:
                    continue
                words = os.strerror(error.errno or 0)
                raise HostError(device, f"does not answer PTP_SYS_OFFSET{by}: {words}") from None
            return PtpTime(device, offset / SECOND, bound / SECOND, now(), f"PTP_SYS_OFFSET{by}")
    finally:
        os.close(fd)
    raise HostError(device, "knows none of PTP_SYS_OFFSET_PRECISE, _EXTENDED and PTP_SYS_OFFSET: no PTP clock")


def _precise(fd: int) -> tuple[float, float]:
    """(system minus device, bound) in ns.  The middle of a few, whose spread counts as doubt."""
    offsets = []
    for _ in range(_SAMPLES):
        words = _PRECISE.unpack(ask(fd, PTP_SYS_OFFSET_PRECISE, bytes(_PRECISE.size)))
        offsets.append((words[3] - words[0]) * SECOND + words[4] - words[1])
    offsets.sort()
    return offsets[_SAMPLES // 2], max(_PRECISE_BOUND_NS, (offsets[-2] - offsets[1]) / 2)


def _extended(fd: int) -> tuple[float, float]:
    answer = ask(fd, PTP_SYS_OFFSET_EXTENDED, _HEAD.pack(_SAMPLES, 0, 0, 0) + bytes(_TRIPLE - _HEAD.size))
    times = _times(answer, 3 * _SAMPLES)
    return narrowest(times[i : i + 3] for i in range(0, len(times), 3))


def _paired(fd: int) -> tuple[float, float]:
    answer = ask(fd, PTP_SYS_OFFSET, _HEAD.pack(_SAMPLES, 0, 0, 0) + bytes(_PAIRED - _HEAD.size))
    times = _times(answer, 2 * _SAMPLES + 1)
    return narrowest(times[i : i + 3] for i in range(0, len(times) - 2, 2))


def _times(answer: bytes, count: int) -> list[int]:
    return [s * SECOND + ns for s, ns, _ in _TIME.iter_unpack(answer[_HEAD.size : _HEAD.size + count * _TIME.size])]


def narrowest(triples: Iterable[Sequence[int]]) -> tuple[float, float]:
    """(system minus device, bound) in ns of the [system, device, system] whose two system times are nearest."""
    before, device, after = min(triples, key=lambda t: t[2] - t[0] if t[2] >= t[0] else SECOND)
    return (before + after) / 2 - device, max(1.0, abs(after - before) / 2)
