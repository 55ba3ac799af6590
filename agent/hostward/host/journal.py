"""The journal of repairs: what was about to be changed and what stood there before, on disk before it is changed.

One file a repair, NUMBER.log, a line a record: CRC-32 in hexadecimal, a space, JSON.  A line is written with one
call and synced before the call returns; a line that a kill or a power cut left unfinished does not count.  The
content of a file before its change lies beside it as NUMBER.STEP.saved, synced before the record that names it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from typing import Any

from hostward.host.errors import HostError, Missing, Unreadable, from_oserror

DIRECTORY = "/var/lib/hostward/repairs"
#: Repairs that are kept; finished ones beyond it go, oldest first.
REPAIRS_MAX = 200
_LOG_MAX = 4 << 20
_SAVED_MAX = 16 << 20
_NAME = re.compile(r"([1-9]\d{0,8})\.log")


class Entry:
    """The records of one repair, oldest first.  `damage` says what of its file could not be read."""

    def __init__(self, journal: Journal, number: int, records: list[dict[str, Any]], damage: str = "") -> None:
        self.number = number
        self.records = records
        self.damage = damage
        self._journal = journal

    @property
    def name(self) -> str:
        return f"{self.number}.log"

    def add(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Appends a record and syncs it.  Raises HostError; then nothing of it counts."""
        record = {"kind": kind, **fields, **_now()}
        self._journal._append(self.name, _line(record))
        self.records.append(record)
        return record

    def keep(self, step: int, data: bytes) -> str:
        """Keeps what a file held before a step, synced.  Returns the name to give to `kept`."""
        name = f"{self.number}.{step}.saved"
        self._journal._write(name, data)
        return name

    def kept(self, name: str) -> bytes:
        """What `keep` kept.  Raises HostError."""
        if not re.fullmatch(rf"{self.number}\.\d{{1,6}}\.saved", name):
            raise Unreadable(name, "is no name of a file that this repair kept")
        return self._journal._read(name, _SAVED_MAX)

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        return [record for record in self.records if record.get("kind") == kind]


class Journal:
    """All repairs, in one directory that nobody else may write to."""

    def __init__(self, directory: str = DIRECTORY) -> None:
        self.directory = directory

    def begin(self, **fields: Any) -> Entry:
        """A new repair with the next number.  The caller holds the lock.  Raises HostError."""
        from hostward.host.place import own_directory

        own_directory(self.directory)
        numbers = self.numbers()
        number = (numbers[-1] if numbers else 0) + 1
        self._prune(numbers)
        entry = Entry(self, number, [])
        record = {"schema": 1, "kind": "begin", **fields, **_now()}
        self._write(entry.name, _line(record))
        entry.records.append(record)
        return entry

    def numbers(self) -> list[int]:
        """The numbers of all repairs, rising.  Raises HostError; a journal that was never begun has none."""
        try:
            names = os.listdir(self.directory)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise from_oserror(self.directory, error) from None
        return sorted(int(match.group(1)) for match in map(_NAME.fullmatch, names) if match)

    def entry(self, number: int) -> Entry:
        """One repair.  Raises Missing, HostError."""
        name = f"{number}.log"
        try:
            data = self._read(name, _LOG_MAX)
        except Missing:
            raise Missing(f"repair {number}", "there is none of this number; `hostward log` lists them") from None
        records: list[dict[str, Any]] = []
        damage = ""
        lines = data.split(b"\n")
        for index, line in enumerate(lines[:-1]):
            record = _parsed(line)
            if record is not None:
                records.append(record)
            elif index < len(lines) - 2:
                damage = f"{self.directory}/{name}: line {index + 1} is damaged and does not count"
        if not records or records[0].get("kind") != "begin":
            damage = f"{self.directory}/{name}: its beginning can't be read, so what it did is not known"
            records = []
        return Entry(self, number, records, damage)

    def entries(self) -> Iterator[Entry]:
        """All repairs, newest first; one that vanishes meanwhile is passed over."""
        for number in reversed(self.numbers()):
            try:
                yield self.entry(number)
            except Missing:
                continue

    def _prune(self, numbers: list[int]) -> None:
        for number in numbers[: max(0, len(numbers) - REPAIRS_MAX + 1)]:
            for name in sorted(os.listdir(self.directory), reverse=True):  # saved files first
                if name == f"{number}.log" or re.fullmatch(rf"{number}\.\d+\.saved", name):
                    try:
                        os.unlink(os.path.join(self.directory, name))
                    except OSError:
                        pass

    def _open(self) -> int:
        try:
            return os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise from_oserror(self.directory, error) from None

    def _read(self, name: str, limit: int) -> bytes:
        directory = self._open()
        path = f"{self.directory}/{name}"
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
            with os.fdopen(fd, "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise Unreadable(path, "is no regular file")
                data = file.read(limit + 1)
        except OSError as error:
            raise from_oserror(path, error) from None
        finally:
            os.close(directory)
        if len(data) > limit:
            raise Unreadable(path, f"larger than the {limit} bytes that hostward writes")
        return data

    def _write(self, name: str, data: bytes) -> None:
        """A whole file at once: under another name first, so that a kill leaves none or all of it."""
        directory = self._open()
        temporary = f".{name}"
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(temporary, flags, 0o600, dir_fd=directory)
            try:
                _all(fd, data)
                os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
            os.fsync(directory)
        except OSError as error:
            try:
                os.unlink(temporary, dir_fd=directory)
            except OSError:
                pass
            raise self._refusal(name, error) from None
        finally:
            os.close(directory)

    def _append(self, name: str, line: bytes) -> None:
        directory = self._open()
        try:
            fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            try:
                end = _end_of_whole_lines(fd)
                os.ftruncate(fd, end)
                try:
                    os.lseek(fd, end, os.SEEK_SET)
                    _all(fd, line)
                    os.fdatasync(fd)
                except OSError:
                    os.ftruncate(fd, end)
                    raise
            finally:
                os.close(fd)
        except OSError as error:
            raise self._refusal(name, error) from None
        finally:
            os.close(directory)

    def _refusal(self, name: str, error: OSError) -> HostError:
        return HostError(f"{self.directory}/{name}", f"can't be written: {os.strerror(error.errno or 0)}")


def _now() -> dict[str, Any]:
    """The instant of a record, as host.moment has it."""
    from hostward.host.moment import now

    moment = now()
    return {"at": moment.at, "boot": moment.boot, "up": moment.up}


def _line(record: dict[str, Any]) -> bytes:
    import json
    import zlib

    body = json.dumps(record, separators=(",", ":"), sort_keys=False).encode("utf-8", "backslashreplace")
    return b"%08x %s\n" % (zlib.crc32(body), body)


def _parsed(line: bytes) -> dict[str, Any] | None:
    import json
    import zlib

    crc, _, body = line.partition(b" ")
    try:
        if int(crc, 16) != zlib.crc32(body):
            return None
        record = json.loads(body)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _all(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def _end_of_whole_lines(fd: int) -> int:
    """Where the last line that counts ends: behind it there may be what a kill left of another."""
    data = os.pread(fd, _LOG_MAX, 0)
    end = data.rfind(b"\n") + 1
    while end:
        start = data.rfind(b"\n", 0, end - 1) + 1
        if _parsed(data[start : end - 1]) is not None:
            return end
        end = start
    return 0
