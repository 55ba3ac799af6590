"""Mutations of real files: bytes anywhere, the fields of ELF headers and tables, the columns of text."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_TABLES = (
    b"__versions",
    b"__ksymtab",
    b"__kcrctab",
    b"__version_ext",
    b".modinfo",
    b"__kflagstab",
    b".gnu.linkonce.this",
)
_SHT_SYMTAB, _SHT_STRTAB, _SHT_RELA, _SHT_NOBITS, _SHT_REL = 2, 3, 4, 8, 9


@dataclass(frozen=True)
class Place:
    """A field: its offset and size in bytes."""

    offset: int
    size: int


class ElfMap:
    """Where the fields of a sound ELF file stand, by what they are: read apart from the code under test."""

    def __init__(self, data: bytes) -> None:
        self.big = data[5] == 2
        wide = data[4] == 2
        self._data, self._order = data, ">" if self.big else "<"
        names = [(16, 2), (18, 2), (20, 4)]
        names += (
            [(40, 8), (52, 2), (58, 2), (60, 2), (62, 2)] if wide else [(32, 4), (40, 2), (46, 2), (48, 2), (50, 2)]
        )
        self.file = [Place(4, 1), Place(5, 1), *(Place(*place) for place in names)]
        (headers,) = self._get("Q" if wide else "I", 40 if wide else 32)
        count, strndx = self._get("HH", 60 if wide else 48)
        step = 64 if wide else 40
        form = "IIQQQQIIQQ" if wide else "10I"
        sections = [self._get(form, headers + step * index) for index in range(count)]
        widths = (4, 4, 8, 8, 8, 8, 4, 4, 8, 8) if wide else (4,) * 10
        self.sections = [
            [Place(headers + step * index + sum(widths[:n]), width) for n, width in enumerate(widths)]
            for index in range(count)
        ]
        self.headers = headers
        self.ends = sorted({section[4] for section in sections} | {section[4] + section[5] for section in sections})
        #: (offset, size, word) of each table that is read: its entries are words of that many bytes.
        self.tables: list[tuple[int, int, int]] = []
        #: Those tables of whose section headers' fields are the most telling.
        self.telling: list[int] = [strndx]
        names_at = sections[strndx][4]
        for index, section in enumerate(sections):
            name = data[names_at + section[0] : data.index(0, names_at + section[0])]
            kept = any(table in name for table in _TABLES)
            if section[1] != _SHT_NOBITS and section[5] and (kept or section[1] in (_SHT_SYMTAB, _SHT_STRTAB)):
                word = 4 if section[1] in (_SHT_SYMTAB, 1) else 8 if wide else 4
                self.tables.append((section[4], section[5], word))
                self.telling.append(index)

    def _get(self, form: str, at: int) -> tuple[int, ...]:
        return struct.unpack_from(self._order + form, self._data, at)


def value(draw: random.Random, size: int, old: int, length: int) -> int:
    """A value for a field of `size` bytes that holds `old` in a file of `length` bytes."""
    limit = (1 << 8 * size) - 1
    which = draw.randrange(8)
    if which == 0:
        return draw.getrandbits(8 * size)
    if which == 1:
        return (old + draw.choice((-1, 1, -4, 4, 8, -8, 24, 64))) & limit
    if which == 2:
        return (old ^ 1 << draw.randrange(8 * size)) & limit
    if which == 3:
        return (length + draw.choice((-64, -1, 0, 1))) & limit
    if which == 4:
        return draw.randrange(64)
    return draw.choice(
        (0, 1, limit, limit >> 1, (limit >> 1) + 1, 1 << 31 & limit, (1 << 32) - 1 & limit, 0xFFFF & limit)
    )


def set_field(draw: random.Random, data: bytearray, place: Place, big: bool) -> None:
    order = "big" if big else "little"
    end = place.offset + place.size
    if end <= len(data):
        old = int.from_bytes(data[place.offset : end], order)  # type: ignore[arg-type]
        data[place.offset : end] = value(draw, place.size, old, len(data)).to_bytes(place.size, order)  # type: ignore[arg-type]


def elf(draw: random.Random, data: bytearray, fields: ElfMap, donors: Sequence[bytes]) -> None:
    """One mutation that knows what an ELF file is made of."""
    which = draw.randrange(10)
    if which == 0:
        set_field(draw, data, draw.choice(fields.file), fields.big)
    elif which <= 3:
        index = draw.choice(fields.telling) if which < 3 else draw.randrange(len(fields.sections))
        set_field(draw, data, draw.choice(fields.sections[index]), fields.big)
    elif which <= 6 and fields.tables:
        offset, size, word = draw.choice(fields.tables)
        at = offset + draw.randrange(max(size // word, 1)) * word
        set_field(draw, data, Place(at, word), fields.big)
    elif which == 7:  # two sections swap their places, sizes or kinds
        one, other = draw.choice(fields.telling), draw.randrange(len(fields.sections))
        number = draw.randrange(10)
        a, b = fields.sections[one][number], fields.sections[other][number]
        if max(a.offset, b.offset) + a.size <= len(data):
            first, second = data[a.offset : a.offset + a.size], data[b.offset : b.offset + b.size]
            data[a.offset : a.offset + a.size], data[b.offset : b.offset + b.size] = second, first
    elif which == 8:  # cut at a boundary, or one byte beside it
        del data[max(0, draw.choice(fields.ends) + draw.choice((-1, 0, 1))) :]
    else:
        anywhere(draw, data, donors)


def anywhere(draw: random.Random, data: bytearray, donors: Sequence[bytes]) -> None:
    """One mutation of any file's bytes."""
    if not data:
        data += bytes(draw.randrange(64))
        return
    which = draw.randrange(10)
    at = draw.randrange(len(data))
    if which <= 2:
        data[at] ^= 1 << draw.randrange(8)
    elif which == 3:
        data[at] = draw.randrange(256)
    elif which == 4:
        set_field(draw, data, Place(at, draw.choice((2, 4, 8))), draw.random() < 0.3)
    elif which == 5:
        del data[at:]
    elif which == 6:
        del data[at : at + draw.choice((1, 4, 16, 512))]
    elif which == 7:
        donor = draw.choice(donors)
        start = draw.randrange(len(donor) or 1)
        piece: bytes | bytearray = donor[start : start + draw.choice((1, 8, 64, 512, 4096))]
        if draw.random() < 0.5:
            data[at : at + len(piece)] = piece
        else:
            data[at:at] = piece
    elif which == 8:
        length = draw.choice((4, 16, 64, 256))
        data[at : at + length] = draw.choice((b"\0", b"\xff", b"A")) * len(data[at : at + length])
    else:
        piece = data[at : at + draw.choice((8, 64, 512))]
        data[at:at] = piece * draw.choice((1, 1, 2, 30))


_WORDS = (
    b"\t",
    b"\n",
    b" ",
    b"0x",
    b"-1",
    b"0",
    b"EXPORT_SYMBOL_GPL",
    b"vmlinux",
    b"\xff\xfe",
    b"\0",
    b"/",
    b".ko",
    b"=",
    b'"',
)


def words(draw: random.Random, data: bytearray, donors: Sequence[bytes]) -> None:
    """One mutation of a text of lines and columns."""
    if not data or draw.random() < 0.4:
        anywhere(draw, data, donors)
        return
    at = draw.randrange(len(data))
    which = draw.randrange(4)
    if which == 0:
        data[at:at] = draw.choice(_WORDS)
    elif which == 1:
        end = data.find(draw.choice(b"\t\n "), at)
        if end >= 0:
            data[end : end + 1] = draw.choice((*_WORDS, b""))
    elif which == 2:  # a line goes, or comes twice
        end = data.find(b"\n", at)
        line = data[at : end + 1] if end >= 0 else data[at:]
        data[at : at + len(line)] = line * draw.choice((0, 2, 3))
    else:
        data[at:at] = bytes(draw.choice(b"0123456789abcdefxX-+_ ") for _ in range(draw.choice((1, 8, 40))))


def several(draw: random.Random, data: bytes, once: Callable[[random.Random, bytearray], None]) -> bytes:
    """`data` after one mutation, seldom after many."""
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 2, 3, 4, 8))):
        once(draw, changed)
    return bytes(changed)
