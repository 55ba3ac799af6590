"""ELF files as the kernel's module loader and the kernel image need them: sections and symbols, within bounds."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

ET_REL, ET_EXEC, ET_DYN = 1, 2, 3
SHT_NULL, SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_RELA, SHT_NOBITS, SHT_REL = 0, 1, 2, 3, 4, 8, 9
SHF_ALLOC = 2
SHN_UNDEF, SHN_LORESERVE, SHN_ABS = 0, 0xFF00, 0xFFF1
STB_LOCAL, STB_GLOBAL, STB_WEAK = 0, 1, 2
#: More sections than this are in no module or kernel; with -ffunction-sections some have 30,000.
SECTIONS_MAX = 200_000

MACHINES = {
    3: "i386",
    8: "mips",
    20: "ppc",
    21: "ppc64",
    22: "s390x",
    40: "arm",
    62: "x86_64",
    183: "aarch64",
    243: "riscv",
    258: "loongarch",
}


class BadElf(Exception):
    """Not an ELF file that a kernel would take; the reason says what is wrong where."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Section(NamedTuple):
    """A section header; offsets and sizes in bytes."""

    name: str
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    entsize: int


class Elf:
    """The headers of an ELF file over its bytes.  Raises BadElf; never reads outside `data`."""

    __slots__ = ("big", "bits", "by_name", "data", "machine", "order", "sections", "type")

    def __init__(self, data: bytes) -> None:
        self.data = data
        if data[:4] != b"\x7fELF":
            raise BadElf("not an ELF file" if data else "the file is empty")
        if len(data) < 52 or data[4] not in (1, 2) or data[5] not in (1, 2):
            raise BadElf("the ELF header is cut short or of no known class")
        self.bits = 64 if data[4] == 2 else 32
        self.big = data[5] == 2
        self.order = ">" if self.big else "<"
        try:
            if self.bits == 64:
                head = struct.unpack_from(self.order + "HHIQQQIHHHHHH", data, 16)
            else:
                head = struct.unpack_from(self.order + "HHIIIIIHHHHHH", data, 16)
        except struct.error:
            raise BadElf("the ELF header is cut short") from None
        self.type, self.machine = head[0], head[1]
        self._read_sections(head[5], head[10], head[11], head[12])

    def _read_sections(self, offset: int, entsize: int, count: int, strndx: int) -> None:
        form = struct.Struct(self.order + ("IIQQQQIIQQ" if self.bits == 64 else "IIIIIIIIII"))
        data = self.data
        if entsize != form.size:
            raise BadElf(f"section headers of {entsize} bytes, not {form.size}")
        if count == 0 and 0 < offset <= len(data) - form.size:
            # Extended numbering: the true count and string table stand in section 0.
            zero = form.unpack_from(data, offset)
            count, strndx = zero[5], strndx if strndx != 0xFFFF else zero[6]
        elif strndx == 0xFFFF and offset <= len(data) - form.size:
            strndx = form.unpack_from(data, offset)[6]
        if count == 0:
            raise BadElf("no sections")
        if count > SECTIONS_MAX:
            raise BadElf(f"{count} sections, more than any module or kernel has")
        if offset >= len(data) or count * form.size > len(data) - offset:
            raise BadElf("the section headers reach past the end of the file (cut short?)")
        raw = list(form.iter_unpack(data[offset : offset + count * form.size]))
        if strndx >= count or strndx == 0:
            raise BadElf(f"no section {strndx} for the names of sections")
        start, size = raw[strndx][4], raw[strndx][5]
        if raw[strndx][1] == SHT_NOBITS or start + size > len(data) or size == 0:
            raise BadElf("the names of sections reach past the end of the file (cut short?)")
        names = data[start : start + size]
        if names[-1]:
            raise BadElf("the names of sections do not end")
        sections: list[Section] = []
        by_name: dict[str, Section] = {}
        length = len(data)
        for name, kind, flags, address, at, extent, link, info, _align, entry in raw:
            if kind not in (SHT_NULL, SHT_NOBITS) and (at > length or extent > length - at):
                raise BadElf(f"section {len(sections)} reaches past the end of the file (cut short?)")
            if name >= size:
                raise BadElf(f"section {len(sections)} has a name outside the names of sections")
            text = names[name : names.index(0, name)].decode("utf-8", "backslashreplace")
            section = Section(text, kind, flags, address, at, extent, link, info, entry)
            sections.append(section)
            by_name.setdefault(text, section)
        self.sections = sections
        self.by_name = by_name

    def content(self, section: Section | None) -> bytes:
        """The bytes of a section; none for a missing one or one without bytes in the file."""
        if section is None or section.type in (SHT_NULL, SHT_NOBITS):
            return b""
        return self.data[section.offset : section.offset + section.size]

    def named(self, name: str) -> bytes:
        return self.content(self.by_name.get(name))

    def symbol_table(self) -> tuple[Section, bytes, bytes] | None:
        """(header, entries, their string table) of .symtab; None where there is none.  Raises BadElf."""
        table = next((s for s in self.sections if s.type == SHT_SYMTAB), None)
        if table is None:
            return None
        if table.link >= len(self.sections) or self.sections[table.link].type != SHT_STRTAB:
            raise BadElf("the symbol table has no string table")
        strings = self.content(self.sections[table.link])
        if not strings or strings[-1]:
            raise BadElf("the string table of the symbols does not end")
        step = 24 if self.bits == 64 else 16
        entries = self.content(table)
        return table, entries[: len(entries) // step * step], strings

    def symbols(self, entries: bytes) -> Iterator[tuple[int, int, int, int]]:
        """(name's offset, info, section index, value) of each symbol in `entries`."""
        if self.bits == 64:
            for name, info, _other, shndx, value, _size in struct.iter_unpack(self.order + "IBBHQQ", entries):
                yield name, info, shndx, value
        else:
            for name, value, _size, info, _other, shndx in struct.iter_unpack(self.order + "IIIBBH", entries):
                yield name, info, shndx, value


def string_at(strings: bytes, offset: int) -> str:
    """The NUL-terminated string at `offset` of a table that ends with NUL.  Raises BadElf."""
    if offset >= len(strings):
        raise BadElf("a symbol's name lies outside the string table")
    return strings[offset : strings.index(0, offset)].decode("utf-8", "backslashreplace")
