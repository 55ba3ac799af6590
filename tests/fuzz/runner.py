"""Runs mutated inputs through readers, in several processes, each input bounded in time and memory.

An input is made from (seed, number) alone, so any of them can be made again by these two.
"""

from __future__ import annotations

import multiprocessing
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import Synchronized
from typing import Any

#: Bounds of one input (processor time, and time without a sign of life, in seconds) and of a process (address space and
#: resident memory, in bytes).
TIME_MAX_S = 5.0
SILENT_MAX_S = 30.0
ADDRESSES_MAX = 2 << 30
GROWTH_MAX = 192 << 20  # beyond what the process, perhaps a fork of a large test run, began with
FAILURES_MAX = 20

Reader = tuple[Callable[[bytes], None], tuple[type[Exception], ...]]
#: (random numbers) -> (name of the seed, reader's name, input).
Maker = Callable[[random.Random], tuple[str, str, bytes]]


class Hang(BaseException):
    """An input took longer than it may; no `except Exception` of a reader keeps it."""


@dataclass
class Tally:
    """What came of a run, or of one process's part."""

    inputs: int = 0
    accepted: int = 0
    by_reader: dict[str, int] = field(default_factory=dict)
    slowest_s: float = 0.0  # of processor time
    slowest: str = ""
    base: int = 0
    peak: int = 0
    growth: int = 0
    hungriest: str = ""
    failures: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.inputs += other.inputs
        self.accepted += other.accepted
        for name, count in other.by_reader.items():
            self.by_reader[name] = self.by_reader.get(name, 0) + count
        if other.slowest_s > self.slowest_s:
            self.slowest_s, self.slowest = other.slowest_s, other.slowest
        if other.growth > self.growth:
            self.growth, self.hungriest = other.growth, other.hungriest
        self.base = max(self.base, other.base)
        self.peak = max(self.peak, other.peak)
        self.failures += other.failures


def draw(seed: int, number: int) -> random.Random:
    return random.Random(seed << 40 | number)


def resident() -> int:
    """The most memory this process has held so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _expired(signum: int, frame: object) -> None:
    raise Hang(f"more than {TIME_MAX_S} s of a processor")


def run(seed: int, numbers: Iterator[int], make: Maker, readers: dict[str, Reader],
        at: Synchronized[int] | None = None) -> Tally:  # fmt: skip
    """These inputs, one after the other, in this process; `at` is told which one is under way."""
    tally = Tally()
    old = signal.signal(signal.SIGPROF, _expired)
    held = tally.base = resident()
    try:
        for number in numbers:
            if at is not None:
                at.value = number
            name, reader, data = make(draw(seed, number))
            read, documented = readers[reader]
            signal.setitimer(signal.ITIMER_PROF, TIME_MAX_S)
            start = time.process_time()
            try:
                read(data)
                tally.accepted += 1
            except documented:
                pass
            except (Exception, Hang):
                signal.setitimer(signal.ITIMER_PROF, 0)
                tally.failures.append(f"input {number}, {reader}, from {name}:\n{traceback.format_exc(limit=-6)}")
                if len(tally.failures) >= FAILURES_MAX:
                    break
            signal.setitimer(signal.ITIMER_PROF, 0)
            took = time.process_time() - start
            tally.inputs += 1
            tally.by_reader[reader] = tally.by_reader.get(reader, 0) + 1
            if took > tally.slowest_s:
                tally.slowest_s, tally.slowest = took, f"input {number}, {reader}, from {name}"
            now = resident()
            if now - held > tally.growth:
                tally.growth, tally.hungriest = now - held, f"input {number}, {reader}, from {name}"
            held = now
    finally:
        signal.signal(signal.SIGPROF, old)
    tally.peak = held
    if held - tally.base > GROWTH_MAX:
        tally.failures.append(
            f"{held >> 20} MB held, more than {GROWTH_MAX >> 20} above the {tally.base >> 20} at the beginning "
            f"(most at once by {tally.hungriest})"
        )
    return tally


def _part(
    seed: int, first: int, total: int, step: int, make: Maker, readers: dict[str, Reader], at: Any, out: Any
) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES_MAX, ADDRESSES_MAX))
    # In slices, so that what is known by then is not lost with a process that dies.
    for start in range(first, total, step * 5000):
        tally = run(seed, iter(range(start, min(total, start + step * 5000), step)), make, readers, at)
        out.send(tally)
        if tally.failures:
            break
    out.close()


def in_processes(seed: int, total: int, jobs: int, make: Maker, readers: dict[str, Reader]) -> Tally:
    """`total` inputs over `jobs` processes, with progress on a terminal.

    A process that dies, or is silent for SILENT_MAX_S inside a library that no signal interrupts, is a failure.
    """
    context = multiprocessing.get_context("fork")
    whole = Tally()
    parts = []
    for n in range(jobs):
        at = context.Value("q", -1, lock=False)
        receive, send = context.Pipe(duplex=False)
        process = context.Process(target=_part, args=(seed, n, total, jobs, make, readers, at, send), daemon=True)
        process.start()
        send.close()
        parts.append([process, at, receive, -1, time.monotonic()])
    start = time.monotonic()
    while parts:
        time.sleep(0.2)
        for part in list(parts):
            process, at, receive, last, since = part
            alive = process.is_alive()
            ended = False
            while receive.poll():
                try:
                    whole.add(receive.recv())
                except EOFError:
                    ended = True
                    break
            if at.value != last:
                part[3], part[4] = at.value, time.monotonic()
            elif alive and time.monotonic() - since > SILENT_MAX_S:
                process.kill()
                whole.failures.append(f"input {at.value}: no sign of life for {SILENT_MAX_S} s")
            if ended or not alive:
                process.join()
                if process.exitcode:
                    whole.failures.append(f"input {at.value}: the process died with status {process.exitcode}")
                parts.remove(part)
        if sys.stderr.isatty():
            rate = whole.inputs / (time.monotonic() - start)
            print(f"\r{whole.inputs:,} inputs, {rate:,.0f}/s ", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return whole
