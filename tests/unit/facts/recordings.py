"""Recorded output of real keepers: tests/recordings/keepers/DAEMON_VERSION_CASE.KIND, of Debian 11, 12 and 13.

The sources were servers with a known error: 10.9.0.1 exact (stratum 1), .2 1 ms ahead, .3 0.5 ms ahead, .4 5 s
ahead, .5 5 s behind, .6 where nothing listens, .7 one that says it is not synchronised, .8 11 s ahead, .9 exact
until it stopped.
Beside each answer is what the daemon's own tool printed for eyes at the same time (KIND "said").
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from hypothesis import HealthCheck, settings

PLACE = Path(__file__).parents[2] / "recordings" / "keepers"
#: This machine's clock minus each server's.
OFFSETS_S = {
    "10.9.0.1": 0.0,
    "10.9.0.2": -0.001,
    "10.9.0.3": -0.0005,
    "10.9.0.4": -5.0,
    "10.9.0.5": 5.0,
    "10.9.0.8": -11.0,
}


#: For tests by hypothesis: a loaded machine is no fault of a parser.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def recorded(daemon: str, case: str, kind: str) -> list[Path]:
    """The recordings of a case, one for each version."""
    found = sorted(PLACE.glob(f"{daemon}_*_{case}.{kind}"))
    assert found, f"no recording {daemon}_*_{case}.{kind}"
    return found


def versions(daemon: str, kind: str) -> set[str]:
    return {path.name.split("_")[1] for path in PLACE.glob(f"{daemon}_*.{kind}")}


def said(path: Path) -> str:
    """What the daemon's tool printed for eyes at the same time."""
    return path.with_suffix(".said").read_text()


def figure(text: str, pattern: str) -> float:
    match = re.search(pattern, text, re.M)
    assert match, f"{pattern!r} is not in\n{text}"
    return float(match.group(1))


def mode6(path: Path) -> tuple[bytes, bytes, dict[int, bytes]]:
    """The answers for the associations, the system's variables and each association's."""
    answers = json.loads(path.read_text())
    peers = {int(id): said[1].encode("latin-1") for id, said in answers.items() if id.isdigit() and id != "0"}
    return bytes.fromhex(answers["associations"][1]), answers["0"][1].encode("latin-1"), peers
