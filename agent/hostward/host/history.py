"""The agent's own small memory of the clock: a bounded table of samples in its SQLite file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hostward.host.database import NAME, Database

if TYPE_CHECKING:
    import sqlite3

#: Samples of one boot and one reference; beyond it those nearest to their neighbours go, so that the span stays.
SAMPLES_MAX = 512
#: Boots whose samples are kept.
BOOTS_MAX = 8


@dataclass(frozen=True)
class ClockSample:
    """One reading of the system clock against a reference, in one boot.

    `realtime_ns` and `raw_ns` are CLOCK_REALTIME and CLOCK_MONOTONIC_RAW at one instant; `ahead_s` is how far the
    system clock was ahead of the reference then, right to within `bound_s`.
    """

    boot: str
    reference: str
    realtime_ns: int
    raw_ns: int
    ahead_s: float
    bound_s: float


class History:
    """The samples in one file.  Every error is a HostError that names it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._database = Database(path)

    @classmethod
    def of_this_agent(cls) -> History:
        """/var/lib/hostward for root; $XDG_STATE_HOME/hostward or ~/.local/state/hostward for anyone else."""
        if os.geteuid() == 0:
            return cls(f"/var/lib/hostward/{NAME}")
        state = os.environ.get("XDG_STATE_HOME", "")
        if not state.startswith("/"):
            state = os.path.join(os.path.expanduser("~"), ".local", "state")
        return cls(os.path.join(state, "hostward", NAME))

    def add(self, samples: Iterable[ClockSample]) -> str:
        """Adds samples and forgets old ones.  Returns "", or what had to be done about a damaged file.

        Raises HostError where nothing can be written, Untrusted where someone else could have put the file there.
        """
        samples = list(samples)
        return self._database.change(lambda database: _add(database, samples), "no sample could be written")[1]

    def samples(self, boot: str) -> list[ClockSample]:
        """The samples of one boot, oldest first.  Raises Missing where none was ever taken, HostError otherwise."""

        def of_boot(database: sqlite3.Connection) -> list[ClockSample]:
            rows = database.execute(
                "SELECT boot, reference, realtime_ns, raw_ns, ahead_s, bound_s FROM clock_sample"
                " WHERE boot = ? ORDER BY id",
                (boot,),
            ).fetchall()
            return [ClockSample(str(b), str(r), int(t), int(w), float(a), float(e)) for b, r, t, w, a, e in rows]

        return self._database.read(of_boot, "holds no samples yet; each `hostward clock` adds one")


def _add(database: sqlite3.Connection, samples: list[ClockSample]) -> None:
    for s in samples:
        database.execute(
            "INSERT INTO clock_sample (boot, reference, realtime_ns, raw_ns, ahead_s, bound_s)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (s.boot, s.reference, s.realtime_ns, s.raw_ns, s.ahead_s, s.bound_s),
        )
    for of in {(s.boot, s.reference) for s in samples}:
        rows = database.execute(
            "SELECT id, raw_ns FROM clock_sample WHERE boot = ? AND reference = ? ORDER BY id", of
        ).fetchall()
        database.executemany("DELETE FROM clock_sample WHERE id = ?", [(id,) for id in _crowded(rows)])
    database.execute(
        "DELETE FROM clock_sample WHERE boot NOT IN"
        " (SELECT boot FROM clock_sample GROUP BY boot ORDER BY max(id) DESC LIMIT ?)",
        (BOOTS_MAX,),
    )


def _crowded(rows: list[tuple[int, int]]) -> list[int]:
    """The ids to forget, of (id, raw_ns) in order: while there are too many, the one whose neighbours are nearest."""
    rows, gone = list(rows), []
    while len(rows) > SAMPLES_MAX:
        worst = min(range(1, len(rows) - 1), key=lambda i: rows[i + 1][1] - rows[i - 1][1])
        gone.append(rows.pop(worst)[0])
    return gone
