"""The one place that changes a machine: shows, applies and reports the steps of a remedy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hostward.host import Host, HostError
from hostward.model import LoadModule, MakeLink, Remedy, RemoveLink, RunProgram, Step, UnitAction


@dataclass(frozen=True)
class Applied:
    """What became of one step.  `done` is False for a step that failed or was not reached."""

    step: Step
    done: bool
    said: str = ""


def show(step: Step) -> str:
    """A step as the command that a person would type for it."""
    import shlex

    if isinstance(step, RunProgram):
        return shlex.join(step.argv)
    if isinstance(step, UnitAction):
        return shlex.join(["systemctl", step.action, step.unit])
    if isinstance(step, RemoveLink):
        return shlex.join(["rm", "--", step.path])
    if isinstance(step, MakeLink):
        return shlex.join(["ln", "-s", "--", step.target, step.path])
    command = shlex.join(["modprobe", step.name])
    return f"{command}    # the next steps go on without it" if step.optional else command


def apply(host: Host, remedy: Remedy, report: Callable[[Applied], None]) -> bool:
    """Applies the steps in order and reports each; stops at the first that fails.  Whether all were done.

    What a program says of itself is not the proof: the caller runs the check again.
    """
    for step in remedy.steps:
        try:
            said = _apply(host, step)
        except HostError as error:
            optional = isinstance(step, LoadModule) and step.optional
            report(Applied(step, False, str(error)))
            if not optional:
                return False
        else:
            report(Applied(step, True, said))
    return True


def _apply(host: Host, step: Step) -> str:
    """Does one step.  Raises HostError with what the program or the system said."""
    if isinstance(step, RemoveLink):
        host.remove_link(step.path)
        return ""
    if isinstance(step, MakeLink):
        host.make_link(step.path, step.target)
        return ""
    if isinstance(step, RunProgram):
        argv, limit_s = step.argv, step.timeout_s
    elif isinstance(step, UnitAction):
        argv, limit_s = ("systemctl", step.action, step.unit), 90.0
    else:
        argv, limit_s = ("modprobe", step.name), 60.0
    done = host.run(argv, timeout_s=limit_s)
    if done.status != 0 and not (isinstance(step, RunProgram) and step.any_status):
        raise HostError(argv[0], f"`{show(step)}` ended with status {done.status}: {done.said}")
    return (done.stderr.strip() or done.stdout.strip())[:2000]
