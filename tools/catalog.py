"""Writes packaging/rpm/hostward.catalog, what `journalctl -x` says under hostward's messages, from the checks.

The format is that of systemd's docs/CATALOG.md: @FIELD@ is replaced by the entry's own field.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY / "agent"))

from hostward import checks  # noqa: E402
from hostward.checks import Check  # noqa: E402
from hostward.daemon.messages import (  # noqa: E402
    BAD_CONFIG,
    BLIND,
    CLOCK_SET,
    DAMAGED,
    FAILED,
    GAVE_UP,
    GONE,
    KINDS,
    NO_TEXTFILE,
    REPAIRED,
    SIGHTED,
    START,
    UNDONE,
    UNWRITABLE,
    message_id,
)

TARGET = REPOSITORY / "packaging" / "rpm" / "hostward.catalog"

#: Kind -> (subject, what it means and what to do).
TEXTS = {
    GONE: (
        "@HOSTWARD_CHECK@: no longer so",
        """What the check @HOSTWARD_CHECK@ found before is not so any more:

@HOSTWARD_SUMMARY@

@HOSTWARD_WHY@

Nothing is to be done. `hostward history @HOSTWARD_CHECK@` tells when it came and went.""",
    ),
    BLIND: (
        "@HOSTWARD_CHECK@ can't be judged",
        """The check @HOSTWARD_CHECK@ applies to this host and could not be made:

@HOSTWARD_WHY@

What it found before, if anything, may still be so and is kept. Mend what keeps it from looking; it is tried again
whenever something that it looks at changes. `hostward check @HOSTWARD_CHECK@` tries it now.""",
    ),
    SIGHTED: (
        "@HOSTWARD_CHECK@ can be judged again",
        """What kept the check @HOSTWARD_CHECK@ from looking is gone.
What it finds now is told in messages of its own.""",
    ),
    REPAIRED: (
        "@HOSTWARD_CHECK@ was repaired",
        """hostward applied the remedy @HOSTWARD_REMEDY@, which its configuration lets happen with nobody watching, and
the check @HOSTWARD_CHECK@ then passed.

`hostward log @HOSTWARD_REPAIR@` shows each step, `hostward undo @HOSTWARD_REPAIR@` takes it back. To have it done
only on request, set repair.classes.@HOSTWARD_REMEDY@ to on-request in /etc/hostward/hostward.yaml.""",
    ),
    UNDONE: (
        "@HOSTWARD_CHECK@: a repair did not help and was undone",
        """hostward applied the remedy @HOSTWARD_REMEDY@, the check @HOSTWARD_CHECK@ still failed, and everything
was put back as it was:

@HOSTWARD_WHY@

`hostward log @HOSTWARD_REPAIR@` shows each step and what it said. It is tried again after a while, and given up
after some tries.""",
    ),
    FAILED: (
        "@HOSTWARD_CHECK@: a repair failed",
        """hostward began the remedy @HOSTWARD_REMEDY@ for the check @HOSTWARD_CHECK@ and it did not end well:

@HOSTWARD_WHY@

`hostward log @HOSTWARD_REPAIR@` shows how far it came; `hostward undo @HOSTWARD_REPAIR@` takes back what it did.""",
    ),
    GAVE_UP: (
        "@HOSTWARD_CHECK@: repairing was given up",
        """The remedy @HOSTWARD_REMEDY@ was tried several times and the check @HOSTWARD_CHECK@ still fails. It is not
tried again until what it rests on changes:

@HOSTWARD_WHY@

`hostward log` shows the tries. `hostward fix --only @HOSTWARD_REMEDY@` tries once more.""",
    ),
    DAMAGED: (
        "hostward's state was damaged",
        """The file in which hostward keeps its results and history could not be used and was put aside:

@HOSTWARD_WHY@

A new one was begun: everything was judged anew, findings are told as if they had just appeared, and the history
begins here. A damaged file after a clean shutdown points to the disk or its file system: look at `dmesg`.""",
    ),
    BAD_CONFIG: (
        "hostward's configuration has an error",
        """@HOSTWARD_SUMMARY@

Until it is mended hostward judges by its defaults, as if there were no configuration, and repairs nothing. A check
that the configuration switches off is made as well. The file is read again as soon as it changes.""",
    ),
    UNWRITABLE: (
        "hostward's state can't be written",
        """@HOSTWARD_SUMMARY@

Results, history and what was told already are kept in /run/hostward meanwhile, which the next boot clears. Repairs
are not made, since their journal has no place either. Make room, or make the file system writable again; a file
system that turned read-only by itself has an error that `dmesg` tells.""",
    ),
    NO_TEXTFILE: (
        "hostward's figures for Prometheus can't be written",
        """@HOSTWARD_SUMMARY@

What node_exporter reads stays as it was, so an alert on hostward_last_run_timestamp_seconds tells of it too. Make
the directory writable, or set prometheus.textfile in /etc/hostward/hostward.yaml to another file, or to "".""",
    ),
    CLOCK_SET: (
        "the system clock was set",
        """@HOSTWARD_SUMMARY@

Somebody or something set the clock at once instead of letting it run faster or slower: `date -s`, hwclock, a keeper
that steps, a resumed guest. Guests and programs that compare times across it see time jump. What follows from it for
this host is told in messages of its own; `hostward clock` shows the clock as it is now.""",
    ),
    START: (
        "hostward watches this host",
        """The daemon has judged everything once and from here on tells what changes. What it found:

@HOSTWARD_EVIDENCE@

`hostward status` shows this at any time.""",
    ),
}  # fmt: skip


def lines() -> Iterator[str]:
    yield "# What `journalctl -x` says under the messages of hostward."
    yield "# Made from the code by tools/catalog.py."
    for check in checks.load_all().values():
        yield from entry(message_id("appeared", check.id), f"{check.id}: @HOSTWARD_SUMMARY@", of_check(check), check)
    for kind in KINDS:
        subject, text = TEXTS[kind]
        yield from entry(message_id(kind), subject, text)


def entry(id: str, subject: str, text: str, check: Check | None = None) -> Iterator[str]:
    yield ""
    yield f"-- {id}"
    yield f"Subject: {subject}"
    yield "Defined-By: hostward"
    for reference in check.references if check is not None else ():
        if reference.url:
            yield f"Documentation: {reference.url}"
    yield ""
    yield from text.splitlines()


def of_check(check: Check) -> str:
    paragraphs = [f"What ought to be true: {check.title}."]
    if check.why:
        paragraphs.append(check.why)
    paragraphs.append("What was found, and is @HOSTWARD_SEVERITY@: @HOSTWARD_SUMMARY@")
    paragraphs.append("@HOSTWARD_EVIDENCE@")
    paragraphs.append("What to do: @HOSTWARD_ADVICE@")
    paragraphs.append(f"`hostward explain {check.id}` and `hostward fix --dry-run` tell more.")
    return "\n\n".join(paragraphs)


def text() -> str:
    return "\n".join(lines()) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text())
