"""The agent's own small memory of the clock: one bounded SQLite file of samples, safe against a kill at any instant."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass

from hostward.host.errors import HostError, Missing, Unreadable, Untrusted, from_oserror

#: Samples of one boot and one reference; beyond it those nearest to their neighbours go, so that the span stays.
SAMPLES_MAX = 512
#: Boots whose samples are kept.
BOOTS_MAX = 8
_NAME = "hostward.db"
_SCHEMA = 1
_WAIT_S = 2.0  # for another hostward that is writing


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

    @classmethod
    def of_this_agent(cls) -> History:
        """/var/lib/hostward for root; $XDG_STATE_HOME/hostward or ~/.local/state/hostward for anyone else."""
        if os.geteuid() == 0:
            return cls(f"/var/lib/hostward/{_NAME}")
        state = os.environ.get("XDG_STATE_HOME", "")
        if not state.startswith("/"):
            state = os.path.join(os.path.expanduser("~"), ".local", "state")
        return cls(os.path.join(state, "hostward", _NAME))

    def add(self, samples: Iterable[ClockSample]) -> str:
        """Adds samples and forgets old ones.  Returns "", or what had to be done about a damaged file.

        Raises HostError where nothing can be written, Untrusted where someone else could have put the file there.
        """
        import sqlite3

        samples = list(samples)
        said = ""
        for attempt in (1, 2):
            try:
                self._make_place()
                self._add(samples)
                return said
            except sqlite3.OperationalError as error:
                why = "its directory can't be written to" if _unwritable(self.path) else str(error)
                raise HostError(self.path, f"no sample could be written: {why}") from None
            except sqlite3.DatabaseError as error:
                if attempt == 2:
                    raise HostError(self.path, f"can't be used: {error}") from None
                said = self._put_aside(error)
        return said

    def samples(self, boot: str) -> list[ClockSample]:
        """The samples of one boot, oldest first.  Raises Missing where none was ever taken, HostError otherwise."""
        import sqlite3

        self._must_be_ours()
        if not os.path.lexists(self.path):
            raise Missing(self.path, "holds no samples yet; each `hostward clock` adds one")
        for mode in ("mode=ro", "immutable=1"):  # the second: a file system that takes no lock file beside it
            try:
                database = sqlite3.connect(f"file:{_quoted(self.path)}?{mode}", uri=True, timeout=_WAIT_S)
                try:
                    self._version(database)
                    rows = database.execute(
                        "SELECT boot, reference, realtime_ns, raw_ns, ahead_s, bound_s FROM clock_sample"
                        " WHERE boot = ? ORDER BY id",
                        (boot,),
                    ).fetchall()
                finally:
                    database.close()
                return [ClockSample(str(b), str(r), int(t), int(w), float(a), float(e)) for b, r, t, w, a, e in rows]
            except sqlite3.OperationalError as error:
                if mode == "immutable=1" or not _unwritable(self.path):
                    raise HostError(self.path, f"can't be read: {error}") from None
            except (sqlite3.DatabaseError, ValueError, TypeError) as error:
                raise HostError(
                    self.path, f"is damaged ({error}); the next `hostward clock` puts it aside and begins a new one"
                ) from None
        raise AssertionError("unreachable")

    def _add(self, samples: list[ClockSample]) -> None:
        import sqlite3

        mask = os.umask(0o077)
        try:
            database = sqlite3.connect(self.path, timeout=_WAIT_S, isolation_level=None)
        finally:
            os.umask(mask)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute("BEGIN IMMEDIATE")
            if self._version(database) == 0:
                database.execute(
                    "CREATE TABLE clock_sample (id INTEGER PRIMARY KEY, boot TEXT NOT NULL, reference TEXT NOT NULL,"
                    " realtime_ns INTEGER NOT NULL, raw_ns INTEGER NOT NULL, ahead_s REAL NOT NULL,"
                    " bound_s REAL NOT NULL)"
                )
                database.execute("CREATE INDEX clock_sample_of ON clock_sample (boot, reference, id)")
                database.execute(f"PRAGMA user_version = {_SCHEMA}")
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
            database.execute("COMMIT")
        finally:
            database.close()

    def _version(self, database: object) -> int:
        """The file's schema: 0 for an empty file.  Raises HostError for one that a newer hostward wrote."""
        import sqlite3

        assert isinstance(database, sqlite3.Connection)
        version = int(database.execute("PRAGMA user_version").fetchone()[0])
        if version > _SCHEMA:
            raise HostError(self.path, f"was written by a newer hostward (schema {version}); it was left as it is")
        return version

    def _make_place(self) -> None:
        try:
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
        except OSError as error:
            raise from_oserror(os.path.dirname(self.path), error) from None
        self._must_be_ours()

    def _must_be_ours(self) -> None:
        """SQLite opens by name, so nobody else may be able to change what the name means."""
        directory = os.path.dirname(self.path)
        for path, kind in ((directory, stat.S_ISDIR), (self.path, stat.S_ISREG)):
            try:
                status = os.lstat(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise from_oserror(path, error) from None
            if not kind(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
                raise Untrusted(
                    path,
                    "not used: it must be a plain directory or file that belongs to this user and nobody else can write"
                    f" (it belongs to user {status.st_uid}, mode {status.st_mode & 0o7777:o})",
                )

    def _put_aside(self, error: Exception) -> str:
        """Moves a damaged file to NAME.damaged (the one before it goes), and its write-ahead files away."""
        aside = f"{self.path}.damaged"
        try:
            os.replace(self.path, aside)
            for suffix in ("-wal", "-shm", "-journal"):
                try:
                    os.unlink(self.path + suffix)
                except FileNotFoundError:
                    pass
        except OSError as failure:
            raise Unreadable(self.path, f"is damaged ({error}) and can't be moved: {failure}") from None
        return f"{self.path} was damaged ({error}); it was moved to {aside} and a new one begun"


def _crowded(rows: list[tuple[int, int]]) -> list[int]:
    """The ids to forget, of (id, raw_ns) in order: while there are too many, the one whose neighbours are nearest."""
    rows, gone = list(rows), []
    while len(rows) > SAMPLES_MAX:
        worst = min(range(1, len(rows) - 1), key=lambda i: rows[i + 1][1] - rows[i - 1][1])
        gone.append(rows.pop(worst)[0])
    return gone


def _unwritable(path: str) -> bool:
    """Whether SQLite may not make its lock and log files beside the database."""
    return not os.access(os.path.dirname(path), os.W_OK) or bool(
        os.statvfs(os.path.dirname(path)).f_flag & os.ST_RDONLY
    )


def _quoted(path: str) -> str:
    """A path in a file: URI of SQLite."""
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
