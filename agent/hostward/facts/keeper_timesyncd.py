"""systemd-timesyncd as org.freedesktop.timesync1 on the system bus tells of it (org.freedesktop.timesync1(5))."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from hostward.facts.keeper_state import (
    NO_SOURCE,
    SELECTED,
    SILENT,
    UNREACHABLE,
    UNREACHED,
    UNRESOLVED,
    KeeperState,
    SourceState,
)
from hostward.host import Host

_PROPERTIES = (
    "ServerName", "ServerAddress", "NTPMessage", "Frequency", "PollIntervalUSec", "LinkNTPServers",
    "SystemNTPServers", "FallbackNTPServers",
)  # fmt: skip
_OBJECT = ("org.freedesktop.timesync1", "/org/freedesktop/timesync1", "org.freedesktop.timesync1.Manager")
ASK = ("busctl", "--system", "--timeout=3", "get-property", *_OBJECT, *_PROPERTIES)
_LEAPS = ("normal", "insert", "delete", "unsynchronised")
#: Twice its longest poll (PollIntervalMaxSec, 2048 s): a server that answered is asked again within that.
_STALE_S = 4096.0
_US = 1e-6


@dataclass(frozen=True)
class _Message:
    """The last answer of a server: `offset_us` is the server's time minus ours as it was measured."""

    leap: int
    stratum: int
    distance_us: int
    offset_us: float
    delay_us: int
    at_us: int
    jitter_us: int
    ignored: bool


def ask(host: Host, keeper: str = "systemd-timesyncd") -> KeeperState:
    """Asks the timesyncd of this machine.  Raises HostError where busctl can't be run."""
    from hostward.host.asks import realtime_s

    said = host.run(ASK)
    if said.status != 0 and not said.stdout:
        return KeeperState(keeper, None, why_not=SILENT, detail=said.said[:200], asked_by="busctl")
    return parse(said.stdout, realtime_s(), keeper)


def parse(text: str, now_s: float, keeper: str = "systemd-timesyncd") -> KeeperState:
    """What ASK printed: one line a property, its D-Bus type first.  `now_s` is CLOCK_REALTIME.

    The offset is the one that the last poll measured, before timesyncd took it away.
    """
    lines = text.splitlines()[:100]
    state = KeeperState(keeper, None, asked_by="busctl")
    if len(lines) < len(_PROPERTIES):
        return replace(state, why_not=SILENT, detail="org.freedesktop.timesync1 does not have all its properties")
    name = _strings(lines[0])[:1]
    address = _address(lines[1].split())
    message = _message(lines[2].split())
    poll = _integer(lines[4].split()[-1:]) or None
    servers = [server for line in lines[5:8] for server in _strings(line)]
    frequency = _integer(lines[3].split()[-1:])
    if frequency is not None:
        # The kernel's word, ppm << 16: what is added to the clock's own rate.
        state = replace(state, frequency_ppm=0.0 - frequency / 65536)
    source = address or (name[0] if name else "")
    found = SourceState(source, "server", UNREACHED, poll_s=poll * _US if poll else None, why_not="does not answer")
    if message is not None:
        age = max(now_s - message.at_us * _US, 0.0)
        offset = 0.0 - message.offset_us * _US
        bound = (message.delay_us / 2 + message.jitter_us) * _US
        found = replace(
            found, selection=SELECTED, stratum=message.stratum, last_heard_s=age, offset_s=offset, error_s=bound,
            why_not="a spike was passed over" if message.ignored else "",
        )  # fmt: skip
        distance = (message.delay_us / 2 + message.distance_us + message.jitter_us) * _US
        state = replace(
            state, synchronised=True, source=source, stratum=message.stratum + 1, offset_s=offset,
            uncertainty_s=distance, root_distance_s=distance, last_update_age_s=age, leap=_LEAPS[message.leap],
            sources=(found,),
        )  # fmt: skip
        if age <= _STALE_S and source:
            return state
        said = f"the last answer, of {source or 'a server'}, is {age:.0f} s old"
        return replace(state, synchronised=False, why_not=UNREACHABLE, detail=said)
    state = replace(state, synchronised=False, leap="unsynchronised", sources=(found,) if source else ())
    if not servers and not source:
        return replace(state, why_not=NO_SOURCE)
    names = ", ".join(dict.fromkeys(servers)) or source
    if not address:
        return replace(state, why_not=UNRESOLVED, detail=f"configured: {names}")
    return replace(state, why_not=UNREACHABLE, detail=f"{source} has sent no answer that can be used ({names})")


def _strings(line: str) -> list[str]:
    """The strings of a value as busctl writes them: quoted, with C's escapes."""
    return re.findall(r'"([^"]{1,255})"', line[:100_000])[:100]


def _integer(words: list[str]) -> int | None:
    if not words or not re.fullmatch(r"-?\d{1,20}", words[0]):
        return None
    return int(words[0])


def _address(words: list[str]) -> str:
    """`(iay) FAMILY COUNT BYTE ...`: 4 bytes for IPv4, 16 for IPv6, none while there is no server."""
    import ipaddress

    numbers = words[3:]
    if len(numbers) not in (4, 16) or any(not re.fullmatch(r"\d{1,3}", word) or int(word) > 255 for word in numbers):
        return ""
    return str(ipaddress.ip_address(bytes(int(word) for word in numbers)))


def _message(words: list[str]) -> _Message | None:
    """`(uuuuittayttttbtt) ...` as NTPMessage has it; None while no server has answered (all stamps are zero)."""
    if len(words) < 9 or not words[0].startswith("(uuuuittay"):
        return None
    count = _integer(words[8:9])
    rest = words[1:8] + words[9 + count :] if count is not None and 0 <= count <= 64 else []
    if len(rest) != 14:
        return None
    flag = rest.pop(11)
    numbers = [_integer([word]) for word in rest]
    known = [value for value in numbers if value is not None]
    if len(known) != len(numbers) or flag not in ("true", "false"):
        return None
    leap, _, mode, stratum, _, delay, dispersion, origin, receive, transmit, destination, _, jitter = known
    if not destination or not mode or leap not in range(4) or stratum not in range(17) or max(known) >= 1 << 63:
        return None
    return _Message(
        leap,
        stratum,
        delay // 2 + dispersion,
        ((receive - origin) + (transmit - destination)) / 2,
        (destination - origin) - (transmit - receive),
        destination,
        jitter,
        flag == "true",
    )
