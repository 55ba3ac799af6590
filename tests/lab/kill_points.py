"""Runs inside the lab's machine: `kill -9` at every point of a remedy, then `undo`, or a second `fix`; prints JSON.

A point is each sync of the journal or of a changed file, and each program that was just started: between two points
the agent only computes.  The process really sends itself SIGKILL.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

sys.path.insert(0, "/usr/lib/hostward")

from hostward import checks, remedies, repair
from hostward.config import Config
from hostward.engine import Engine
from hostward.host import Host
from hostward.remedies.executor import begun
from hostward.remedies.steps.modules import loaded
from hostward.remedies.steps.units import links_of

checks.load_all()
remedies.load_all()
WEAK = f"/lib/modules/{os.uname().release}/weak-updates/kmod-test"
#: check, remedy, the shell command that breaks what the remedy mends
SCENARIOS = {
    "clock.enable-keeper": (
        "clock.hwclock-without-ntp",
        "systemctl enable --now hwclock.service; systemctl disable --now chrony.service",
    ),
    "clock.disable-hwclock": (
        "clock.hwclock-without-ntp",
        "systemctl enable --now hwclock.service; systemctl disable --now chrony.service",
    ),
    "modules.load-kvm": ("modules.kvm-not-loaded", "modprobe -r kvm_amd kvm"),
    "modules.remove-dangling": (
        "modules.weak-updates-dangling",
        f"ln -sfn /lib/modules/none/gone.ko {WEAK}/gone.ko; depmod",
    ),
    "modules.rebuild-map": (
        "modules.map-stale",
        "sed -i '/dummz/d' /lib/modules/$(uname -r)/modules.dep",
    ),
    "modules.relink": (
        "modules.weak-updates-symbols",
        f"ln -sfn $(readlink {WEAK}/.bad) {WEAK}/dummz.ko; rm -f {WEAK}/gone.ko; depmod",
    ),
}


def engine() -> Engine:
    return Engine(Host.running(), Config())


def state(remedy: str) -> dict[str, Any]:
    """What the remedies change: units, modules, links in weak-updates, modules.dep outside kernel/.

    Taking back a depmod is another depmod, so for the remedy that is nothing else the map is what it wrote.
    """
    host = Host.running()
    units = ("hwclock.service", "chrony.service")
    active = subprocess.run(["systemctl", "is-active", *units], capture_output=True, text=True).stdout.split()
    with open(f"/lib/modules/{os.uname().release}/modules.dep") as dep:
        listed = sorted(line for line in dep if not line.startswith("kernel/"))
    return {
        "links": {unit: links_of(host, unit) for unit in units},
        "active": [word == "active" for word in active],
        "modules": sorted(set(loaded(host)) & {"kvm", "kvm_amd", "irqbypass", "ccp", "dummz"}),
        "weak": {name: os.readlink(f"{WEAK}/{name}") for name in sorted(os.listdir(WEAK))},
        "dep": [] if remedy == "modules.rebuild-map" else listed,
    }


def plan(check: str, remedy: str) -> repair.Plan | None:
    judge = engine()
    planned = repair.plans(judge, [judge.run(checks.CHECKS[check])], only=[remedy])
    return planned.plans[0] if planned.plans else None


def fix(check: str, remedy: str) -> str:
    made = plan(check, remedy)
    if made is None:
        return "nothing to do"
    with repair.lock_of(Host.running(), "fix", 30.0):
        return repair.apply(engine(), made, "fix", lambda _: None).outcome


def undo(since: int) -> bool:
    """As an operator would: `hostward undo` until nothing that came after repair `since` is in force any more."""
    host = Host.running()
    whole = True
    with repair.lock_of(host, "undo", 30.0):
        for entry in repair.journal_of(host).entries():
            if entry.number > since and list(begun(entry)):
                whole = repair.undo(host, entry, lambda _: None) and whole
    return whole


def killed(at: int, work: Callable[[], object]) -> bool:
    """Runs `work` in a child that is killed at its point number `at`.  Whether it got there."""
    child = os.fork()
    if child == 0:
        seen = 0

        def point() -> None:
            nonlocal seen
            seen += 1
            if seen >= at:
                os.kill(os.getpid(), signal.SIGKILL)

        def synced(real: Callable[[int], None], fd: int) -> None:
            point()
            real(fd)

        for name in ("fsync", "fdatasync"):
            setattr(os, name, functools.partial(synced, getattr(os, name)))
        wait = subprocess.Popen.communicate

        def communicate(self: Any, *arguments: Any, **named: Any) -> Any:
            if any(word in self.args[0] for word in ("modprobe", "depmod", "rmmod")) or self.args[1] not in READS:
                point()
            return wait(self, *arguments, **named)

        subprocess.Popen.communicate = communicate  # type: ignore[method-assign]
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


READS = ("show", "list-units", "list-unit-files", "is-active", "is-enabled")


def scenario(remedy: str) -> dict[str, Any]:
    check, breaks = SCENARIOS[remedy]
    problems: list[str] = []
    points = 0
    since = max(repair.journal_of(Host.running()).numbers(), default=0)
    for at in range(1, 200):
        subprocess.run(["sh", "-c", breaks], check=True, capture_output=True)
        before = state(remedy)
        there = killed(at, lambda: fix(check, remedy))
        time.sleep(0.05)
        if not there:
            after = state(remedy)
            if after == before and remedy != "modules.rebuild-map":
                problems.append("the remedy changed nothing")
            if not undo(since) or state(remedy) != before:
                problems.append(f"undo of the whole: {difference(before, state(remedy))}")
            break
        points += 1
        if at % 2:  # undo at the odd points, a second fix (and then undo) at the even ones: each is as good for either
            whole = undo(since)
            if not whole or state(remedy) != before:
                problems.append(f"point {at}: undo: {difference(before, state(remedy))}")
        else:
            fix(check, remedy)
            if plan(check, remedy) is not None:
                problems.append(f"point {at}: the second fix did not help")
            if not undo(since) or state(remedy) != before:
                problems.append(f"point {at}: undo of both: {difference(before, state(remedy))}")
    return {"points": points, "problems": problems}


def difference(before: dict[str, Any], after: dict[str, Any]) -> str:
    return "; ".join(f"{key}: {before[key]} -> {after[key]}" for key in before if before[key] != after[key])


if __name__ == "__main__":
    print(json.dumps({remedy: scenario(remedy) for remedy in sys.argv[1:] or SCENARIOS}))
