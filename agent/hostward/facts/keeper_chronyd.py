"""chronyd as chronyc tells of it (chronyc(1), "tracking", "activity", "sources" and "selectdata"; its -c format)."""

from __future__ import annotations

import math
import re
from dataclasses import replace

from hostward.facts.keeper_state import (
    CANDIDATE,
    COMBINED,
    FALSETICKER,
    NO_SOURCE,
    OFFLINE,
    OWN_CLOCK,
    SELECTED,
    SILENT,
    TOO_VARIABLE,
    UNREACHED,
    UNRESOLVED,
    UNSELECTABLE,
    UNSYNCHRONISED,
    UNUSED,
    WAITING,
    KeeperState,
    SourceState,
    added,
    negative,
    number,
    whole,
    why_none,
)
from hostward.host import Host

#: One run of chronyc for all of it.  selectdata is unknown before chrony 4.0, whose chronyc then says only that;
#: ntpdata tells answers that come and are refused from none.
ASK = ("chronyc", "-c", "-n", "-m", "tracking", "activity", "sources", "selectdata", "ntpdata")

_KINDS = {"^": "server", "=": "peer", "#": "reference clock"}
_STATES = {"*": SELECTED, "+": COMBINED, "-": CANDIDATE, "x": FALSETICKER, "~": TOO_VARIABLE, "?": UNUSED}
_LEAPS = {"Normal": "normal", "Insert second": "insert", "Delete second": "delete"}
#: The state letters of selectdata in the words of chronyc(1).
_WHY = {
    "N": "has the option noselect",
    "s": "is not synchronised itself",
    "M": "has not given enough measurements yet",
    "d": "its root distance is more than maxdistance",
    "~": "its jitter is more than maxjitter",
    "w": "waits for others to fall behind",
    "S": "has gone too long without an answer",
    "O": "overlaps with no other",
    "W": "waits for more sources (minsources)",
    "T": "does not agree with the trusted sources",
    "P": "another is preferred",
    "U": "waits for an update",
    "x": "differs from the majority",
    "D": "its distance is more than combinelimit allows",
}
_LOCAL = "7F7F0101"
#: Four of the longest polls there are by default (maxpoll 10, 1024 s).
_STALE_S = 4096.0


def ask(host: Host, keeper: str = "chronyd") -> KeeperState:
    """Asks the chronyd of this machine.  Raises HostError where chronyc can't be run."""
    from hostward.host.asks import realtime_s

    return parse(host.run(ASK).stdout, realtime_s(), keeper)


def parse(text: str, now_s: float, keeper: str = "chronyd") -> KeeperState:
    """What ASK printed.  Lines that are not in its form are passed over.  `now_s` is CLOCK_REALTIME.

    chronyd calls its clock synchronised for ever once it was, on ever wider bounds; here it is not any more when it
    follows no source and has had no update for long.
    """
    rows = [line.split(",") for line in text.splitlines()[:10_000]]
    tracking = next((row for row in rows if len(row) == 14 and re.fullmatch("[0-9A-F]{8}", row[0])), None)
    if tracking is None:
        first = next((line.strip() for line in text.splitlines() if line.strip()), "chronyc printed nothing")
        return KeeperState(keeper, None, why_not=SILENT, detail=first[:200], asked_by="chronyc")
    letters = {row[1]: row[0] for row in rows if 15 <= len(row) <= 24 and len(row[0]) == 1}
    sources = tuple(_source(row, letters) for row in rows if len(row) == 10 and row[0] in _KINDS)
    activity = next(
        (row for row in rows if len(row) == 5 and all(re.fullmatch("[0-9]{1,9}", field) for field in row)), None
    )
    id, address, stratum, updated, slow, _, _, frequency, _, skew, delay, dispersion, _, leap = tracking
    state = KeeperState(keeper, False, leap=_LEAPS.get(leap, "unsynchronised"), sources=sources, asked_by="chronyc")
    if id == _LOCAL:
        detail = f"the directive local makes it a server of stratum {stratum} without any source"
        return replace(state, stratum=whole(stratum, most=16), why_not=OWN_CLOCK, detail=detail)
    if id == "00000000" or state.leap == "unsynchronised":
        why, detail = _why_not(sources, activity, _refused(rows))
        return replace(state, leap="unsynchronised", why_not=why, detail=detail)
    distance = added(number(delay, 0.5), number(dispersion))
    followed = any(source.selection == SELECTED for source in sources)
    then_s = number(updated)
    age = None if then_s is None or not math.isfinite(now_s) else max(now_s - then_s, 0.0)
    if not followed and age is not None and age > _STALE_S:
        why, detail = _why_not(sources, activity, {})
        return replace(state, why_not=why, detail=f"no update for {age:.0f} s; {detail}".rstrip("; "))
    return replace(
        state,
        synchronised=True,
        source=address,
        stratum=whole(stratum, most=16),
        # chronyc's figure is what has yet to be added to the clock: positive for one that is slow.
        offset_s=negative(number(slow)),
        uncertainty_s=distance,
        root_distance_s=distance,
        frequency_ppm=number(frequency),
        skew_ppm=number(skew),
        last_update_age_s=age,
        detail="" if followed else f"{address} was the last source followed; none is followed now",
    )


def _source(row: list[str], letters: dict[str, str]) -> SourceState:
    kind, state, address, stratum, poll, reach, heard, offset, _, error = row
    tried = whole(reach, 8, 0o377)
    seconds = whole(heard, most=1 << 31)  # "never" is the largest number of 32 bits
    log = number(poll)
    why = _WHY.get(letters.get(address, ""), "")
    if not why and state == "x":
        why = _WHY["x"]
    measured = seconds is not None
    return SourceState(
        address,
        _KINDS[kind],
        UNREACHED if state == "?" and not tried else _STATES.get(state, UNUSED),
        whole(stratum, most=16) if measured else None,
        tried,
        2.0**log if log is not None and -20 <= log <= 30 else None,
        None if seconds is None else float(seconds),
        number(offset) if measured else None,
        number(error) if measured else None,
        "" if state in "*+" else "does not answer" if not tried else why,
    )


def _refused(rows: list[list[str]]) -> dict[str, bool]:
    """The NTP sources whose answers come and are all refused, and whether for not being synchronised themselves.

    In a row of ntpdata field 5 is the leap, 31 to 33 count packets received, valid and good; 4.0 has no last one.
    """
    found = {}
    for row in rows:
        if len(row) < 33 or not whole(row[31]):
            continue
        unsynchronised = row[5] == "Not synchronised"
        if unsynchronised or (len(row) > 33 and whole(row[33]) == 0):
            found[row[0]] = unsynchronised
    return found


def _why_not(sources: tuple[SourceState, ...], activity: list[str] | None, refused: dict[str, bool]) -> tuple[str, str]:
    online, offline, bursting, _, unknown = (int(field) for field in activity or ["1", "0", "0", "0", "0"])
    if not sources and unknown:
        return UNRESOLVED, f"{unknown} of the configured names have no address yet"
    if not sources:
        return NO_SOURCE, ""
    if activity and offline and not online and not bursting:
        return OFFLINE, "`chronyc online` switches them on"
    why, detail = why_none(sources)
    heard = [source for source in sources if source.reach]
    if not heard and refused:
        names = ", ".join(list(refused)[:5])
        if all(refused.values()):
            return UNSYNCHRONISED, f"{names}: answers, but says that its own clock is not synchronised"
        return UNSELECTABLE, f"{names}: answers, and chronyd takes no answer of it (authentication? a wrong server?)"
    if heard and all(_WHY["M"] == source.why_not for source in heard):
        return WAITING, detail
    if heard and all(_WHY["s"] == source.why_not for source in heard):
        return UNSYNCHRONISED, detail
    return why, detail
