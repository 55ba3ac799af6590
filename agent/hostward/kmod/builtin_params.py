"""The parameters that are built into a kernel: what makes a directory in /sys/module for a module that is built in."""

from __future__ import annotations

import struct
from bisect import bisect_right

from hostward.kmod.elf import Elf, Section

#: More parameters than this are in no kernel; the largest have some 2,000.
_PARAMS_MAX = 50_000
_NAME_MAX = 256


def parameter_modules(elf: Elf) -> frozenset[str] | None:
    """The names before the dot of all parameters in vmlinux's __param section that are shown in sysfs.

    struct kernel_param (include/linux/moduleparam.h): pointers to name, module and operations, then the mode, which
    is 0 for what is not shown. None for a kernel whose pointers are only written when it boots, or without the
    section. Raises BadElf.
    """
    section = elf.by_name.get("__param")
    if section is None or not section.size:
        return None
    word = 8 if elf.bits == 64 else 4
    size = 5 * word
    content = elf.content(section)[: _PARAMS_MAX * size]
    form = struct.Struct(elf.order + ("3QHbBxxxxQ" if word == 8 else "3IHbBI"))
    strings = _Strings(elf)
    found = set()
    for name_at, _, _, mode, _, _, _ in form.iter_unpack(content[: len(content) // size * size]):
        name = strings.at(name_at)
        if not name:
            return None
        if mode:
            found.add(name.partition(".")[0].replace("-", "_") if "." in name else "kernel")
    return frozenset(found)


class _Strings:
    """Strings of vmlinux by their virtual address."""

    def __init__(self, elf: Elf) -> None:
        self._elf = elf
        self._sections = sorted(
            (s for s in elf.sections if s.address and s.type == 1 and s.size), key=lambda s: s.address
        )
        self._starts = [s.address for s in self._sections]

    def at(self, address: int) -> str:
        """The string at an address; "" where none is.  Raises BadElf."""
        number = bisect_right(self._starts, address) - 1
        if number < 0:
            return ""
        section: Section = self._sections[number]
        offset = address - section.address
        if offset >= section.size:
            return ""
        # A piece of it: whole sections may overlap, and come to many times the file.
        content = self._elf.read(section.offset + offset, min(_NAME_MAX, section.size - offset))
        end = content.find(b"\0")
        name = content[:end] if end > 0 else b""
        return name.decode("ascii", "replace") if name.isascii() else ""
