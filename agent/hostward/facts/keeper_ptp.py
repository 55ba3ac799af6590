"""ptp4l as pmc tells of it (pmc(8), IEEE 1588 management messages), and phc2sys by the lines it logs."""

from __future__ import annotations

import re
from dataclasses import replace

from hostward.facts.keeper_state import (
    NO_SOURCE,
    SELECTED,
    SILENT,
    UNREACHABLE,
    UNREACHED,
    UNSELECTABLE,
    UNUSED,
    WAITING,
    KeeperState,
    SourceState,
    negative,
    number,
    whole,
)
from hostward.host import Host

_SETS = ("DEFAULT_DATA_SET", "CURRENT_DATA_SET", "PARENT_DATA_SET", "TIME_PROPERTIES_DATA_SET", "TIME_STATUS_NP",
         "PORT_DATA_SET")  # fmt: skip
ASK = ("pmc", "-u", "-b", "0", *(f"GET {name}" for name in _SETS))
#: The last lines of phc2sys; it logs one a second unless told otherwise (-u).
ASK_LOG = ("journalctl", "--no-pager", "-q", "-o", "cat", "-n", "50", "--since", "-15min")

_HEAD = re.compile(r"\s+(\S+) seq \d+ RESPONSE MANAGEMENT (\S+)")
_VALUE = re.compile(r"\s+(\w+)\s+(\S+)")
_NS = 1e-9
_LINE = re.compile(
    r"(?:phc2sys\[[\d.]+\]: )?(?:\[[^\]]*\] )?(\S+) (?:phc|sys|master) offset +(-?\d+) s(\d) freq +([+-]?\d+)"
    r"(?: delay +(\d+))?"
)
_SUMMARY = re.compile(
    r"(?:phc2sys\[[\d.]+\]: )?(?:\[[^\]]*\] )?(\S+) rms +(\d+) max +(\d+) freq +([+-]?\d+) \+/- +(\d+)"
    r"(?: delay +(\d+))?"
)


def ask(host: Host, keeper: str = "ptp4l") -> KeeperState:
    """Asks the ptp4l of this machine over its local socket.  Raises HostError where pmc can't be run."""
    said = host.run(ASK)
    return parse(said.stdout, keeper)


def parse(text: str, keeper: str = "ptp4l") -> KeeperState:
    """What ASK printed: each data set as a heading and `name value` lines; PORT_DATA_SET comes once a port."""
    sets: dict[str, dict[str, str]] = {}
    ports: list[tuple[str, dict[str, str]]] = []
    values: dict[str, str] = {}
    for line in text.splitlines()[:10_000]:
        head = _HEAD.match(line)
        value = _VALUE.match(line)
        if head:
            values = {}
            if head.group(2) == "PORT_DATA_SET":
                ports.append((head.group(1), values))
            else:
                sets[head.group(2)] = values
        elif value:
            values[value.group(1)] = value.group(2)
    if not sets and not ports:
        return KeeperState(keeper, None, why_not=SILENT, detail="no answer to pmc on its local socket", asked_by="pmc")
    parent, now = sets.get("PARENT_DATA_SET", {}), sets.get("TIME_STATUS_NP", {})
    states = [port.get("portState", "") for _, port in ports]
    grandmaster = parent.get("grandmasterIdentity", "")
    state = KeeperState(keeper, False, asked_by="pmc", leap=_leap(sets.get("TIME_PROPERTIES_DATA_SET", {})))
    if "SLAVE" not in states and "UNCALIBRATED" not in states:
        why, detail = _why_not(states)
        return replace(state, why_not=why, detail=detail)
    offset = number(now.get("master_offset", ""), _NS)
    current = sets.get("CURRENT_DATA_SET", {})
    delay = number(current.get("meanPathDelay", ""), _NS)
    source = SourceState(
        grandmaster, "grandmaster", SELECTED, whole(current.get("stepsRemoved", "")), offset_s=offset, error_s=delay
    )
    state = replace(state, source=grandmaster, offset_s=offset, uncertainty_s=delay, sources=(source,))
    if "SLAVE" not in states:
        return replace(state, why_not=WAITING, detail="its port is UNCALIBRATED: the servo has not locked yet")
    return replace(state, synchronised=True)


def _leap(properties: dict[str, str]) -> str:
    if properties.get("leap61") == "1":
        return "insert"
    return "delete" if properties.get("leap59") == "1" else "normal"


def _why_not(states: list[str]) -> tuple[str, str]:
    said = f"the state of its ports: {', '.join(states)}"
    if not states:
        return NO_SOURCE, "it has no port"
    if all(state in ("INITIALIZING", "LISTENING") for state in states):
        return UNREACHABLE, f"no grandmaster is heard ({said})"
    if any(state in ("MASTER", "GRAND_MASTER", "PRE_MASTER") for state in states):
        return UNREACHABLE, f"no better clock is heard, so it serves its own ({said})"
    return UNSELECTABLE, said


def ask_log(host: Host, service: str, keeper: str = "phc2sys") -> KeeperState:
    """What phc2sys logged last: it answers nobody.  Raises HostError where the journal can't be read."""
    said = host.run((*ASK_LOG, "-u", service))
    return parse_log(said.stdout, keeper)


def parse_log(text: str, keeper: str = "phc2sys") -> KeeperState:
    """Lines like `CLOCK_REALTIME phc offset -12 s2 freq -700 delay 512` (ns, ppb, ns; s0 unlocked, s1 steps,
    s2 locked: phc2sys(8)), or with -u `CLOCK_REALTIME rms 9 max 20 freq -700 +/- 10 delay 512 +/- 3`."""
    state = KeeperState(keeper, None, asked_by="journal")
    for line in reversed(text.splitlines()[-10_000:]):
        match, summary = _LINE.match(line), _SUMMARY.match(line)
        found = match or summary
        if found is None:
            continue
        delay = number(found.group(5 if match else 6) or "", _NS)
        locked = match.group(3) == "2" if match else True
        offset = number(found.group(2), _NS) if match else None
        bound = delay if match else number(found.group(3), _NS)
        # What it adds to the clock's own frequency, in ppb.
        frequency = negative(number(found.group(4), 1e-3))
        why = "" if locked else WAITING
        detail = "" if locked else f"its servo is in state s{found.group(3)}, not locked"
        source = SourceState("PHC", "reference clock", SELECTED if locked else UNUSED, offset_s=offset, error_s=bound)
        return replace(
            state, synchronised=locked, source="PHC", offset_s=offset, uncertainty_s=bound, frequency_ppm=frequency,
            sources=(source,), why_not=why, detail=detail,
        )  # fmt: skip
    waiting = [line for line in text.splitlines() if "Waiting for ptp4l" in line]
    if waiting:
        source = SourceState("ptp4l", "server", UNREACHED)
        return replace(state, synchronised=False, why_not=WAITING, detail=waiting[-1][-200:], sources=(source,))
    return replace(state, why_not=SILENT, detail="it logged no offset in the last 15 minutes")
