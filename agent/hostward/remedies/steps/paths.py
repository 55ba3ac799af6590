"""Steps on links, files and directories: what stood there is saved, and put back only where nobody changed it since."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from hostward.host import Changed, Host, HostError
from hostward.model import EditFile, MakeDirectory, MakeLink, RemoveLink, WriteFile
from hostward.remedies.steps import Craft, Keep, Kept

if TYPE_CHECKING:
    from hostward.host.changes import State


class PathCraft(Craft):
    def show(self, step: Any) -> str:
        if isinstance(step, RemoveLink):
            return shlex.join(["rm", "--", step.path])
        if isinstance(step, MakeLink):
            return shlex.join(["ln", "-sfn" if step.replace else "-s", "--", step.target, step.path])
        if isinstance(step, MakeDirectory):
            return shlex.join(["mkdir", "-p", "--", step.path])
        if isinstance(step, EditFile):
            return f"# in {shlex.quote(step.path)} the line {step.old!r} becomes {step.new!r}"
        lines = step.content.splitlines()
        said = lines[0] if len(lines) == 1 else f"{len(lines)} lines"
        return f"# {shlex.quote(step.path)} is written: {said!r}"

    def save(self, host: Host, step: Any, keep: Keep) -> dict[str, Any]:
        before, data = host.look(step.path)
        after, _ = _wanted(step, before, data)
        saved: dict[str, Any] = {"before": _pack(before), "after": _pack(after)}
        if before.kind == "file" and not before.same(after):
            saved["kept"] = keep(data)
        return saved

    def do(self, host: Host, step: Any, saved: dict[str, Any]) -> str:
        before, data = host.look(step.path)
        if not before.same(_unpack(saved["before"])):
            raise Changed(step.path, f"not touched: {before.words} came there just now")
        after, content = _wanted(step, before, data)
        host.put(step.path, before, after, content)
        return "" if not before.same(after) else "it was so already"

    def undo(self, host: Host, step: Any, saved: dict[str, Any], left: dict[str, Any] | None, kept: Kept) -> str:
        before, after = _unpack(saved["before"]), _unpack(saved["after"])
        host.sweep(step.path)
        data = kept(str(saved["kept"])) if "kept" in saved else b""
        if before.kind == "file" and not before.same(after):
            from hostward.host.changes import digest

            if digest(data) != before.sha256:
                raise HostError(step.path, "not put back: what was kept of it is not what it was")
        host.put(step.path, after, before, data)
        return ""


def _wanted(step: Any, before: State, data: bytes) -> tuple[State, bytes]:
    """What is to stand there after the step, and its content.  Raises Changed where the step does not fit."""
    import os

    from hostward.host.changes import State, digest

    uid, gid = (before.uid, before.gid) if before.kind in ("file", "link") else (os.geteuid(), os.getegid())
    if isinstance(step, RemoveLink):
        if before.kind != "link":
            raise Changed(step.path, f"is not a symbolic link any more but {before.words}; nothing was removed")
        return State("absent"), b""
    if isinstance(step, MakeDirectory):
        if before.kind not in ("absent", "directory"):
            raise Changed(step.path, f"{before.words} stands there; nothing was replaced")
        return State("directory"), b""
    if isinstance(step, MakeLink):
        after = State("link", step.target, uid=uid, gid=gid)
        if before.kind != "absent" and not before.same(after) and not (step.replace and before.kind == "link"):
            raise Changed(step.path, f"{before.words} stands there; nothing was replaced")
        return after, b""
    if before.kind not in ("absent", "file"):
        raise Changed(step.path, f"is {before.words}, not a regular file; nothing was written")
    if isinstance(step, WriteFile):
        content = step.content.encode("utf-8", "surrogateescape")
        mode = before.mode if before.kind == "file" else step.mode
    else:
        assert isinstance(step, EditFile)
        content, mode = _edited(step, data), before.mode
    return State("file", "", digest(content), mode, uid, gid, before.label), content


def _edited(step: EditFile, data: bytes) -> bytes:
    lines = data.split(b"\n")
    old, new = (text.encode("utf-8", "surrogateescape") for text in (step.old, step.new))
    times = lines.count(old)
    if times != 1:
        # After a kill the edit may have been made already.
        if times == 0 and lines.count(new) == 1:
            return data
        raise Changed(step.path, f"the line {step.old!r} stands in it {times} times, not once; nothing was written")
    lines[lines.index(old)] = new
    return b"\n".join(lines)


def _pack(state: State) -> dict[str, Any]:
    import dataclasses

    default = type(state)("absent")
    return {
        name: value
        for name, value in dataclasses.asdict(state).items()
        if name == "kind" or value != getattr(default, name)
    }


def _unpack(document: Any) -> State:
    from hostward.host.changes import State

    return State(**document)
