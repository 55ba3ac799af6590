"""The kernel's own look at an ELF file before it takes it for a module: what it checks, in which order, and says.

Source: elf_validity_check() of kernel/module/main.c (5.13 to 6.3; elf_validity_cache_copy() since), and what
copy_and_check() and load_module() did before. The kernel reads every file as one of its own class and byte order:
EI_CLASS and EI_DATA are not looked at. Its words came with 5.17; before that it refused most of this in silence.
"""

from __future__ import annotations

import struct

from hostward.kmod.profile import KernelProfile

ET_REL, SHT_NULL, SHT_SYMTAB, SHT_STRTAB, SHT_NOBITS, SHF_ALLOC = 1, 0, 2, 3, 8, 2
_TALKS = (5, 17, 0)
_CHECKS = (5, 13, 0)
#: The version from which one function checks all of it; Debian's 6.12 has that too.
_STRICT = (6, 12, 0)


def elf_complaint(data: bytes, kernel: KernelProfile) -> str | None:
    """What this kernel finds wrong with the headers of a file, in its own words; None for nothing.

    `data` is the file without a signature. "" is a refusal in silence. ENOEXEC is the answer to all of it.
    """
    said = _complaint(data, kernel)
    if said is None:
        return None
    if kernel.version < _CHECKS:
        if said.startswith("ELF Spec violation"):
            return None
        cut = said.startswith("Invalid ELF section in module")
        return f"Module len {len(data)} truncated" if cut else ""
    return said if kernel.version >= _TALKS or said.startswith("Invalid ELF section in module") else ""


def _complaint(data: bytes, kernel: KernelProfile) -> str | None:
    order, wide = ">" if kernel.big else "<", kernel.bits != 32
    size, step = (64, 64) if wide else (52, 40)
    if len(data) < size:
        return f"Invalid ELF header len {len(data)}"
    if data[:4] != b"\x7fELF":
        return "Invalid ELF header magic: != \x7fELF"
    kind, machine = struct.unpack_from(order + "HH", data, 16)
    (at,) = struct.unpack_from(order + "Q", data, 40) if wide else struct.unpack_from(order + "I", data, 32)
    entsize, count, strndx = struct.unpack_from(order + "HHH", data, 58 if wide else 46)
    if kind != ET_REL:
        return f"Invalid ELF header type: {kind} != {ET_REL}"
    if kernel.machine is not None and machine != kernel.machine:
        return f"Invalid architecture in ELF header: {machine}"
    if entsize != step:
        return "Invalid ELF section header size"
    if at >= len(data) or count * step > len(data) - at:
        return "Invalid ELF section header overflow"
    form = struct.Struct(order + ("IIQQQQIIQQ" if wide else "10I"))
    headers = [form.unpack_from(data, at + n * step) for n in range(count)]
    names = _names(data, headers, strndx)
    sections = _sections(data, headers, (kernel.version < _STRICT and strndx < count and headers[strndx][5]) or 0)
    if kernel.version >= _STRICT:
        return sections or names or _name_offsets(headers, headers[strndx][5]) or _strings(headers)
    return names or sections


def _names(data: bytes, headers: list[tuple[int, ...]], strndx: int) -> str | None:
    """What is wrong with the table of the sections' names."""
    if strndx == 0 or strndx >= len(headers):
        return f"Invalid ELF section name index: {strndx} || e_shstrndx ({strndx}) >= e_shnum ({len(headers)})"
    _, kind, _, _, offset, size, *_ = headers[strndx]
    if offset + size > len(data):
        return f"Invalid ELF section hdr(type {kind})"
    if size == 0:
        return "empty section name table"
    if data[offset + size - 1]:
        return "ELF Spec violation: section name table isn't null terminated"
    return None


def _sections(data: bytes, headers: list[tuple[int, ...]], names_size: int) -> str | None:
    """What is wrong with section 0, or with where the sections lie; and with their names, where a size is given."""
    if not headers or headers[0][1] != SHT_NULL or headers[0][5] or headers[0][3]:
        kind = headers[0][1] if headers else 0
        return f"ELF Spec violation: section 0 type({kind})!=SH_NULL or non-zero len or addr"
    for number, (name, kind, flags, _, offset, size, link, *_) in enumerate(headers):
        if kind in (SHT_NULL, SHT_NOBITS):
            continue
        if kind == SHT_SYMTAB and names_size and not 0 < link < len(headers):
            return f"Invalid ELF sh_link!=SHN_UNDEF({link}) or (sh_link({link}) >= hdr->e_shnum({len(headers)})"
        if offset + size > len(data):
            return f"Invalid ELF section in module (section {number} type {kind})"
        if names_size and flags & SHF_ALLOC and name >= names_size:
            return f"Invalid ELF section name in module (section {number} type {kind})"
    return None


def _name_offsets(headers: list[tuple[int, ...]], names_size: int) -> str | None:
    for number, (name, kind, *_) in enumerate(headers):
        if kind != SHT_NULL and name >= names_size:
            return f"Invalid ELF section name in module (section {number} type {kind})"
    return None


def _strings(headers: list[tuple[int, ...]]) -> str | None:
    """What is wrong with the string table of the symbols."""
    for _, kind, _, _, _, _, link, *_ in headers:
        if kind != SHT_SYMTAB:
            continue
        if not 0 < link < len(headers):
            return f"Invalid ELF sh_link!=SHN_UNDEF({link}) or (sh_link({link}) >= hdr->e_shnum({len(headers)})"
        if headers[link][1] != SHT_STRTAB:
            return f"Invalid ELF symbol string table type: {headers[link][1]}"
    return None
