"""Reads which package owns a file from rpm's own database, without rpm: the sqlite one of EL 9, Fedora 33 and later.

The older formats (Berkeley DB of EL 5 to 8, ndb of SUSE) are not read; `database` says which one is there.
Layout: rpm's lib/backend/sqlite.c (tables Packages and Basenames) and header format, lib/header.c: a
big-endian count of index entries and of data bytes, the entries (tag, type, offset, count), the data.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from hostward.host import Host, HostError, Missing

T = TypeVar("T")

HEADER_MAX = 64 << 20  # rpm's own bound is 256 MB; the largest headers of distributions have about 10
ENTRIES_MAX = 65_535
CANDIDATES_MAX = 1_000  # packages that have a file of one base name
STEPS_MAX = 20_000_000  # virtual machine steps that sqlite may take for one host
BYTES_MAX = 512 << 20  # of headers looked into for one host

_NAME, _VERSION, _RELEASE, _EPOCH, _ARCH = 1000, 1001, 1002, 1003, 1022
_DIR_INDEXES, _BASENAMES, _DIRNAMES, _CHANGELOG = 1116, 1117, 1118, 1082
_INT32, _STRING, _STRING_ARRAY = 4, 6, 8


class BadHeader(Exception):
    """A package header that does not hold what its index says."""


@dataclass(frozen=True)
class Package:
    """Name and [epoch:]version-release of an installed package."""

    name: str
    evr: str


class Header:
    """A package's header. Everything is bounds-checked against the blob."""

    def __init__(self, blob: bytes) -> None:
        if not 8 <= len(blob) <= HEADER_MAX:
            raise BadHeader(f"a header of {len(blob)} bytes")
        count, size = struct.unpack_from(">II", blob)
        if count > ENTRIES_MAX or 8 + 16 * count + size > len(blob):
            raise BadHeader(f"an index of {count} entries and {size} bytes of data in a header of {len(blob)} bytes")
        self._data = blob[8 + 16 * count : 8 + 16 * count + size]
        self._index = {
            tag: (kind, offset, number)
            for tag, kind, offset, number in struct.iter_unpack(">IIII", blob[8 : 8 + 16 * count])
        }

    def _place(self, tag: int, kinds: tuple[int, ...]) -> tuple[int, int]:
        kind, offset, count = self._index.get(tag, (0, 0, 0))
        if not kind:
            return 0, 0
        if kind not in kinds or offset >= len(self._data) or count > len(self._data) - offset:
            raise BadHeader(f"tag {tag}: type {kind}, offset {offset}, count {count}")
        return offset, count

    def strings(self, tag: int) -> list[str]:
        offset, count = self._place(tag, (_STRING, _STRING_ARRAY, 9))
        if not count:
            return []
        parts = self._data[offset:].split(b"\0", count)
        if len(parts) <= count:
            raise BadHeader(f"tag {tag}: {count} strings run over the end")
        return [part.decode("utf-8", "surrogateescape") for part in parts[:count]]

    def string(self, tag: int) -> str:
        found = self.strings(tag)
        return found[0] if found else ""

    def numbers(self, tag: int) -> tuple[int, ...]:
        offset, count = self._place(tag, (_INT32,))
        if offset + 4 * count > len(self._data):
            raise BadHeader(f"tag {tag}: {count} numbers run over the end")
        return struct.unpack_from(f">{count}I", self._data, offset)

    def package(self) -> Package:
        epoch = self.numbers(_EPOCH)
        evr = f"{self.string(_VERSION)}-{self.string(_RELEASE)}"
        return Package(self.string(_NAME), f"{epoch[0]}:{evr}" if epoch else evr)

    def path(self, number: int) -> str:
        """The path of the file with this number, "" when there is none."""
        if not hasattr(self, "_files"):
            self._files = (self.strings(_BASENAMES), self.strings(_DIRNAMES), self.numbers(_DIR_INDEXES))
        names, directories, indexes = self._files
        if not 0 <= number < min(len(names), len(indexes)) or indexes[number] >= len(directories):
            return ""
        return directories[indexes[number]] + names[number]


#: Where the databases are and what format each name means: sqlite first, the path that `_dbpath` moved to too.
_DATABASES = tuple(
    (f"{directory}/{name}", kind)
    for name, kind in (("rpmdb.sqlite", "sqlite"), ("Packages.db", "ndb"), ("Packages", "bdb"))
    for directory in ("/usr/lib/sysimage/rpm", "/var/lib/rpm")
)


def database(host: Host) -> tuple[str, str]:
    """(path, format) of the rpm database: sqlite, ndb or bdb; ("", "") where there is none."""
    for path, kind in _DATABASES:
        if host.is_file(path):
            return path, kind
    return "", ""


def owners(host: Host, path: str, wanted: Iterable[str]) -> dict[str, Package]:
    """The package of each wanted file, by the sqlite database at `path`; files that none has are left out.

    Raises HostError when the database is no such thing, is damaged, or would take too long.
    """

    def look(connection: object) -> dict[str, Package]:
        found: dict[str, Package] = {}
        left = BYTES_MAX
        for name in wanted:
            package, read = _owner(connection, name)
            left -= read
            if package:
                found[name] = package
            if left < 0:
                raise HostError(path, f"more than {BYTES_MAX >> 20} MiB of package headers claim these files")
        return found

    return _asked(host, path, "Basenames", look)


def named(host: Host, path: str, wanted: Iterable[str]) -> dict[str, list[tuple[Package, str]]]:
    """The installed packages of each wanted name with the text of their changelogs, as `owners` looks them up."""

    def look(connection: object) -> dict[str, list[tuple[Package, str]]]:
        import sqlite3

        assert isinstance(connection, sqlite3.Connection)
        found: dict[str, list[tuple[Package, str]]] = {}
        for name in wanted:
            rows = connection.execute(
                "SELECT p.blob FROM Name n JOIN Packages p ON p.hnum = n.hnum WHERE n.key = ? "
                "AND length(p.blob) <= ? LIMIT 10",
                (name, HEADER_MAX),
            )
            for (blob,) in rows:
                if not isinstance(blob, bytes):
                    raise BadHeader("a row of another type")
                header = Header(blob)
                found.setdefault(name, []).append((header.package(), "\n".join(header.strings(_CHANGELOG))))
        return found

    return _asked(host, path, "Name", look)


def _asked(host: Host, path: str, table: str, look: Callable[[object], dict[str, T]]) -> dict[str, T]:
    """What `look` finds with a connection to the sqlite database at `path`, within bounds.  Raises HostError."""
    import sqlite3

    with host.open(path) as file:
        if file.read_at(0, 16) != b"SQLite format 3\0":
            raise HostError(path, "is not an SQLite database")
        pending = _pending(host, path)
        # by descriptor: the walk inside the root has found this very file, no path is walked a second time
        connection = sqlite3.connect(f"file:/proc/self/fd/{file.fd}?mode=ro&immutable=1", uri=True)
        try:
            steps = [0]

            def count() -> int:
                steps[0] += 10_000
                return steps[0] > STEPS_MAX

            connection.set_progress_handler(count, 10_000)
            connection.execute("PRAGMA trusted_schema = OFF")
            # a view of that name could compute for ever
            tables = connection.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN (?, ?)",
                                        ("Packages", table)).fetchone()  # fmt: skip
            if tables[0] != 2:
                raise HostError(path, f"has no tables Packages and {table}, so it is no rpm database")
            found = look(connection)
        except (sqlite3.Error, BadHeader) as error:
            raise HostError(path, f"is damaged: {error}") from None
        finally:
            connection.close()
    if pending and not found:
        raise HostError(path, "an rpm transaction was cut off or is running: the newest packages are in its -wal file")
    return found


def _pending(host: Host, path: str) -> bool:
    """Whether a write-ahead log holds changes that are not in the database yet; they are not read."""
    try:
        return host.lstat(path + "-wal").st_size > 0
    except Missing:
        return False


def _owner(connection: object, path: str) -> tuple[Package | None, int]:
    """The package of a file, and how many bytes of headers were looked into."""
    import sqlite3

    assert isinstance(connection, sqlite3.Connection)
    alike, read = _alike(path), 0
    rows = connection.execute(
        "SELECT b.idx, p.blob FROM Basenames b JOIN Packages p ON p.hnum = b.hnum WHERE b.key = ? "
        "AND length(p.blob) <= ? LIMIT ?",
        (
            path.rpartition("/")[2].encode("utf-8", "surrogateescape").decode("utf-8", "replace"),
            HEADER_MAX,
            CANDIDATES_MAX,
        ),
    )
    for number, blob in rows:
        if not isinstance(number, int) or not isinstance(blob, bytes):
            raise BadHeader("a row of another type")
        read += len(blob)
        header = Header(blob)
        if header.path(number) in alike:
            return header.package(), read
        if read > BYTES_MAX:
            break
    return None, read


def _alike(path: str) -> tuple[str, str]:
    """A path with and without /usr in front: packages may name either where /lib is a link to usr/lib."""
    return (path, path[4:]) if path.startswith("/usr/") else (path, "/usr" + path)
