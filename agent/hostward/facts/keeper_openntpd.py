"""OpenNTPD's ntpd as ntpctl tells of it (ntpctl(8), `-s all`)."""

from __future__ import annotations

import re

from hostward.facts.keeper_state import (
    CANDIDATE,
    NO_SOURCE,
    SELECTED,
    SILENT,
    UNREACHABLE,
    UNREACHED,
    UNUSED,
    WAITING,
    KeeperState,
    SourceState,
    added,
    negative,
    number,
    whole,
)
from hostward.host import Host

ASK = ("ntpctl", "-s", "all")
_STATUS = re.compile(r"(?:(\d+)/(\d+) peers valid, )?.*?clock (synced|unsynced)(?:, stratum (\d+))?")
_ROW = re.compile(r"\s+(\*?)\s+(\d+)\s+(\d+)\s+(\S+)\s+(\S+)\s+(\S+)\s+(.*)$")
_TIMES = re.compile(r"(-?[\d.]+)ms\s+([\d.]+)ms\s+([\d.]+)ms")


def ask(host: Host, keeper: str = "openntpd") -> KeeperState:
    """Asks the OpenNTPD of this machine.  Raises HostError where ntpctl can't be run."""
    said = host.run(ASK)
    return parse(said.stdout or said.stderr, keeper)


def parse(text: str, keeper: str = "openntpd") -> KeeperState:
    """What ASK printed.  It tells neither the distance to the primary clock nor the clock's frequency."""
    lines = text.splitlines()[:10_000]
    status = next((match for match in map(_STATUS.match, lines) if match), None)
    sources = tuple(_sources(lines))
    if status is None and not sources and not any(line.startswith("no peers") for line in lines):
        first = next((line.strip() for line in lines if line.strip()), "ntpctl printed nothing")
        return KeeperState(keeper, None, why_not=SILENT, detail=first[:200], asked_by="ntpctl")
    synced = status is not None and status.group(3) == "synced"
    chosen = next((source for source in sources if source.selection == SELECTED), None)
    if not synced:
        why, detail = _why_not(sources)
        unsynced = "unsynchronised"
        return KeeperState(keeper, False, leap=unsynced, sources=sources, why_not=why, detail=detail, asked_by="ntpctl")
    return KeeperState(
        keeper,
        True,
        source=chosen.address if chosen else "",
        stratum=whole((status.group(4) if status else None) or "", most=16),
        offset_s=chosen.offset_s if chosen else None,
        uncertainty_s=chosen.error_s if chosen else None,
        sources=sources,
        asked_by="ntpctl",
    )


def _sources(lines: list[str]) -> list[SourceState]:
    """A name on a line of its own, then its figures on an indented one; "sensor" begins another table."""
    found: list[SourceState] = []
    name = ""
    kind = "server"
    for line in lines:
        row = _ROW.match(line)
        if row and name:
            found.append(_source(name, kind, row))
        elif line in ("peer", "sensor"):
            kind = "reference clock" if line == "sensor" else "server"
        elif line and not line[0].isspace():
            name = line.split()[0]
    return found


def _source(name: str, kind: str, row: re.Match[str]) -> SourceState:
    star, _, trust, stratum, _, poll, rest = row.groups()
    times = _TIMES.match(rest)
    level = int(trust[:9])
    answered = times is not None or stratum != "-"
    why = "" if times else f"not valid yet, at trust level {level}" if answered else "does not answer"
    return SourceState(
        name,
        kind,
        SELECTED if star else CANDIDATE if times else UNUSED if answered else UNREACHED,
        whole(stratum, most=16),
        None,
        number(poll.rstrip("s")),
        None,
        negative(number(times.group(1), 1e-3)) if times else None,
        added(number(times.group(2), 0.5e-3), number(times.group(3), 1e-3)) if times else None,
        why,
    )


def _why_not(sources: tuple[SourceState, ...]) -> tuple[str, str]:
    if not sources:
        return NO_SOURCE, ""
    heard = [source for source in sources if source.selection != UNREACHED]
    if not heard:
        return UNREACHABLE, f"none of {', '.join(source.address for source in sources[:5])} answers"
    # It calls the clock synced once what it adjusts by has become small (ntpd(8)), however many are valid before.
    said = [f"{source.address}: {source.why_not or 'valid'}" for source in heard[:5]]
    return WAITING, "; ".join(said)
