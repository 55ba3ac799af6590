"""Steps that load and unload kernel modules, and that index them."""

from __future__ import annotations

import shlex
from typing import Any

from hostward.host import Host, HostError
from hostward.model import LoadModule
from hostward.remedies.steps import Craft, Keep, Kept
from hostward.remedies.steps.programs import run

_LIMIT_S = 60.0
#: depmod -a over a full tree takes 5 s on a slow machine.
_DEPMOD_LIMIT_S = 300.0


def loaded(host: Host) -> list[str]:
    """The names of the loaded modules, the last one first, so that what uses a module comes before it."""
    try:
        return [line.split(" ", 1)[0] for line in host.text("/proc/modules", 4 << 20).splitlines() if line]
    except HostError:
        return []  # a kernel without modules


def unload(host: Host, names: list[str]) -> str:
    """Unloads exactly these, in this order; one that is gone already is passed over.

    rmmod, not `modprobe -r`: that would take along what was loaded before and is unused now.
    """
    for name in names:
        if name in loaded(host):
            run(host, ("rmmod", name), _LIMIT_S)
    return ""


class ModuleCraft(Craft):
    def show(self, step: Any) -> str:
        if not isinstance(step, LoadModule):
            return shlex.join(["modprobe", "-r", step.name])
        command = shlex.join(["modprobe", step.name])
        return f"{command}    # the next steps go on without it" if step.optional else command

    def save(self, host: Host, step: Any, keep: Keep) -> dict[str, Any]:
        return {"loaded": loaded(host)}

    def do(self, host: Host, step: Any, saved: dict[str, Any]) -> str:
        option = () if isinstance(step, LoadModule) else ("-r",)
        return run(host, ("modprobe", *option, step.name), _LIMIT_S)

    def left(self, host: Host, step: Any, saved: dict[str, Any]) -> dict[str, Any]:
        return {"loaded": loaded(host)}

    def undo(self, host: Host, step: Any, saved: dict[str, Any], left: dict[str, Any] | None, kept: Kept) -> str:
        before = list(saved["loaded"])
        now = loaded(host)
        if isinstance(step, LoadModule):
            # Without a record of what came with it, only what was asked for is known to be ours.
            mine = set(left["loaded"] if left is not None else [step.name.replace("-", "_")]) - set(before)
            return unload(host, [name for name in now if name in mine])
        gone = set(before) - set(left["loaded"] if left is not None else now)
        for name in reversed(before):
            if name in gone and name not in loaded(host):
                run(host, ("modprobe", name), _LIMIT_S)
        return ""


class ModuleMapCraft(Craft):
    """depmod: taken back by running it again, once everything else was taken back (executor.undo sees to that)."""

    def show(self, step: Any) -> str:
        return shlex.join(["depmod", step.release])

    def do(self, host: Host, step: Any, saved: dict[str, Any]) -> str:
        return run(host, ("depmod", step.release), _DEPMOD_LIMIT_S)

    def undo(self, host: Host, step: Any, saved: dict[str, Any], left: dict[str, Any] | None, kept: Kept) -> str:
        return run(host, ("depmod", step.release), _DEPMOD_LIMIT_S)
