"""Steps that ask systemd for something.  Which links make a unit enabled or masked is saved, link by link."""

from __future__ import annotations

import shlex
from typing import Any

from hostward.host import Changed, Host, HostError, Missing
from hostward.remedies.steps import Craft, Keep, Kept
from hostward.remedies.steps.programs import run

_LIMIT_S = 90.0
DIRECTORY = "/etc/systemd/system"
_OPPOSITE = {"enable": "disable", "disable": "enable", "mask": "unmask", "unmask": "mask"}


def links_of(host: Host, unit: str) -> dict[str, str]:
    """The links below /etc/systemd/system that bear a unit's name or lead to one that does: its wants, its aliases,
    its mask (systemd.unit(5), systemctl(1) enable and mask)."""
    found: dict[str, str] = {}

    def look(path: str, depth: int) -> None:
        try:
            with host.directory(path) as directory:
                entries = directory.entries()
        except Missing:
            return
        for name, kind in entries:
            below = f"{path}/{name}"
            if kind == "link":
                target = host.readlink(below)
                if name == unit or target.rpartition("/")[2] == unit:
                    found[below] = target
            elif kind == "dir" and depth == 0 and name.endswith((".wants", ".requires", ".upholds")):
                look(below, 1)

    look(DIRECTORY, 0)
    return found


class UnitCraft(Craft):
    def show(self, step: Any) -> str:
        return shlex.join(["systemctl", step.action, step.unit])

    def _state(self, host: Host, step: Any) -> dict[str, Any]:
        if step.action in _OPPOSITE:
            return {"links": links_of(host, step.unit)}
        done = host.run(("systemctl", "show", "-p", "ActiveState", "--value", step.unit), timeout_s=_LIMIT_S)
        if done.status != 0:
            raise HostError(step.unit, f"systemd does not tell its state: {done.said}")
        return {"active": done.stdout.strip()}

    def save(self, host: Host, step: Any, keep: Keep) -> dict[str, Any]:
        return self._state(host, step)

    def do(self, host: Host, step: Any, saved: dict[str, Any]) -> str:
        return run(host, ("systemctl", step.action, step.unit), _LIMIT_S)

    def left(self, host: Host, step: Any, saved: dict[str, Any]) -> dict[str, Any]:
        return self._state(host, step)

    def undo(self, host: Host, step: Any, saved: dict[str, Any], left: dict[str, Any] | None, kept: Kept) -> str:
        if step.action not in _OPPOSITE:
            up = saved["active"] in ("active", "activating", "reloading")
            return run(host, ("systemctl", "start" if up else "stop", step.unit), _LIMIT_S)
        before: dict[str, str] = saved["links"]
        now = links_of(host, step.unit)
        after: dict[str, str] = now if left is None else left["links"]
        mine = [path for path in sorted({*before, *after}) if before.get(path) != after.get(path)]
        strange = [path for path in mine if now.get(path) not in (before.get(path), after.get(path))]
        if strange:
            raise Changed(strange[0], "not touched: somebody changed it since")
        if all(now.get(path) == before.get(path) for path in mine):
            return "it was so already"
        said = ""
        try:
            said = run(host, ("systemctl", _OPPOSITE[step.action], step.unit), _LIMIT_S)
        except HostError as error:
            said = str(error)
        # `enable` makes the links of [Install] only, and `disable` takes all: what an operator had linked is put back.
        now = links_of(host, step.unit)
        wrong = [path for path in mine if now.get(path) != before.get(path)]
        for path in wrong:
            _put(host, path, now.get(path), before.get(path))
        if wrong:
            run(host, ("systemctl", "daemon-reload"), _LIMIT_S)
            said = ""
        return said


def _put(host: Host, path: str, now: str | None, wanted: str | None) -> None:
    from hostward.host.changes import State

    parent = path.rpartition("/")[0]
    if wanted is not None and not host.is_dir(parent):
        host.put(parent, State("absent"), State("directory"))
    before, after = (State("absent") if target is None else State("link", target) for target in (now, wanted))
    host.put(path, before, after)
