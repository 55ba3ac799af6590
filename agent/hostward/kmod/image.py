"""A kernel image: from the file in /boot to vmlinux, and from vmlinux to the symbols it exports.

This is what makes hosts without headers or symvers (Debian's) work: the image is always there.  The layouts of
__ksymtab are told apart by what the image shows (sizes of sections, where pointers lead), not by version numbers.
"""

from __future__ import annotations

import mmap
import re
import struct
from bisect import bisect_right
from dataclasses import dataclass
from typing import Union

from hostward.kmod.certificates import built_in
from hostward.kmod.compress import BadData, inflate, inflate_large, inflate_to, inflater, packing
from hostward.kmod.elf import BadElf, Elf, InMemory, Section
from hostward.kmod.exports import ExportTable
from hostward.kmod.ksymtab import FLAG_GPL_ONLY
from hostward.kmod.module import Export

#: The largest vmlinux worth inflating, in bytes: distribution kernels come to 40 to 120 MB.
VMLINUX_MAX = 512 << 20
Inflated = Union[bytes, bytearray, mmap.mmap]
_MAGICS = re.compile(
    rb"\x1f\x8b\x08|BZh|\xfd7zXZ\x00|\x28\xb5\x2f\xfd|\x02\x21\x4c\x18|\x89LZO\x00\r\n\x1a\n|\x5d\x00\x00[\x00-\xff]"
)
#: How many places of an image without a header are tried, and how many of them as a whole.
_TRIES = 64
_TRIES_WHOLE = 4
#: What is looked at to see whether a place holds an ELF file: room for a whole block of any format.
_PEEK = 9 << 20
#: The kernel's KSYM_NAME_LEN, and what all names of exports together may come to, in bytes (real ones: 300 kB).
_NAME_MAX = 512
_NAMES_MAX = 32 << 20


class BadImage(Exception):
    """An image that can't be taken apart, and why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Image:
    """What a kernel image says: its exports, release and vermagic ("" where they can't be found), machine and bits.

    `certificates` are those whose keys it trusts, as DER; None where their list can't be found.
    """

    exports: ExportTable
    release: str
    vermagic: str
    machine: int
    bits: int
    big: bool
    config: bytes
    certificates: tuple[bytes, ...] | None


def read_image(data: bytes, source: str) -> Image:
    """Takes an image apart.  Raises BadImage."""
    vmlinux = unpack_image(data)
    try:
        elf = Elf(InMemory(vmlinux))
        exports = _exports(elf)
    except BadElf as error:
        raise BadImage(f"its vmlinux: {error.reason}") from None
    except struct.error:
        raise BadImage("its vmlinux: a table of exports is cut short") from None
    if not exports:
        raise BadImage("its vmlinux has no table of exported symbols")
    versioned = any(export.crc is not None for export in exports.values())
    table = ExportTable("image", source, exports, False, versioned, True, True)
    release, vermagic = _strings(elf)
    keys = built_in(elf.named(".init.data"), elf.bits, elf.big)
    return Image(table, release, vermagic, elf.machine, elf.bits, elf.big, _ikconfig(vmlinux), keys)


def unpack_image(data: bytes) -> Inflated:
    """The vmlinux inside an image: by the boot header of x86, by an EFI zboot header, or by looking for the payload.

    Raises BadImage.
    """
    if data[:4] == b"\x7fELF":
        return data
    spans: list[tuple[int, int]] = []
    sized = False
    if data[0x202:0x206] == b"HdrS" and len(data) > 0x260:
        # Documentation/arch/x86/boot.rst: setup sectors, then the payload by offset and length (protocol 2.08).
        setup = data[0x1F1] or 4
        (version,) = struct.unpack_from("<H", data, 0x206)
        offset, length = struct.unpack_from("<II", data, 0x248)
        if version >= 0x208 and length:
            spans.append(((setup + 1) * 512 + offset, length))
            sized = True
    elif data[:2] == b"MZ" and data[4:8] == b"zimg":
        # drivers/firmware/efi/libstub/zboot-header.S
        spans.append(struct.unpack_from("<II", data, 8))
    elif packing(data[:16]):
        spans.append((0, len(data)))
    tried = 0
    problem = ""
    for start, length in spans:
        tried += 1
        try:
            return _payload(memoryview(data)[start : start + length], sized)
        except BadData as error:
            problem = error.reason
    if tried:
        raise BadImage(f"its payload can't be inflated: {problem}")
    whole = 0
    for match in _MAGICS.finditer(data):
        if tried >= _TRIES or whole >= _TRIES_WHOLE:
            break
        tried += 1
        if not _holds_elf(data[match.start() : match.start() + _PEEK]):
            continue
        whole += 1
        try:
            return _payload(memoryview(data)[match.start() :])
        except BadData:
            continue
    raise BadImage("no compressed or plain vmlinux in it" if len(data) > 4096 else "too small to be a kernel")


def _holds_elf(packed: bytes) -> bool:
    """Whether compressed data begins with an ELF file's magic."""
    try:
        return inflater(packing(packed[:16])).decompress(packed, 4) == b"\x7fELF"
    except BadData:
        return False


def _payload(packed: memoryview, sized: bool = False) -> Inflated:
    """A payload's vmlinux.  Raises BadData when it is anything else.

    `sized`: its last four bytes say how much it inflates to (size_append of scripts/Makefile.lib; gzip's own).
    """
    head = bytes(packed[:16])
    if head[:4] == b"\x7fELF":
        return bytes(packed)
    if not packing(head):
        raise BadData("in no compression that kernels use")
    inflated: Inflated | None = None
    if sized:
        try:
            inflated = inflate_to(min(int.from_bytes(packed[-4:], "little"), VMLINUX_MAX), packed)
        except BadData:
            pass  # whatever those bytes were, they were no size
    if inflated is None:
        inflated = inflate_large(packed, VMLINUX_MAX)
    if inflated[:4] != b"\x7fELF":
        raise BadData("what it inflates to is not an ELF file")
    return inflated


def _exports(elf: Elf) -> dict[str, Export]:
    """The exports in __ksymtab and __ksymtab_gpl (and the _unused and _gpl_future ones of old kernels)."""
    found: dict[str, Export] = {}
    flags = elf.named("__kflagstab")  # where one table holds all (7.2 does): a byte for each
    for suffix, gpl in (("", False), ("_gpl", True), ("_unused", False), ("_unused_gpl", True), ("_gpl_future", False)):
        section = elf.by_name.get("__ksymtab" + suffix)
        if section is None or not section.size:
            continue
        names = _names(elf, section)
        crcs = _crcs(elf, "__kcrctab" + suffix, len(names))
        flagged = flags if len(flags) == len(names) and not suffix else None
        for number, ((name, namespace), crc) in enumerate(zip(names, crcs)):
            gpl_only = gpl if flagged is None else bool(flagged[number] & FLAG_GPL_ONLY)
            found[name] = Export(name, crc, gpl_only, namespace, "vmlinux")
    return found


class _Memory:
    """Strings by their virtual address."""

    def __init__(self, elf: Elf) -> None:
        self._elf = elf
        strings = elf.by_name.get("__ksymtab_strings")
        self._start = strings.address if strings is not None else 0
        self._strings = elf.content(strings)
        self._sections = sorted(
            (s for s in elf.sections if s.address and s.type == 1 and s.size), key=lambda s: s.address
        )
        self._starts = [s.address for s in self._sections]
        self._left = _NAMES_MAX

    def string(self, address: int) -> str | None:
        """The string at an address; None where none is, or a longer one than a symbol's name.  Raises BadElf."""
        content, at = self._strings, address - self._start
        if not 0 <= at < len(content):
            number = bisect_right(self._starts, address) - 1
            if number < 0:
                return None
            section = self._sections[number]
            beyond = address - section.address
            if beyond >= section.size:
                return None
            # A piece of it: whole sections, overlapping as they please, would be read again and again.
            content, at = self._elf.read(section.offset + beyond, min(_NAME_MAX, section.size - beyond)), 0
        stop = content.find(b"\0", at, at + _NAME_MAX)
        if stop < 0:
            return None
        self._left -= stop - at
        if self._left < 0:
            raise BadElf(f"more than {_NAMES_MAX} bytes of names of exports")
        return content[at:stop].decode("utf-8", "backslashreplace")


def _names(elf: Elf, section: Section) -> list[tuple[str, str]]:
    """(name, namespace) of each entry of a __ksymtab section, in order.  Raises BadElf.

    Three layouts, tried on the first entries: 32-bit offsets relative to themselves (value, name and, since 5.4,
    namespace), or pointers (value, name and, since 5.4, namespace) as on 2.6.18.
    """
    content = elf.content(section)
    memory = _Memory(elf)
    pointer = "Q" if elf.bits == 64 else "I"
    width = 8 if elf.bits == 64 else 4
    layouts: list[tuple[int, bool, int]] = []  # (bytes of an entry, relative, offset of the name's field)
    layouts += [(12, True, 4), (8, True, 4)]
    layouts += [(3 * width, False, width), (2 * width, False, width)]
    for size, relative, at in layouts:
        if section.size % size:
            continue
        fields = size // (4 if relative else width)
        form = struct.Struct(elf.order + ("i" if relative else pointer) * fields)
        found: list[tuple[str, str]] = []
        for index, entry in enumerate(form.iter_unpack(content)):
            base = section.address + index * size
            name = memory.string(entry[1] + (base + at if relative else 0))
            if not name or not _is_symbol(name):
                break
            namespace = ""
            if fields == 3 and entry[2]:
                namespace = memory.string(entry[2] + (base + 2 * at if relative else 0)) or ""
                if namespace and not namespace.isprintable():
                    break
            found.append((name, namespace))
        else:
            return found
    raise BadElf(f"the entries of {section.name} are in no layout known")


_SYMBOL = re.compile(r"[A-Za-z_.$][\w.$]*").fullmatch


def _is_symbol(name: str) -> bool:
    return _SYMBOL(name) is not None


def _crcs(elf: Elf, name: str, count: int) -> list[int | None]:
    """The CRCs of a __kcrctab section: 32-bit words, words of the machine's size, or none without MODVERSIONS."""
    content = elf.named(name)
    if len(content) == 4 * count:
        return [crc for (crc,) in struct.iter_unpack(elf.order + "I", content)]
    if len(content) == 8 * count:
        return [crc & 0xFFFFFFFF for (crc,) in struct.iter_unpack(elf.order + "Q", content)]
    return [None] * count


_BANNER = re.compile(rb"Linux version (\S+) \(")
_VERMAGIC = re.compile(rb"\0(\d+\.\d+[^\0 ]* (?:SMP |mod_unload |preempt|modversions |gcc-)[^\0]{0,200})\0")


def _strings(elf: Elf) -> tuple[str, str]:
    """(release, vermagic), which stand as strings in .rodata."""
    rodata = elf.named(".rodata")
    banner = _BANNER.search(rodata)
    vermagic = _VERMAGIC.search(rodata)
    return (
        banner.group(1).decode("utf-8", "backslashreplace") if banner else "",
        vermagic.group(1).decode("utf-8", "backslashreplace") if vermagic else "",
    )


def _ikconfig(vmlinux: Inflated) -> bytes:
    """The configuration that CONFIG_IKCONFIG keeps between two marks (scripts/extract-ikconfig), or nothing."""
    start = vmlinux.find(b"IKCFG_ST")
    end = vmlinux.find(b"IKCFG_ED", start)
    if start < 0 or end < 0 or end - start > 4 << 20:
        return b""
    try:
        return inflate(vmlinux[start + 8 : end], 4 << 20)
    except BadData:
        return b""
