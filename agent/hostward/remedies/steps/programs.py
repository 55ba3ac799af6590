"""Steps that run a program of the host."""

from __future__ import annotations

import shlex
from typing import Any

from hostward.host import Host, HostError
from hostward.remedies.steps import CantUndo, Craft, Keep, Kept


def run(host: Host, argv: tuple[str, ...], timeout_s: float, any_status: bool = False) -> str:
    """Runs a program and returns what it printed.  Raises HostError for another status than 0."""
    done = host.run(argv, timeout_s=timeout_s, bound=True)
    if done.status != 0 and not any_status:
        raise HostError(argv[0], f"`{shlex.join(argv)}` ended with status {done.status}: {done.said}")
    return (done.stderr.strip() or done.stdout.strip())[:2000]


class ProgramCraft(Craft):
    def show(self, step: Any) -> str:
        return shlex.join(step.argv)

    def save(self, host: Host, step: Any, keep: Keep) -> dict[str, Any]:
        from hostward.remedies.steps.modules import loaded

        return {"loaded": loaded(host)} if step.loads_modules else {}

    def do(self, host: Host, step: Any, saved: dict[str, Any]) -> str:
        return run(host, step.argv, step.timeout_s, step.any_status)

    def left(self, host: Host, step: Any, saved: dict[str, Any]) -> dict[str, Any]:
        from hostward.remedies.steps.modules import loaded

        return {"loaded": loaded(host)} if step.loads_modules else {}

    def cant_undo(self, step: Any) -> str:
        return "" if step.undo or step.loads_modules else f"nothing takes back `{self.show(step)}`"

    def undo(self, host: Host, step: Any, saved: dict[str, Any], left: dict[str, Any] | None, kept: Kept) -> str:
        if step.loads_modules:
            from hostward.remedies.steps.modules import loaded, unload

            before = set(saved["loaded"])
            after = loaded(host) if left is None else left["loaded"]
            return unload(host, [name for name in after if name not in before])
        if not step.undo:
            raise CantUndo(self.cant_undo(step))
        return run(host, step.undo, step.timeout_s)
