"""ELF files as the kernel's module loader and the kernel image need them: sections and symbols, within bounds.

A tree has thousands of modules of some sixty sections each, so nothing is made per section or symbol unless it is
asked for: tables are read as arrays, and columns are slices of them.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from mmap import mmap
from operator import add
from typing import NamedTuple, Protocol, Union

ET_REL, ET_EXEC, ET_DYN = 1, 2, 3
SHT_NULL, SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_RELA, SHT_NOBITS, SHT_REL = 0, 1, 2, 3, 4, 8, 9
SHF_ALLOC = 2
SHN_UNDEF, SHN_LORESERVE, SHN_ABS, SHN_XINDEX = 0, 0xFF00, 0xFFF1, 0xFFFF
STB_LOCAL, STB_GLOBAL, STB_WEAK = 0, 1, 2
EM_MIPS, EM_PPC64 = 8, 21
_PIC = (3, 62)  # i386 and x86_64, whose assembler may leave _GLOBAL_OFFSET_TABLE_ behind
#: More sections than this are in no module or kernel; with -ffunction-sections some have 30,000.
SECTIONS_MAX = 200_000
#: Names that come to less than this many bytes, however they overlap, need no check.
NAMES_FREE = 8 << 20
#: A file up to this many bytes is read whole, a larger one by the tables that are wanted.
WHOLE_MAX = 1 << 17

MACHINES = {
    2: "sparc",
    3: "i386",
    8: "mips",
    15: "parisc",
    20: "ppc",
    21: "ppc64",
    22: "s390x",
    40: "arm",
    43: "sparc64",
    50: "ia64",
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


class Readable(Protocol):
    """An open file whose parts can be read (hostward.host.File is one)."""

    @property
    def size(self) -> int: ...

    def read_at(self, offset: int, count: int, /) -> bytes: ...


Source = Union[bytes, Readable]


class InMemory:
    """Bytes that are too many to be copied, as a Readable."""

    def __init__(self, data: bytes | bytearray | mmap) -> None:
        self._data = memoryview(data)

    @property
    def size(self) -> int:
        return len(self._data)

    def read_at(self, offset: int, count: int, /) -> bytes:
        return bytes(self._data[offset : offset + count])


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
    """The headers of an ELF file; sections and their bytes on demand.  Raises BadElf; never reads outside the file.

    `order` is struct's sign for the file's byte order.  Whatever is read goes through `read`, which checks.
    """

    __slots__ = (
        "_by_name",
        "_by_raw_name",
        "_file",
        "_foreign",
        "_headers",
        "_names",
        "_tail",
        "_tail_at",
        "big",
        "bits",
        "count",
        "data",
        "machine",
        "name_offsets",
        "offsets",
        "order",
        "size",
        "sizes",
        "type",
        "types",
    )

    def __init__(self, source: Source) -> None:
        self._file: Readable | None = None
        if isinstance(source, bytes):
            self.data = source
            self.size = len(source)
        else:
            self.size = source.size
            if self.size <= WHOLE_MAX:
                self.data = source.read_at(0, self.size)
                self.size = len(self.data)
            else:
                self.data = source.read_at(0, 64)
                self._file = source
        self._tail, self._tail_at = b"", self.size
        self._by_name: dict[str, Section] | None = None
        self._by_raw_name: dict[bytes, int] | None = None
        head = self.data[:64]
        if head[:4] != b"\x7fELF":
            raise BadElf("not an ELF file" if head else "the file is empty")
        if len(head) < 52 or head[4] not in (1, 2) or head[5] not in (1, 2):
            raise BadElf("the ELF header is cut short or of no known class")
        self.bits = 64 if head[4] == 2 else 32
        self.big = head[5] == 2
        self.order = ">" if self.big else "<"
        self._foreign = self.big != (sys.byteorder == "big")
        if self.bits == 64 and len(head) < 64:
            raise BadElf("the ELF header is cut short")
        halves = array("H", head[:52] if self.bits == 32 else head)
        if self._foreign:
            halves.byteswap()
        self.type, self.machine = halves[8], halves[9]
        if self.bits == 64:
            entsize, self.count, strndx = halves[29], halves[30], halves[31]
            at = int.from_bytes(head[40:48], "big" if self.big else "little")
        else:
            entsize, self.count, strndx = halves[23], halves[24], halves[25]
            at = int.from_bytes(head[32:36], "big" if self.big else "little")
        self._read_headers(at, entsize, strndx)

    def read(self, offset: int, count: int) -> bytes:
        """Exactly `count` bytes at `offset`.  Raises BadElf when the file has not that many."""
        if self._file is None:
            piece = self.data[offset : offset + count]
        elif offset >= self._tail_at:
            piece = self._tail[offset - self._tail_at : offset - self._tail_at + count]
        elif offset + count <= self.size:
            piece = self._file.read_at(offset, count)
        else:
            piece = b""
        if len(piece) != count:
            raise BadElf("the file is cut short")
        return piece

    def words(self, raw: bytes) -> array[int]:
        """The 32-bit words of `raw`, whose length is a multiple of 4."""
        found = array("I", raw)
        if self._foreign:
            found.byteswap()
        return found

    def longs(self, raw: bytes) -> array[int]:
        """The 64-bit words of `raw`, whose length is a multiple of 8."""
        found = array("Q", raw)
        if self._foreign:
            found.byteswap()
        return found

    def _read_headers(self, offset: int, entsize: int, strndx: int) -> None:
        step = 64 if self.bits == 64 else 40
        if entsize != step:
            raise BadElf(f"section headers of {entsize} bytes, not {step}")
        if not 0 < offset <= self.size - step:
            raise BadElf("the section headers reach past the end of the file (cut short?)")
        if self._file is not None and self.size - offset <= WHOLE_MAX:
            self._tail, self._tail_at = self._file.read_at(offset, self.size - offset), offset
        if self.count == 0 or strndx == SHN_XINDEX:
            # Extended numbering: the true count and string table stand in section 0.
            zero = self._section(self.read(offset, step), 0, b"\0")
            self.count = self.count or zero.size
            strndx = zero.link if strndx == SHN_XINDEX else strndx
        if self.count == 0:
            raise BadElf("no sections")
        if self.count > SECTIONS_MAX:
            raise BadElf(f"{self.count} sections, more than any module or kernel has")
        if self.count * step > self.size - offset:
            raise BadElf("the section headers reach past the end of the file (cut short?)")
        self._headers = self.read(offset, self.count * step)
        words = self.words(self._headers)
        if self.bits == 64:
            longs = self.longs(self._headers)
            self.name_offsets, self.types = words[0::16], words[1::16]
            self.offsets, self.sizes = longs[3::8], longs[4::8]
        else:
            self.name_offsets, self.types = words[0::10], words[1::10]
            self.offsets, self.sizes = words[4::10], words[5::10]
        self._check_extents()
        if not 0 < strndx < self.count:
            raise BadElf(f"no section {strndx} for the names of sections")
        if self.types[strndx] == SHT_NOBITS or not self.sizes[strndx]:
            raise BadElf("no names of sections")
        self._names = self.read(self.offsets[strndx], self.sizes[strndx])
        if self._names[-1]:
            raise BadElf("the names of sections do not end")
        if max(self.name_offsets) >= len(self._names):
            raise BadElf("a section has a name outside the names of sections")

    def _check_extents(self) -> None:
        size = self.size
        if max(map(add, self.offsets, self.sizes)) <= size:
            return
        for index, (kind, offset, extent) in enumerate(zip(self.types, self.offsets, self.sizes)):
            if kind not in (SHT_NULL, SHT_NOBITS) and offset + extent > size:
                raise BadElf(f"section {index} reaches past the end of the file (cut short?)")

    def find(self, name: bytes) -> int:
        """The index of the first section called `name`, 0 when there is none (section 0 is never one)."""
        if self._by_raw_name is not None:
            return self._by_raw_name.get(name, 0)
        names, offsets = self._names, self.name_offsets
        found = tried = 0
        at = names.find(name + b"\0")
        while at >= 0:
            # A name may stand at the end of another's (__ksymtab in .rela__ksymtab), so every place counts.
            tried += 1
            if tried > 16:  # no linker's work: each place would cost a look at all sections
                return self._index_names().get(name, 0)
            try:
                index = offsets.index(at)
                if index and (not found or index < found):
                    found = index
            except ValueError:
                pass
            at = names.find(name + b"\0", at + 1)
        return found

    def _index_names(self) -> dict[bytes, int]:
        names, offsets = self._names, self.name_offsets
        check_names(names, offsets)
        self._by_raw_name = {
            names[offsets[index] : names.index(0, offsets[index])]: index for index in range(self.count - 1, 0, -1)
        }
        return self._by_raw_name

    def flags(self, index: int) -> int:
        """sh_flags of a section."""
        if self.bits == 64:
            return self.longs(self._headers[index * 64 + 8 : index * 64 + 16])[0]
        return self.words(self._headers[index * 40 + 8 : index * 40 + 12])[0]

    def infos_equal(self, value: int) -> list[int]:
        """The sections whose sh_info is `value`: the relocations of section `value` are among them."""
        words = self.words(self._headers)
        infos = words[11::16] if self.bits == 64 else words[7::10]
        return [index for index, info in enumerate(infos) if info == value]

    def has_exports(self) -> bool:
        """Whether a section is called __ksymtab..., without saying which."""
        return b"__ksymtab" in self._names

    def section(self, index: int) -> Section:
        """The header of a section.  Raises BadElf for an index that is none."""
        if not 0 <= index < self.count:
            raise BadElf(f"no section {index}")
        return self._section(self._headers, index, self._names)

    def _section(self, headers: bytes, index: int, names: bytes) -> Section:
        step = 64 if self.bits == 64 else 40
        raw = headers[index * step : index * step + step]
        words = self.words(raw)
        at = words[0] if index or len(names) > 1 else 0
        text = names[at : names.index(0, at)].decode("utf-8", "backslashreplace")
        if self.bits == 64:
            longs = self.longs(raw)
            return Section(text, words[1], longs[1], longs[2], longs[3], longs[4], words[10], words[11], longs[7])
        return Section(text, words[1], words[2], words[3], words[4], words[5], words[6], words[7], words[9])

    @property
    def sections(self) -> list[Section]:
        check_names(self._names, self.name_offsets)
        return [self.section(index) for index in range(self.count)]

    @property
    def by_name(self) -> dict[str, Section]:
        """The first section of each name."""
        if self._by_name is None:
            self._by_name = {}
            for section in self.sections:
                self._by_name.setdefault(section.name, section)
        return self._by_name

    def content_at(self, index: int) -> bytes:
        """The bytes of the section of that index; none for one without bytes in the file."""
        if self.types[index] in (SHT_NULL, SHT_NOBITS):
            return b""
        return self.read(self.offsets[index], self.sizes[index])

    def content(self, section: Section | None) -> bytes:
        """The bytes of a section; none for a missing one or one without bytes in the file."""
        if section is None or section.type in (SHT_NULL, SHT_NOBITS):
            return b""
        return self.read(section.offset, section.size)

    def named(self, name: str) -> bytes:
        index = self.find(name.encode())
        return self.content_at(index) if index else b""


class Symbols:
    """.symtab as columns: `names` (offsets into `strings`), `kinds` and `values`, alike long.

    A kind is st_info, st_other and st_shndx in one number; `binding` and `section` take it apart.
    """

    __slots__ = ("_big", "first_global", "kinds", "names", "raw", "strings", "values")

    def __init__(self, elf: Elf, index: int) -> None:
        header = elf.section(index)
        if not 0 < header.link < elf.count or elf.types[header.link] != SHT_STRTAB:
            raise BadElf("the symbol table has no string table")
        self.strings = elf.content_at(header.link)
        if not self.strings or self.strings[-1]:
            raise BadElf("the string table of the symbols does not end")
        step = 24 if elf.bits == 64 else 16
        raw = elf.content_at(index)
        self.raw = raw = raw if len(raw) % step == 0 else raw[: len(raw) // step * step]
        words = elf.words(raw)
        self._big = elf.big
        if elf.bits == 64:
            self.names, self.kinds = words[0::6], words[1::6]
            self.values = elf.longs(raw)[1::3]
        else:
            self.names, self.values, self.kinds = words[0::4], words[1::4], words[3::4]
        self.first_global = header.info

    def __len__(self) -> int:
        return len(self.names)

    def section(self, kind: int) -> int:
        return kind & 0xFFFF if self._big else kind >> 16

    def binding(self, kind: int) -> int:
        return (kind >> 28) if self._big else (kind >> 4) & 15

    def undefined(self, machine: int) -> tuple[list[bytes], list[bytes]]:
        """The names of undefined symbols in their order, and of those the weak ones, as simplify_symbols() sees them.

        What the loader of `machine` takes for its own is left out or renamed as it does.
        """
        strings, first = self.strings, min(self.first_global, len(self.names))
        if self._local_undefined(first):
            first = 1
        names, kinds = self.names[first:], self.kinds[first:]
        if self._big:
            wanted = [name for name, kind in zip(names, kinds) if not kind & 0xFFFF and name]
        else:
            wanted = [name for name, kind in zip(names, kinds) if kind < 0x10000 and name]
        # Few modules have weak symbols, and there are few kinds: so these are asked first.
        weakly = {kind for kind in set(kinds) if not self.section(kind) and self.binding(kind) == STB_WEAK}
        index = strings.index
        try:
            if len(wanted) * len(strings) > NAMES_FREE:
                check_names(strings, wanted)
            found = [strings[name : index(0, name)] for name in wanted]
            weak = [strings[n : index(0, n)] for n, kind in zip(names, kinds) if kind in weakly and n] if weakly else []
        except ValueError:
            raise BadElf("a symbol's name lies outside the string table") from None
        if machine == EM_PPC64:
            # dedotify(): .TOC. is the loader's own, and a function's name loses its dot.
            found = [name[1:] if name[:1] == b"." else name for name in found if name != b".TOC."]
            weak = [name[1:] if name[:1] == b"." else name for name in weak]
        elif machine in _PIC and b"_GLOBAL_OFFSET_TABLE_" in found:
            weak.append(b"_GLOBAL_OFFSET_TABLE_")  # ignore_undef_symbol(): as good as weak
        return found, weak

    def _local_undefined(self, first: int) -> bool:
        """Whether an undefined symbol is among the local ones, where only the first, empty one is."""
        step = len(self.raw) // max(len(self.names), 1)
        at = 6 if step == 24 else 14
        low, high = self.raw[at + step : first * step : step], self.raw[at + 1 + step : first * step : step]
        if self._big:
            low, high = high, low
        return 0 in low and any(a == 0 and b == 0 for a, b in zip(low, high))


def check_names(strings: bytes, offsets: Sequence[int]) -> None:
    """Names may share their bytes, but not so that a small file comes to many times its size.  Raises BadElf."""
    left = 8 * len(strings) + 256 * len(offsets)
    index = strings.index
    for offset in offsets:
        left -= index(0, offset) - offset
        if left < 0:
            raise BadElf("its names overlap until they are many times the size of their table")


def text(raw: bytes) -> str:
    """A name out of a file; bytes that are not UTF-8 are shown as escapes."""
    return raw.decode("utf-8", "backslashreplace")


def string_at(strings: bytes, offset: int) -> str:
    """The NUL-terminated string at `offset` of a table that ends with NUL.  Raises BadElf."""
    if offset >= len(strings):
        raise BadElf("a symbol's name lies outside the string table")
    return text(strings[offset : strings.index(0, offset)])
