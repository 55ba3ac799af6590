"""The agent's SQLite file: who may own it, how it is written, read, migrated, and replaced when it is damaged.

It survives a kill at any instant (write-ahead log), a corrupt file (put aside, a new one begun), a full disk and a
read-only file system (it can still be read), and another hostward that writes at the same time (waited for).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from hostward.host.errors import HostError, Missing, Unreadable, Untrusted, from_oserror

if TYPE_CHECKING:
    import sqlite3

T = TypeVar("T")

NAME = "hostward.db"
#: How long another hostward that is writing is waited for, in seconds.
WAIT_S = 2.0

#: What makes each schema of the one before it: the first of nothing.  A file is brought up to date by its next writer.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE clock_sample (id INTEGER PRIMARY KEY, boot TEXT NOT NULL, reference TEXT NOT NULL,"
        " realtime_ns INTEGER NOT NULL, raw_ns INTEGER NOT NULL, ahead_s REAL NOT NULL, bound_s REAL NOT NULL)",
        "CREATE INDEX clock_sample_of ON clock_sample (boot, reference, id)",
    ),
    (
        # `kept`: the findings are those of an earlier time, since the check can't judge at present.
        "CREATE TABLE result (check_id TEXT PRIMARY KEY, outcome TEXT NOT NULL, reason TEXT NOT NULL,"
        " applicable INTEGER NOT NULL, kept INTEGER NOT NULL, document TEXT NOT NULL,"
        " since_at REAL NOT NULL, since_boot TEXT NOT NULL, since_up REAL NOT NULL,"
        " judged_at REAL NOT NULL, judged_boot TEXT NOT NULL, judged_up REAL NOT NULL)",
        # `told`: whether the journal has it; what a kill or a journal that was away left untold is told later.
        "CREATE TABLE transition (id INTEGER PRIMARY KEY, at REAL NOT NULL, boot TEXT NOT NULL, up REAL NOT NULL,"
        " check_id TEXT NOT NULL, subject TEXT NOT NULL, what TEXT NOT NULL, severity TEXT NOT NULL,"
        " summary TEXT NOT NULL, document TEXT NOT NULL, told INTEGER NOT NULL DEFAULT 0)",
        "CREATE INDEX transition_of ON transition (check_id, id)",
        "CREATE INDEX transition_untold ON transition (told, id)",
        "CREATE TABLE measure (name TEXT PRIMARY KEY, document TEXT NOT NULL)",
        "CREATE TABLE run (id INTEGER PRIMARY KEY CHECK (id = 1), at REAL NOT NULL, boot TEXT NOT NULL,"
        " up REAL NOT NULL, duration_s REAL NOT NULL, document TEXT NOT NULL)",
    ),
)
SCHEMA = len(MIGRATIONS)


class Garbled(ValueError):
    """A row that hostward did not write so: the file is damaged, though SQLite can read it."""


class Database:
    """One file.  Every error is a HostError that names it.

    `keep_open`: the connection stays open between changes, till `close`; the last one to close writes the log into the
    file and waits for the disk, which is not to happen after each of several changes.
    """

    def __init__(self, path: str, keep_open: bool = False) -> None:
        self.path = path
        self._keep_open = keep_open
        self._open: sqlite3.Connection | None = None
        self._open_inode: int | None = None

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def remove(self) -> None:
        """Removes the file and what SQLite keeps beside it."""
        for suffix in ("", "-wal", "-shm", "-journal"):
            try:
                os.unlink(self.path + suffix)
            except OSError:
                pass

    def change(
        self, work: Callable[[sqlite3.Connection], T], failed: str = "nothing could be written"
    ) -> tuple[T, str]:
        """Does `work` in one transaction.  Returns its answer, and "" or what had to be done about a damaged file.

        Raises HostError (its reason begins with `failed`) where nothing can be written, Untrusted where someone else
        could have put the file there.
        """
        import sqlite3

        said = ""
        for attempt in (1, 2):
            seen = None
            try:
                self._make_place()
                seen = _inode(self.path)
                return self._change(work), said
            except (sqlite3.DatabaseError, Garbled) as error:
                if not _is_damage(error):
                    why = "its directory can't be written to" if _unwritable(self.path) else str(error)
                    raise HostError(self.path, f"{failed}: {why}") from None
                if attempt == 2:
                    raise HostError(self.path, f"can't be used: {error}") from None
                said = self._put_aside(error, seen)
        raise AssertionError("unreachable")

    def read(self, work: Callable[[sqlite3.Connection], T], absent: str) -> T:
        """What `work` answers, read only.  Raises Missing with the words `absent` where there is no file or what an
        older hostward wrote holds no such table yet, HostError otherwise."""
        import sqlite3

        self._must_be_ours(readers=True)
        if not os.path.lexists(self.path):
            raise Missing(self.path, absent)
        version = 0
        for mode in ("mode=ro", "immutable=1"):  # the second: a file system that takes no lock file beside it
            try:
                database = sqlite3.connect(f"file:{_quoted(self.path)}?{mode}", uri=True, timeout=WAIT_S)
                try:
                    version = self._version(database)
                    return work(database)
                finally:
                    database.close()
            except sqlite3.OperationalError as error:
                if "no such table" in str(error) and version < SCHEMA:
                    raise Missing(self.path, absent) from None
                if mode == "immutable=1" or not _unwritable(self.path):
                    raise HostError(self.path, f"can't be read: {error}") from None
            except (sqlite3.DatabaseError, ValueError, TypeError) as error:
                raise HostError(
                    self.path, f"is damaged ({error}); the next hostward that writes to it puts it aside"
                ) from None
        raise AssertionError("unreachable")

    def _change(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._open is not None and _inode(self.path) != self._open_inode:
            self.close()  # another hostward put it aside, or somebody removed it
        database = self._open or self._connected()
        try:
            database.execute("BEGIN IMMEDIATE")
            version = self._version(database)
            for statements in MIGRATIONS[version:]:
                for statement in statements:
                    database.execute(statement)
            if version < SCHEMA:
                database.execute(f"PRAGMA user_version = {SCHEMA}")
            answer = work(database)
            database.execute("COMMIT")
        except BaseException:
            self._open = None
            database.close()  # which rolls back
            raise
        if self._keep_open:
            self._open, self._open_inode = database, _inode(self.path)
        else:
            database.close()
        return answer

    def _connected(self) -> sqlite3.Connection:
        import sqlite3

        mask = os.umask(0o077)
        try:
            database = sqlite3.connect(self.path, timeout=WAIT_S, isolation_level=None)
        finally:
            os.umask(mask)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
        except BaseException:
            database.close()
            raise
        return database

    def _version(self, database: sqlite3.Connection) -> int:
        """The file's schema: 0 for an empty file.  Raises HostError for one that a newer hostward wrote."""
        version = int(database.execute("PRAGMA user_version").fetchone()[0])
        if version > SCHEMA:
            raise HostError(self.path, f"was written by a newer hostward (schema {version}); it was left as it is")
        if version < 0:
            raise Garbled(f"schema {version}")
        return version

    def _make_place(self) -> None:
        try:
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
        except OSError as error:
            raise from_oserror(os.path.dirname(self.path), error) from None
        self._must_be_ours()

    def _must_be_ours(self, readers: bool = False) -> None:
        """SQLite opens by name, so nobody else may be able to change what the name means.

        `readers`: what belongs to root will do as well.
        """
        directory = os.path.dirname(self.path)
        owners = (os.geteuid(), 0) if readers else (os.geteuid(),)
        for path, kind in ((directory, stat.S_ISDIR), (self.path, stat.S_ISREG)):
            try:
                status = os.lstat(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise from_oserror(path, error) from None
            if not kind(status.st_mode) or status.st_uid not in owners or status.st_mode & 0o022:
                raise Untrusted(
                    path,
                    "not used: it must be a plain directory or file that belongs to this user and nobody else can write"
                    f" (it belongs to user {status.st_uid}, mode {status.st_mode & 0o7777:o})",
                )

    def _put_aside(self, error: Exception, seen: int | None) -> str:
        """Moves a damaged file to NAME.damaged (the one before it goes), and its write-ahead files away.

        `seen` is the inode that was found damaged: where another hostward was faster, its new file stays.
        """
        aside = f"{self.path}.damaged"
        try:
            if seen is not None and _inode(self.path) != seen:
                return ""
            os.replace(self.path, aside)
            for suffix in ("-wal", "-shm", "-journal"):
                try:
                    os.unlink(self.path + suffix)
                except FileNotFoundError:
                    pass
        except OSError as failure:
            raise Unreadable(self.path, f"is damaged ({error}) and can't be moved: {failure}") from None
        return f"{self.path} was damaged ({error}); it was moved to {aside} and a new one begun"


def _is_damage(error: Exception) -> bool:
    """Whether the file's content is at fault, not its place, another writer, or the statement itself.

    SQLITE_CORRUPT and SQLITE_NOTADB are plain DatabaseErrors; a schema that is not the one its number says shows
    as an OperationalError.
    """
    import sqlite3

    if isinstance(error, Garbled) or type(error) is sqlite3.DatabaseError:
        return True
    said = str(error)
    return isinstance(error, sqlite3.OperationalError) and (
        said.startswith(("no such table", "no such column", "malformed")) or "already exists" in said
    )


def _inode(path: str) -> int | None:
    try:
        return os.lstat(path).st_ino
    except OSError:
        return None


def _unwritable(path: str) -> bool:
    """Whether SQLite may not make its lock and log files beside the database."""
    return not os.access(os.path.dirname(path), os.W_OK) or bool(
        os.statvfs(os.path.dirname(path)).f_flag & os.ST_RDONLY
    )


def _quoted(path: str) -> str:
    """A path in a file: URI of SQLite."""
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
