"""ntpd and ntpsec by their control protocol, "mode 6" (RFC 9327; ntpq(8) shows the same variables)."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import replace

from hostward.facts.keeper_state import (
    CANDIDATE,
    COMBINED,
    FALSETICKER,
    OWN_CLOCK,
    SELECTED,
    UNREACHED,
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
from hostward.host import HostError

_SOURCES_MAX = 64
_LEAPS = ("normal", "insert", "delete", "unsynchronised")
#: The peer selection of a status word, RFC 9327 section 3.2 (ntpq's tally: blank x . - + # * o).
_SELECTIONS = (UNUSED, FALSETICKER, UNUSED, CANDIDATE, COMBINED, CANDIDATE, SELECTED, SELECTED)
#: The bits of `flash`: why a source is not taken (ntpd/ntp.h, BOGON1 to BOGON13).
_FLASH = {
    0x0001: "sends duplicates",
    0x0002: "sends bogus answers",
    0x0004: "asks for no time stamps",
    0x0008: "denies access",
    0x0010: "fails authentication",
    0x0020: "is not synchronised itself",
    0x0040: "its distance is out of bounds",
    0x0080: "fails autokey",
    0x0100: "fails autokey",
    0x0200: "its stratum is out of bounds",
    0x0400: "its distance is more than maxdist",
    0x0800: "would be a loop",
    0x1000: "does not answer",
}
_UNSYNCHRONISED_FLASH = 0x0020
_LOCAL = "127.127.1."
_IS_LOCAL = "is the driver of the undisciplined local clock"


def ask(keeper: str) -> KeeperState:
    """Asks the ntpd or ntpsec of this machine.  Raises HostError when it does not answer."""
    from hostward.host.asks import READ_STATUS, READ_VARIABLES, NtpControl

    with NtpControl() as line:
        system = line.ask(READ_VARIABLES)
        words = associations(line.ask(READ_STATUS).data)
        peers: dict[int, bytes] = {}
        lost = 0
        for number_ in list(words)[:_SOURCES_MAX]:
            try:
                peers[number_] = line.ask(READ_VARIABLES, number_).data
            except HostError:  # gone since, as a pool's servers go; more of them, and it is the daemon that is slow
                lost += 1
                if lost > 2:
                    raise
    return parse(system.data, words, peers, keeper)


def associations(data: bytes) -> dict[int, int]:
    """Identifier -> status word of each association, of the answer to READ_STATUS."""
    return dict(struct.iter_unpack("!HH", data[: len(data) // 4 * 4]))


def variables(data: bytes) -> dict[str, str]:
    """The names and values of an answer to READ_VARIABLES: `name=value, name="value, with commas", ...`"""
    text = data[: 1 << 16].decode("latin-1")
    return {name: value.strip('"') for name, value in re.findall(r'([\w.]+)=\s*("[^"]*"|[^,\r\n]*)', text)}


def parse(system: bytes, words: Mapping[int, int], peers: Mapping[int, bytes], keeper: str) -> KeeperState:
    """`system` and each of `peers` are answers to READ_VARIABLES, `words` the status words of the associations."""
    ours = variables(system)
    sources = tuple(
        _source(variables(peers[id]), word, ours.get("clock", "")) for id, word in words.items() if id in peers
    )
    leap = whole(ours.get("leap", ""), most=3)
    stratum = whole(ours.get("stratum", ""), most=16)
    state = KeeperState(keeper, None, sources=sources, asked_by="mode 6")
    if leap is None or stratum is None:
        return replace(state, why_not=UNSELECTABLE, detail="its answer names neither leap nor stratum")
    state = replace(state, leap=_LEAPS[leap], stratum=stratum if stratum < 16 else None)
    chosen = next((source for source in sources if source.selection == SELECTED), None)
    if leap == 3 or stratum >= 16 or chosen is None:
        why, detail = _why_not(sources)
        return replace(state, synchronised=False, why_not=why, detail=detail)
    if chosen.address.startswith(_LOCAL):
        return replace(state, synchronised=False, why_not=OWN_CLOCK, detail=f"{chosen.address} {_IS_LOCAL}")
    distance = added(number(ours.get("rootdelay", ""), 0.5e-3), number(ours.get("rootdisp", ""), 1e-3))
    return replace(
        state,
        synchronised=True,
        source=chosen.address,
        # ntpd's offset is the source's time minus ours; its frequency what it adds to the clock's own.
        offset_s=negative(number(ours.get("offset", ""), 1e-3)),
        uncertainty_s=distance,
        root_distance_s=distance,
        frequency_ppm=negative(number(ours.get("frequency", ""))),
        skew_ppm=number(ours.get("clk_wander", "")),
        last_update_age_s=_age(ours.get("clock", ""), ours.get("reftime", "")),
    )


def _why_not(sources: tuple[SourceState, ...]) -> tuple[str, str]:
    # Pool entries stand for no server; the servers they found stand beside them.
    real = [source for source in sources if source.kind != "pool"]
    if sources and not real:
        return WAITING, f"no server of {', '.join(source.address for source in sources[:5])} has been found yet"
    if real and all(source.address.startswith(_LOCAL) for source in real):
        return OWN_CLOCK, f"{real[0].address} {_IS_LOCAL}"
    why, detail = why_none(real)
    heard = [source for source in real if source.reach]
    asleep = [source for source in real if source.why_not == _FLASH[_UNSYNCHRONISED_FLASH]]
    if real and len(asleep) == len(real):
        return UNSYNCHRONISED, detail
    # A selection needs a handful of answers: four polls after the start there still is none.
    if why == UNSELECTABLE and all((source.reach or 0) < 0o17 for source in heard):
        return WAITING, detail
    return why, detail


def _source(peer: Mapping[str, str], word: int, clock: str) -> SourceState:
    address = peer.get("srcadr", "")
    host = peer.get("srchost", "")
    reach = whole(peer.get("reach", ""), 0 if peer.get("reach", "").startswith("0x") else 8, 0o377)
    selection = _SELECTIONS[word >> 8 & 7]
    flash = whole(peer.get("flash", ""), 16, 0xFFFF) or 0
    if not reach and selection == UNUSED:
        selection = UNREACHED
    heard = bool(reach)
    stratum = whole(peer.get("stratum", ""), most=16)
    reasons = [text for bit, text in _FLASH.items() if flash & bit]
    poll = number(peer.get("hpoll", ""))
    mode = peer.get("hmode", "")
    kind = "reference clock" if address.startswith("127.127.") or "refclock" in peer else "server"
    if peer.get("srcadr", "") in ("0.0.0.0", "::"):
        kind = "pool"
    elif mode in ("1", "2"):
        kind = "peer"
    return SourceState(
        address if kind != "pool" else host or address,
        kind,
        selection,
        stratum if stratum is not None and stratum < 16 else None,
        reach,
        2.0**poll if poll is not None and 0 <= poll <= 30 else None,
        _age(clock, peer.get("rec", "")),
        negative(number(peer.get("offset", ""), 1e-3)) if heard else None,
        added(number(peer.get("delay", ""), 0.5e-3), number(peer.get("dispersion", ""), 1e-3)) if heard else None,
        "" if selection in (SELECTED, COMBINED) else _words(selection, reasons, heard),
    )


def _words(selection: str, reasons: list[str], heard: bool) -> str:
    if _FLASH[_UNSYNCHRONISED_FLASH] in reasons:
        return _FLASH[_UNSYNCHRONISED_FLASH]
    if not heard:
        return "does not answer"
    if selection == FALSETICKER:
        return "differs from the majority"
    return ", ".join(dict.fromkeys(reasons))


def _stamp(text: str) -> float | None:
    """Seconds since 1900 of an NTP time stamp, 0xSECONDS.FRACTION; None for none and for the zero stamp."""
    match = re.match(r"0x([0-9a-f]{8})\.([0-9a-f]{8})", text)
    if match is None or match.group(1) == "00000000":
        return None
    return int(match.group(1), 16) + int(match.group(2), 16) / 2**32


def _age(now: str, then: str) -> float | None:
    """Seconds from one NTP time stamp to another, across the turn of the era."""
    a, b = _stamp(now), _stamp(then)
    if a is None or b is None:
        return None
    age = (a - b) % 2**32
    return age if age < 2**31 else None
