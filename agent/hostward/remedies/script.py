"""A plan as a shell script that a person can read, change and run: the reasons as comments, each step a command."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator

from hostward.model import (
    EditFile,
    LoadModule,
    MakeDirectory,
    MakeLink,
    Remedy,
    RemoveLink,
    RunProgram,
    Step,
    WriteFile,
)
from hostward.remedies.steps import show


def script(remedies: Iterable[tuple[Remedy, Iterable[str]]], title: str) -> Iterator[str]:
    """The lines of a POSIX shell script that does what `hostward fix` would do, without its journal.

    Each remedy comes with the lines that say why: they become comments, whatever is in them.
    """
    yield "#!/bin/sh"
    yield from comment(title)
    yield "# Run as root.  It stops at the first command that fails; `hostward fix` would also keep what it changes."
    yield "# shellcheck disable=SC2016  # what stands in single quotes is meant as it stands"
    yield "set -eu"
    for remedy, reasons in remedies:
        yield ""
        yield from comment(f"{remedy.title}  [{remedy.id}]")
        for reason in reasons:
            yield from comment(f"  {reason}")
        if remedy.why:
            yield from comment(f"  because {remedy.why}")
        for step in remedy.steps:
            yield from _lines(step)
        for note in remedy.notes:
            yield from comment(f"  then: {note}")


def comment(text: str) -> Iterator[str]:
    """Text as comment lines: nothing in it can end the comment."""
    for line in text.splitlines() or [""]:
        yield "# " + "".join(c if c.isprintable() else "?" for c in line)


def _lines(step: Step) -> Iterator[str]:
    if isinstance(step, RunProgram) and step.any_status:
        yield f"{_joined(step.argv)} || true"
    elif isinstance(step, LoadModule) and step.optional:
        yield f"modprobe {shlex.quote(step.name)} || true"
    elif isinstance(step, RemoveLink):
        path = shlex.quote(step.path)
        yield f"if [ -L {path} ]; then rm -- {path}; else echo {path} is no link any more >&2; exit 1; fi"
    elif isinstance(step, MakeLink):
        yield _joined(("ln", "-sfn" if step.replace else "-s", "--", step.target, step.path))
    elif isinstance(step, MakeDirectory):
        yield _joined(("mkdir", "-p", "--", step.path))
    elif isinstance(step, WriteFile):
        path, part = shlex.quote(step.path), shlex.quote(f"{step.path}.new")
        yield f"printf %s {shlex.quote(step.content)} >{part}"
        yield f"if [ -e {path} ]; then chmod --reference={path} {part}; else chmod {step.mode:o} {part}; fi"
        yield f"mv -- {part} {path}"
    elif isinstance(step, EditFile):
        path, part = shlex.quote(step.path), shlex.quote(f"{step.path}.new")
        # awk takes backslashes in -v for escapes, so both lines travel in the environment.
        yield f"OLD={shlex.quote(step.old)} NEW={shlex.quote(step.new)} awk '"
        yield '  $0 == ENVIRON["OLD"] { $0 = ENVIRON["NEW"]; n++ } { print } END { exit n != 1 }'
        yield f"' {path} >{part}"
        yield f"chmod --reference={path} {part}"
        yield f"mv -- {part} {path}"
    else:
        yield show(step)


def _joined(argv: tuple[str, ...]) -> str:
    return shlex.join(argv)
