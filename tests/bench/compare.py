"""Times whole processes in turn and prints medians and ratios: both sides of every figure in one run."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """Medians over the runs: wall and CPU time in seconds, the largest peak memory in MiB."""

    wall_s: float
    cpu_s: float
    peak_mib: float


def run_once(argv: Sequence[str], env: Mapping[str, str]) -> tuple[float, float, float]:
    """(wall s, CPU s, peak MiB) of one process; its output is thrown away, its status does not matter."""
    begun = time.perf_counter()
    with open(os.devnull, "w") as null:
        process = subprocess.Popen(argv, stdout=null, stderr=null, env={**os.environ, **env})
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
    wall = time.perf_counter() - begun
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def compare(sides: Mapping[str, Sequence[str]], runs: int, env: Mapping[str, str] | None = None) -> dict[str, Figure]:
    """Runs the commands A B C, A B C, ... after one warm-up each, so that a busy machine hurts all alike."""
    samples: dict[str, list[tuple[float, float, float]]] = {name: [] for name in sides}
    for number in range(runs + 1):
        for name, argv in sides.items():
            sample = run_once(argv, env or {})
            if number:
                samples[name].append(sample)
    return {
        name: Figure(
            statistics.median(s[0] for s in taken),
            statistics.median(s[1] for s in taken),
            max(s[2] for s in taken),
        )
        for name, taken in samples.items()
    }


def show(title: str, figures: Mapping[str, Figure], base: str, targets: Mapping[str, float] | None = None) -> None:
    """A table with each side's ratio to `base` in wall time, and the target where there is one."""
    cores = len(os.sched_getaffinity(0))
    print(f"{title}  ({cores} cores, load {os.getloadavg()[0]:.1f})")
    width = max(len(name) for name in figures)
    for name, figure in figures.items():
        ratio = figure.wall_s / figures[base].wall_s
        target = (targets or {}).get(name)
        verdict = "" if target is None else f"  target {target:g}: {'met' if ratio <= target else 'MISSED'}"
        print(
            f"  {name.ljust(width)}  wall {figure.wall_s * 1000:8.1f} ms  cpu {figure.cpu_s * 1000:8.1f} ms"
            f"  peak {figure.peak_mib:6.1f} MiB  ratio {ratio:5.2f}{verdict}"
        )
