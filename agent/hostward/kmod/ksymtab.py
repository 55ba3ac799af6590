"""The tables of exported symbols in a module: __ksymtab, __kcrctab and their strings, before the loader relocates them.

In a module file their contents are relocations, so it is these that are read, as the kernel would apply them. Whether
an entry is a pair of pointers (2.6.18), has a namespace (5.4) or is made of relative offsets (4.19) follows from where
the relocations lead, and not from version numbers (include/linux/export.h, export-internal.h).
"""

from __future__ import annotations

from hostward.kmod.elf import (
    EM_MIPS,
    SHN_ABS,
    SHN_LORESERVE,
    SHN_UNDEF,
    SHT_NOBITS,
    SHT_REL,
    SHT_RELA,
    BadElf,
    Elf,
    Symbols,
    string_at,
    text,
)

#: (what follows __ksymtab and __kcrctab, whether those exports are for GPL-compatible modules only). The last three
#: are of 2.6.18 to 5.11; a symbol of _gpl_future is open to all until that day, which never came.
TABLES = ((b"", False), (b"_gpl", True), (b"_unused", False), (b"_unused_gpl", True), (b"_gpl_future", False))
#: One byte of flags for each entry, for kernels where one table holds all: bit 0 is GPL-only.
FLAGS = b"__kflagstab"
FLAG_GPL_ONLY = 1

#: name, CRC (None: without MODVERSIONS, or none was made), GPL-only, namespace.
Row = tuple[str, "int | None", bool, str]
#: (offset in the section that is relocated, section that is referred to, address in it).
_Reference = tuple[int, int, int]


def module_exports(elf: Elf, symbols: Symbols) -> list[Row]:
    """What a module exports, in its tables' order.  Raises BadElf; IndexError for references to what is not there."""
    found: list[Row] = []
    where = elf.find(b"__ksymtab_strings")
    strings = elf.content_at(where) if where else b""
    flags = elf.named("__kflagstab")
    for suffix, gpl in TABLES:
        index = elf.find(b"__ksymtab" + suffix)
        if not index or not elf.sizes[index]:
            continue
        names = _names(_references(elf, symbols, index), where, strings)
        crcs = _crcs(elf, symbols, elf.find(b"__kcrctab" + suffix), len(names))
        for number, ((name, namespace), crc) in enumerate(zip(names, crcs)):
            if flags and number < len(flags) and not suffix:
                gpl = bool(flags[number] & FLAG_GPL_ONLY)
            found.append((name, crc, gpl, namespace))
    return found


def _names(references: list[_Reference], where: int, strings: bytes) -> list[tuple[str, str]]:
    """(name, namespace) of each entry: a reference to the symbol, one to its name and perhaps one to its namespace."""
    found: list[tuple[str, str]] = []
    name: str | None = None
    namespace = ""
    limit = len(strings)
    left = 8 * limit + 256 * len(references)  # names may share bytes, but not without bound
    if limit and strings[-1]:
        raise BadElf("the names of its exports do not end")
    for _, section, address in references:
        if section != where:
            if name is not None:
                found.append((name, namespace))
            name, namespace = None, ""
        elif name is None:
            if address >= limit:
                raise BadElf("the name of an export lies outside their strings")
            name = text(strings[address : strings.index(0, address)])
            left -= len(name)
        elif address < limit and strings[address]:
            namespace = string_at(strings, address)
            left -= len(namespace)
        if left < 0:
            raise BadElf("the names of its exports overlap until they are many times the size of their strings")
    if name is not None:
        found.append((name, namespace))
    return found


def _crcs(elf: Elf, symbols: Symbols, index: int, count: int) -> list[int | None]:
    """CRCs of a __kcrctab section: its 32-bit words; or by relocation, an absolute __crc_ symbol's value (to 5.18),
    or the word that one leads to (MODULE_REL_CRCS, 4.10 to 5.18)."""
    none: list[int | None] = [None] * count
    if not index or elf.types[index] == SHT_NOBITS:
        return none
    references = _references(elf, symbols, index)
    if not references:
        content = elf.content_at(index)
        if len(content) == 4 * count:
            return list(elf.words(content))
        return [word & 0xFFFFFFFF for word in elf.longs(content)] if len(content) == 8 * count else none
    size = elf.sizes[index]
    step = size // count if size and count and size % count == 0 else 4
    for offset, section, address in references:
        if section == SHN_UNDEF or offset // step >= count:
            continue
        if section == SHN_ABS:
            none[offset // step] = address & 0xFFFFFFFF
        elif section < SHN_LORESERVE and elf.types[section] != SHT_NOBITS and address + 4 <= elf.sizes[section]:
            none[offset // step] = elf.words(elf.read(elf.offsets[section] + address, 4))[0]
    return none


def _references(elf: Elf, symbols: Symbols, index: int) -> list[_Reference]:
    """Where the relocations of a section lead, in order; of several at one place (riscv's sums) the first."""
    relocations = 0
    for candidate in elf.infos_equal(index):
        if elf.types[candidate] in (SHT_RELA, SHT_REL) and elf.sizes[candidate]:
            relocations = candidate
            break
    if not relocations:
        return []
    raw = elf.content_at(relocations)
    rela = elf.types[relocations] == SHT_RELA
    fields = 3 if rela else 2
    if elf.bits == 64:
        longs = elf.longs(raw[: len(raw) // (8 * fields) * 8 * fields])
        offsets, infos = longs[0::fields], longs[1::fields]
        # MIPS keeps the symbol's number first, as a 32-bit word of its own (the 64-bit ELF of MIPS, 2.9).
        shift = 0 if elf.machine == EM_MIPS and not elf.big else 32
        numbers = [info >> shift & 0xFFFFFFFF for info in infos]
        addends = longs[2::3] if rela else None
        mask = (1 << 64) - 1
    else:
        words = elf.words(raw[: len(raw) // (4 * fields) * 4 * fields])
        offsets = words[0::fields]
        numbers = [info >> 8 for info in words[1::fields]]
        addends = words[2::3] if rela else None
        mask = (1 << 32) - 1
    values, kinds, section = symbols.values, symbols.kinds, symbols.section
    if addends is None:
        content = elf.content_at(index)
        within = elf.words(content[: len(content) // 4 * 4])
        if any(offset % 4 for offset in offsets):
            raise BadElf("relocations of its exports at odd places")
        addends = type(within)("Q", [within[offset // 4] for offset in offsets])
    if max(numbers) >= len(symbols):
        raise BadElf("a relocation of its exports names no symbol")
    found = [
        (offset, section(kinds[number]), (values[number] + addend) & mask)
        for offset, number, addend in zip(offsets, numbers, addends)
    ]
    if any(a >= b for a, b in zip(offsets, offsets[1:])):
        first: dict[int, _Reference] = {}
        for reference in found:
            first.setdefault(reference[0], reference)
        found = sorted(first.values())
    return found
