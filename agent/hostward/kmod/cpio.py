"""cpio archives as the kernel unpacks them from an initramfs, member by member, without writing any.

The format is that of init/initramfs.c and Documentation/driver-api/early-userspace/buffer-format.rst: "newc"
(070701) and "crc" (070702) headers of 110 bytes with hexadecimal fields, name and data each padded to 4 bytes,
an archive ended by the name TRAILER!!!.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator

HEADER_SIZE = 110
NEWC, CRC = b"070701", b"070702"
TRAILER = "TRAILER!!!"
PATH_MAX = 4096  # the kernel passes over members with longer names and links (do_header)
#: A real initramfs has 500 to 10,000 members; trailers count as well.
MEMBERS_MAX = 300_000
_HEX = frozenset(b"0123456789abcdefABCDEF")


class BadInitramfs(Exception):
    """An image that the kernel could not unpack, or not to its end.  `reason` says what is wrong and where."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Stream:
    """Bytes in order, taken from chunks; `position` counts those taken or skipped.

    `place` names the stream in reasons: "in the archive at byte 0", "in the zstd data at byte 4608".
    """

    def __init__(self, chunks: Iterator[bytes], place: str) -> None:
        self._chunks = chunks
        self._chunk = memoryview(b"")
        self.position = 0
        self.place = place

    def _more(self) -> bool:
        """Fetches the next chunk once the present one is used up; False at the end."""
        while not self._chunk:
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            self._chunk = memoryview(chunk)
        return True

    def take(self, count: int) -> bytes:
        """Exactly `count` bytes.  Raises BadInitramfs where fewer are left."""
        if len(self._chunk) >= count:
            got = bytes(self._chunk[:count])
            self._chunk = self._chunk[count:]
            self.position += count
            return got
        parts, left = [], count
        while left:
            if not self._more():
                raise self.too_early(left, self.position)
            part = self._chunk[:left]
            parts.append(part)
            self._chunk = self._chunk[len(part) :]
            self.position += len(part)
            left -= len(part)
        return b"".join(parts)

    def skip(self, count: int) -> None:
        """Passes over `count` bytes.  Raises BadInitramfs where fewer are left."""
        while count:
            if not self._more():
                raise self.too_early(count, self.position)
            step = min(count, len(self._chunk))
            self._chunk = self._chunk[step:]
            self.position += step
            count -= step

    def too_early(self, missing: int, at: int) -> BadInitramfs:
        return BadInitramfs(f"is cut short: {missing} more bytes are missing at byte {at} {self.place}")

    def skip_zeros(self) -> bool:
        """Passes over the zeros that pad archives; False when nothing else comes."""
        while self._more():
            rest = len(bytes(self._chunk).lstrip(b"\0"))
            self.position += len(self._chunk) - rest
            self._chunk = self._chunk[len(self._chunk) - rest :]
            if rest:
                return True
        return False


class Member:
    """One member of an archive.  `read` gives its data while it is the newest one that was yielded.

    `name` is the path as the archive writes it ("./usr/bin", "kernel/x86/microcode"), `link` the text of a
    symbolic link. `archive` numbers the archives of an image from 0. `inode` is the same for hard links of
    one file in one archive; GNU cpio gives the data to the last of them and size 0 to the others.
    """

    __slots__ = ("_check", "_left", "_stream", "archive", "inode", "link", "links", "mode", "name", "offset", "size")

    def __init__(self, stream: Stream, archive: int, name: str, fields: tuple[int, ...], check: int | None) -> None:
        self._stream = stream
        self._check = check
        self.archive = archive
        self.name = name
        self.mode = fields[1]
        self.links = fields[4]
        self.size = fields[6]
        self.inode = (archive, fields[7], fields[8], fields[0])
        self.offset = stream.position
        self.link = ""
        self._left = self.size

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)

    def read(self) -> bytes:
        """The data, once.  Raises BadInitramfs where it is cut short or, in the crc format, altered."""
        data = self._stream.take(self._left)
        self._left = 0
        if self._check is not None and sum(data) & 0xFFFFFFFF != self._check:
            raise BadInitramfs(f"the data of {self.name} does not match its checksum {self._stream.place}")
        return data

    def _finish(self) -> None:
        self._stream.skip(self._left + -self.size % 4)


def _fields(header: bytes, stream: Stream) -> tuple[int, ...]:
    """ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check."""
    if not _HEX.issuperset(header[6:]):
        raise BadInitramfs(f"a cpio header with other than hexadecimal digits {where(stream, HEADER_SIZE)}")
    return tuple(int(header[at : at + 8], 16) for at in range(6, HEADER_SIZE, 8))


def where(stream: Stream, back: int = 0) -> str:
    return f"at byte {stream.position - back} {stream.place}"


def members(stream: Stream, archive: int, count: list[int]) -> Iterator[Member]:
    """The members of one archive up to its trailer; the stream stands behind the trailer then.

    `count[0]` goes up with each one, over all archives of an image. Raises BadInitramfs.
    """
    while True:
        header = stream.take(HEADER_SIZE)
        if header[:6] not in (NEWC, CRC):
            raise BadInitramfs(f"no cpio header but {header[:6]!r} {where(stream, HEADER_SIZE)}")
        fields = _fields(header, stream)
        name_size = fields[11]
        count[0] += 1
        if count[0] > MEMBERS_MAX:
            raise BadInitramfs(f"more than {MEMBERS_MAX} members make no sense in an initramfs")
        if not 0 < name_size <= PATH_MAX:
            stream.skip(name_size + -(HEADER_SIZE + name_size) % 4 + fields[6] + -fields[6] % 4)
            continue
        # The padding of name and data counts from the header, which itself is aligned (N_ALIGN).
        raw = stream.take(name_size + -(HEADER_SIZE + name_size) % 4)
        name = raw[:name_size].split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
        member = Member(stream, archive, name, fields, fields[12] if header[:6] == CRC else None)
        if name == TRAILER:
            member._finish()
            return
        if stat.S_ISLNK(member.mode) and member.size <= PATH_MAX:
            member.link = member.read().rstrip(b"\0").decode("utf-8", "surrogateescape")
        yield member
        member._finish()
