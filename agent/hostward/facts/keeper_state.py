"""What a keeper of the clock says of itself, in words common to all of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

#: Why a keeper that runs keeps nothing.  `KeeperState.why_not` is one of these, or "" for one that keeps.
NO_SOURCE = "no source configured"
UNRESOLVED = "no name of a source can be resolved"
OFFLINE = "all sources are switched off"
UNREACHABLE = "no source reachable"
UNSYNCHRONISED = "the sources are not synchronised themselves"
WAITING = "waiting for the first update"
NO_MAJORITY = "no majority: the sources contradict each other"
UNSELECTABLE = "no selectable source"
OWN_CLOCK = "it follows only the machine's own clock"
SILENT = "it does not answer"

#: What a keeper makes of a source, in `SourceState.selection`.
SELECTED = "selected"
COMBINED = "combined"
CANDIDATE = "candidate"
FALSETICKER = "falseticker"
TOO_VARIABLE = "too variable"
UNUSED = "not used"
UNREACHED = "unreachable"


@dataclass(frozen=True)
class SourceState:
    """One source, as the keeper that asks it sees it.

    `offset_s` is this machine's clock minus the source's, `error_s` the bound that the keeper gives for it. `reach`
    is the register of the last eight polls (RFC 5905: bit 0 is the latest), None where the keeper keeps none.
    `kind` is server, peer or reference clock.
    """

    address: str
    kind: str = "server"
    selection: str = UNUSED
    stratum: int | None = None
    reach: int | None = None
    poll_s: float | None = None
    last_heard_s: float | None = None
    offset_s: float | None = None
    error_s: float | None = None
    why_not: str = ""


@dataclass(frozen=True)
class KeeperState:
    """A keeper's own account.

    `synchronised` is None where it can't be told. `offset_s` is the system clock minus the time that the keeper
    holds true, and `uncertainty_s` the bound of its error; `root_distance_s` is half the delay to the primary clock
    plus the dispersion on the way (RFC 5905). `frequency_ppm` is what the keeper found the clock's own rate to be
    off by: positive where it gains. `leap` is normal, insert, delete or unsynchronised, "" where not told.
    `why_not` is one of this file's words, `detail` says it of this machine.
    """

    keeper: str
    synchronised: bool | None
    source: str = ""
    stratum: int | None = None
    offset_s: float | None = None
    uncertainty_s: float | None = None
    root_distance_s: float | None = None
    frequency_ppm: float | None = None
    skew_ppm: float | None = None
    last_update_age_s: float | None = None
    leap: str = ""
    sources: tuple[SourceState, ...] = ()
    why_not: str = ""
    detail: str = ""
    asked_by: str = ""


def number(text: str, scale: float = 1.0) -> float | None:
    """A finite number times `scale`; None for anything else."""
    try:
        value = float(text) * scale
    except (ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def whole(text: str, base: int = 10, most: int = 1 << 32) -> int | None:
    """A whole number from 0 to `most`; None for anything else."""
    try:
        value = int(text, base)
    except ValueError:
        return None
    return value if 0 <= value <= most else None


def negative(value: float | None) -> float | None:
    return None if value is None else 0.0 - value


def added(*values: float | None) -> float | None:
    """The sum; None where a part of it is not known."""
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def why_none(sources: Iterable[SourceState]) -> tuple[str, str]:
    """Why none of these sources is followed: `why_not` and `detail` of a KeeperState."""
    all_of = list(sources)
    if not all_of:
        return NO_SOURCE, ""
    names = ", ".join(source.address for source in all_of[:5]) + (", ..." if len(all_of) > 5 else "")
    heard = [source for source in all_of if source.reach]
    if not heard:
        return UNREACHABLE, f"none of {names} answers"
    false = [source for source in heard if source.selection == FALSETICKER]
    if false and 2 * len(false) >= len(heard):
        apart = ", ".join(f"{s.address} {s.offset_s:+.3f} s" for s in false[:5] if s.offset_s is not None)
        return NO_MAJORITY, f"this clock minus each of them: {apart}"
    reasons = [f"{source.address}: {source.why_not}" for source in heard if source.why_not]
    return UNSELECTABLE, "; ".join(reasons[:5]) or f"{names} answer, and none is chosen"
