"""When a remedy may be applied with nobody watching: not again and again, and never against a person's will."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from hostward.host.journal import Entry
from hostward.host.moment import Moment
from hostward.model import Remedy
from hostward.remedies.steps import encode

#: The first wait after a try, in seconds; each further one is WAIT_FACTOR times as long.
WAIT_S = 60.0
WAIT_FACTOR = 4
#: Tries, in one boot, after which a remedy is given up for good.
TRIES_MAX = 5
#: A remedy that helped, and whose finding came back, counts as a try for this long, in seconds.
HELD_S = 86400.0


@dataclass(frozen=True)
class Decision:
    """`word` is "go", "waiting", "gave-up" or "held-back"; `wait_s` is how long to wait for "waiting"."""

    word: str
    reason: str = ""
    wait_s: float = 0.0


def fingerprint(remedy: Remedy, findings: Iterable[tuple[str, str]], release: str) -> str:
    """What a try is known by: the steps, the findings (check, subject) they are for, and the kernel that runs.

    While it stays the same, nothing that matters to the remedy has changed.
    """
    facts = [remedy.id, [encode(step) for step in remedy.steps], sorted(findings), release]
    return hashlib.sha256(json.dumps(facts).encode("utf-8", "backslashreplace")).hexdigest()[:16]


def decide(entries: Iterable[Entry], print_: str, now: Moment) -> Decision:
    """Judges by the journal (`entries`, newest first) whether to try now.

    Intervals are told by the time since boot, which no step of the clock upsets.
    """
    tries = 0
    last_up = 0.0
    for entry in entries:
        first = entry.records[0] if entry.records else {}
        if first.get("print") != print_:
            continue
        number = entry.number
        undo = entry.of_kind("undo")
        if undo and undo[-1].get("by") == "undo":
            # A person's last word stands, until a person applies the remedy again or the facts change.
            if tries == 0:
                return Decision("held-back", f"somebody undid repair {number}; `hostward fix` applies it again")
            break
        end = entry.of_kind("end")
        same_boot = first.get("boot") == now.boot
        if not end and not same_boot:
            return Decision(
                "gave-up",
                f"the machine went down while repair {number} was under way, so it is not tried again unattended; "
                f"see `hostward log {number}`, and `hostward fix` to apply it",
            )
        if not same_boot:
            continue
        last = entry.records[-1]
        up = float(last.get("up", 0.0))
        age = now.up - up
        if end and end[-1].get("outcome") == "helped" and age > HELD_S:
            break
        if first.get("by") == "fix":
            break  # what a person did begins the count anew
        last_up = max(last_up, up)
        tries += 1
    if tries == 0:
        return Decision("go")
    if tries >= TRIES_MAX:
        return Decision("gave-up", f"it was tried {tries} times in this boot and the finding is still, or again, there")
    wait_s = WAIT_S * WAIT_FACTOR ** (tries - 1) - (now.up - last_up)
    if wait_s > 0:
        return Decision("waiting", f"it was tried {tries} time{'s' * (tries > 1)}; the next try is due", wait_s)
    return Decision("go")
