"""The words everything speaks: severities, references, findings, results, remedies and their steps."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Union


class Severity(enum.IntEnum):
    """How bad a finding is; the order is the order of the exit status."""

    INFO = 0
    WARNING = 1
    ERROR = 2

    @property
    def word(self) -> str:
        return self.name.lower()


class Unavailable(Exception):
    """A fact that can't be had, and why.  Raised by its observer; handed to a check that asks for it by name."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotApplicable(Unavailable):
    """A fact that there is no sense in asking for here (a container's clock, what runs in a tree that doesn't run)."""


@dataclass(frozen=True)
class Reference:
    """Where a rule comes from: a bug number, an issue, a manual page or a document."""

    text: str
    url: str = ""


def BZ(number: int) -> Reference:
    """A bug in Red Hat's Bugzilla, by its number."""
    return Reference(f"BZ#{number}", f"https://bugzilla.redhat.com/show_bug.cgi?id={number}")


def Issue(repository: str, number: int) -> Reference:
    """An issue of a public GitHub project: `Issue("openzfs/zfs", 17165)`."""
    return Reference(f"{repository}#{number}", f"https://github.com/{repository}/issues/{number}")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    `subject` names what it is about (a path, a unit, a module on a kernel) and with the check's id
    makes the finding's identity over time.  `evidence` are the lines that prove it, in the words of
    the tool or file they come from.  `advice` is what to do, in a sentence or two.  `remedies` are
    ids of remedies that would mend it, best first.
    """

    severity: Severity
    summary: str
    subject: str = ""
    evidence: tuple[str, ...] = ()
    advice: str = ""
    remedies: tuple[str, ...] = ()
    references: tuple[Reference, ...] = ()


class Outcome(enum.Enum):
    """What became of one check."""

    PASSED = "passed"
    FINDINGS = "findings"
    SKIPPED = "skipped"
    FAILED = "failed"
    DISABLED = "disabled"


@dataclass(frozen=True)
class Result:
    """What became of one check.  `reason` says why it was skipped, disabled, or how it failed; beside findings, what
    could not be judged.

    `applicable` is False for a check that was skipped because there is nothing here for it to judge.
    `references` are the check's own.
    """

    check: str
    title: str
    outcome: Outcome
    findings: tuple[Finding, ...] = ()
    reason: str = ""
    applicable: bool = True
    references: tuple[Reference, ...] = ()

    @property
    def blind(self) -> bool:
        """Whether something that applies here could not be judged."""
        return bool(self.reason) and self.applicable and self.outcome in (Outcome.SKIPPED, Outcome.FINDINGS)

    @property
    def severity(self) -> Severity | None:
        return max((f.severity for f in self.findings), default=None)


class RepairClass(enum.Enum):
    """Who has to agree before a remedy is applied; the order is from the freest to the most careful."""

    UNATTENDED = "unattended"
    ON_REQUEST = "on-request"
    ADVICE = "advice-only"


@dataclass(frozen=True)
class RunProgram:
    """Run a program of the host with these arguments; no shell sees them.

    `any_status`: its exit status says nothing, as with scripts that rc.sysinit runs; the check that follows tells.
    `undo` is what takes it back, () where nothing does.  `loads_modules`: it loads kernel modules, and those that
    were not there before are unloaded to take it back.
    """

    argv: tuple[str, ...]
    timeout_s: float = 60.0
    any_status: bool = False
    undo: tuple[str, ...] = ()
    loads_modules: bool = False


@dataclass(frozen=True)
class UnitAction:
    """Ask systemd to enable, disable, mask, unmask, start, stop or restart a unit."""

    action: str
    unit: str


@dataclass(frozen=True)
class MakeLink:
    """Make a symbolic link to `target`; refused when something else stands at `path`, but for a link with `replace`."""

    path: str
    target: str
    replace: bool = False


@dataclass(frozen=True)
class RemoveLink:
    """Remove a symbolic link; refused when the path is anything else."""

    path: str


@dataclass(frozen=True)
class MakeDirectory:
    """Make a directory (mode 0755); one that is there already is left as it is."""

    path: str


@dataclass(frozen=True)
class WriteFile:
    """Give a file this content, at once or not at all; its owner and mode stay, `mode` is for one that is new."""

    path: str
    content: str
    mode: int = 0o644


@dataclass(frozen=True)
class EditFile:
    """Replace the line `old` by `new`; refused unless it stands there exactly once."""

    path: str
    old: str
    new: str


@dataclass(frozen=True)
class LoadModule:
    """Load a kernel module by name, as modprobe does.  `optional`: the next steps go on if it won't load."""

    name: str
    optional: bool = False


@dataclass(frozen=True)
class UnloadModule:
    """Unload a kernel module by name, with what only it needed, as `modprobe -r` does."""

    name: str


@dataclass(frozen=True)
class RebuildModuleMap:
    """Let depmod write modules.dep and its sisters of one kernel anew."""

    release: str


Step = Union[
    RunProgram,
    UnitAction,
    MakeLink,
    RemoveLink,
    MakeDirectory,
    WriteFile,
    EditFile,
    LoadModule,
    UnloadModule,
    RebuildModuleMap,
]


@dataclass(frozen=True)
class Remedy:
    """An ordered list of steps that would make a check pass, and why each way was chosen.

    `notes` say what stays to be done, or is felt, after the steps.  `ask` is why a person has to agree to it on this
    host, whatever its class: something here says that the state may be meant.
    """

    id: str
    title: str
    steps: tuple[Step, ...]
    why: str = ""
    notes: tuple[str, ...] = ()
    ask: str = ""


def as_json(value: Any) -> Any:
    """A dataclass, enum or container as what json.dumps takes; names keep their units (`offset_s`).

    Undecodable bytes in a name (surrogates) become backslash escapes, so that output is always UTF-8.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if isinstance(value, Severity):
        return value.word
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Unavailable):
        return {"unavailable": as_json(value.reason)}
    fields = getattr(type(value), "__dataclass_fields__", None)
    if fields is not None:
        return {name: as_json(getattr(value, name)) for name in fields if not name.startswith("_")}
    if isinstance(value, dict):
        return {as_json(str(k)): as_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(v) for v in value]
    if isinstance(value, (set, frozenset)):
        return sorted(as_json(v) for v in value)
    if isinstance(value, bytes):
        return value.hex()
    return value


__all__ = [
    "BZ",
    "EditFile",
    "Finding",
    "Issue",
    "LoadModule",
    "MakeDirectory",
    "MakeLink",
    "NotApplicable",
    "Outcome",
    "RebuildModuleMap",
    "Reference",
    "Remedy",
    "RemoveLink",
    "RepairClass",
    "Result",
    "RunProgram",
    "Severity",
    "Step",
    "Unavailable",
    "UnitAction",
    "UnloadModule",
    "WriteFile",
    "as_json",
]
