"""A kernel module file: what it needs, what it exports, and what it says of itself."""

from __future__ import annotations

import struct
from typing import NamedTuple

from hostward.kmod.compress import BadData, inflate, packing
from hostward.kmod.elf import (
    ET_REL,
    MACHINES,
    SHF_ALLOC,
    SHN_ABS,
    SHN_LORESERVE,
    SHN_UNDEF,
    SHT_NOBITS,
    SHT_SYMTAB,
    STB_WEAK,
    BadElf,
    Elf,
    Section,
    string_at,
)
from hostward.kmod.signature import Signature, read_signature

#: The largest module file worth reading, in bytes, packed or not: amdgpu with debug information has some 600 MB.
SIZE_MAX = 768 << 20
THIS_MODULE = ".gnu.linkonce.this_module"
#: What stands for the layout of struct module among the versions: since 2.6.26, and before.
LAYOUT_SYMBOLS = ("module_layout", "struct_module")
#: license_is_gpl_compatible() of include/linux/license.h.
GPL_COMPATIBLE = {
    "GPL",
    "GPL v2",
    "GPL and additional rights",
    "Dual BSD/GPL",
    "Dual MIT/GPL",
    "Dual MPL/GPL",
}


class BadModule(Exception):
    """A file that no kernel would take as a module.  `reason` says why, `errno` what finit_module answers."""

    def __init__(self, reason: str, errno: str = "ENOEXEC") -> None:
        super().__init__(reason)
        self.reason = reason
        self.errno = errno


class Export(NamedTuple):
    """An exported symbol.  What the source can't tell is None; `provider` is "vmlinux" or a module's name."""

    name: str
    crc: int | None
    gpl: bool | None
    namespace: str | None
    provider: str


class ModuleFile:
    """What a module file says.

    `needs` maps each undefined symbol to its CRC (None: the module has none for it), `weak` names those that
    may stay unresolved.  `versions` is all of `__versions`, the layout symbol included; it is empty without
    MODVERSIONS.  `exports` by name; `modinfo` holds the fields of .modinfo in order, several of one name apart.
    """

    __slots__ = (
        "big",
        "bits",
        "elf_type",
        "exports",
        "has_symbol_table",
        "machine",
        "modinfo",
        "name",
        "needs",
        "signature",
        "this_module_size",
        "unversioned",
        "versions",
        "weak",
    )

    bits: int
    big: bool
    machine: int
    elf_type: int
    name: str
    modinfo: list[tuple[str, str]]
    needs: dict[str, int | None]
    weak: frozenset[str]
    versions: dict[str, int]
    unversioned: bool
    exports: dict[str, Export]
    signature: Signature | None
    this_module_size: int | None
    has_symbol_table: bool

    def field(self, name: str) -> str | None:
        """The first value of a .modinfo field, as the kernel's get_modinfo takes it; None where it is absent."""
        return next((value for key, value in self.modinfo if key == name), None)

    def fields(self, name: str) -> list[str]:
        return [value for key, value in self.modinfo if key == name]

    @property
    def vermagic(self) -> str:
        return self.field("vermagic") or ""

    @property
    def srcversion(self) -> str:
        return self.field("srcversion") or ""

    @property
    def license(self) -> str:
        """Of several MODULE_LICENSE the kernel looks at all; the first that is not compatible decides."""
        licenses = self.fields("license") or ["unspecified"]
        return next((text for text in licenses if text not in GPL_COMPATIBLE), licenses[0])

    @property
    def gpl_compatible(self) -> bool:
        return self.license in GPL_COMPATIBLE

    @property
    def intree(self) -> bool:
        return self.field("intree") is not None

    @property
    def import_ns(self) -> frozenset[str]:
        return frozenset(self.fields("import_ns"))

    @property
    def depends(self) -> tuple[str, ...]:
        return tuple(name for name in (self.field("depends") or "").split(",") if name)

    @property
    def layout(self) -> tuple[str, int] | None:
        """The layout symbol and its CRC; None without versions."""
        return next(((name, self.versions[name]) for name in LAYOUT_SYMBOLS if name in self.versions), None)

    @property
    def architecture(self) -> str:
        name = MACHINES.get(self.machine, f"machine {self.machine}")
        return name if name not in ("mips", "riscv") else f"{name}{self.bits}{'eb' if self.big else ''}"


def unpacked(data: bytes) -> bytes:
    """The module's own bytes, inflated when the file is packed.  Raises BadModule."""
    if data[:4] == b"\x7fELF" or packing(data[:16]) not in ("gzip", "xz", "zstd"):
        return data
    try:
        # A module inflates to about four times its size; a bomb is stopped long before it hurts.
        return inflate(data, min(SIZE_MAX, max(64 << 20, 64 * len(data))))
    except BadData as error:
        raise BadModule(error.reason) from None


def parse_module(data: bytes, name: str = "") -> ModuleFile:
    """A module from its file's bytes, packed or not; `name` is used where it does not say its own.

    Raises BadModule.
    """
    data = unpacked(data)
    try:
        return _parse(data, name)
    except BadElf as error:
        raise BadModule(error.reason) from None
    except struct.error:
        raise BadModule("a table of it is cut short") from None


def _parse(data: bytes, name: str) -> ModuleFile:
    elf = Elf(data)
    module = ModuleFile()
    module.bits, module.big, module.machine, module.elf_type = elf.bits, elf.big, elf.machine, elf.type
    if elf.type != ET_REL:
        raise BadModule("an ELF file that is not relocatable, so not a module")
    module.signature = read_signature(data)
    module.modinfo = _modinfo(elf.named(".modinfo"))
    this = elf.by_name.get(THIS_MODULE)
    if this is not None and (this.type == SHT_NOBITS or not this.flags & SHF_ALLOC):
        this = None
    module.this_module_size = None if this is None else this.size
    module.name = module.field("name") or _name_in_struct(elf, this) or name.replace("-", "_")
    module.versions = _versions(elf)
    module.exports, module.unversioned = {}, not module.versions
    table = elf.symbol_table()
    module.has_symbol_table = table is not None
    needs: dict[str, int | None] = {}
    weak: list[str] = []
    if table is not None:
        header, entries, strings = table
        # Locals come first (sh_info is the first that is not); what a module needs is never among them.
        first = min(header.info * (24 if elf.bits == 64 else 16), len(entries))
        versions = module.versions
        index = strings.index
        for offset, info, shndx, _ in elf.symbols(entries[first:]):
            if shndx == SHN_UNDEF and offset:
                if offset >= len(strings):
                    raise BadElf("a symbol's name lies outside the string table")
                symbol = strings[offset : index(0, offset)].decode("utf-8", "backslashreplace")
                needs[symbol] = versions.get(symbol)
                if info >> 4 == STB_WEAK:
                    weak.append(symbol)
        if _exporting(elf):
            module.exports = _exports(elf, entries, strings, module.name)
    module.needs, module.weak = needs, frozenset(weak)
    return module


def _modinfo(raw: bytes) -> list[tuple[str, str]]:
    fields = []
    for line in raw.split(b"\0"):
        if line:
            key, _, value = line.decode("utf-8", "backslashreplace").partition("=")
            fields.append((key, value))
    return fields


def _name_in_struct(elf: Elf, this: Section | None) -> str:
    """The name in struct module: behind its state and list head, alike since 2.6 (include/linux/module.h)."""
    start = 24 if elf.bits == 64 else 12
    raw = elf.content(this)[start : start + 56]
    name = raw.split(b"\0", 1)[0]
    return name.decode("ascii", "replace") if name.isascii() and name.strip() else ""


def _versions(elf: Elf) -> dict[str, int]:
    """CRCs by symbol: `__versions` (a word and a padded name, 64 bytes) or the extended form of 6.14 and later."""
    raw = elf.named("__versions")
    found: dict[str, int] = {}
    if raw:
        form = elf.order + ("Q56s" if elf.bits == 64 else "I60s")
        for crc, name in struct.iter_unpack(form, raw[: len(raw) // 64 * 64]):
            found[name[: name.index(0)].decode() if 0 in name else name.decode("utf-8", "replace")] = crc & 0xFFFFFFFF
    names = elf.named("__version_ext_names")
    if names:
        # When both are there the kernel takes the extended form (kernel/module/version.c, modversion_ext_start).
        crcs = elf.named("__version_ext_crcs")
        found = {
            name.decode("utf-8", "backslashreplace"): crc
            for (crc,), name in zip(struct.iter_unpack(elf.order + "I", crcs[: len(crcs) // 4 * 4]), names.split(b"\0"))
            if name
        }
    return found


def _exporting(elf: Elf) -> bool:
    return any(name.startswith(("__ksymtab", "___ksymtab")) for name in elf.by_name)


def _exports(elf: Elf, entries: bytes, strings: bytes, provider: str) -> dict[str, Export]:
    """Exports by the symbols that EXPORT_SYMBOL leaves: __ksymtab_NAME in a section that says whether it is
    GPL-only, __crc_NAME (absolute, or a word of a __kcrctab section), __kstrtabns_NAME for the namespace."""
    found: dict[str, bool] = {}
    crcs: dict[str, int] = {}
    namespaces: dict[str, str] = {}
    sections = elf.sections
    word = struct.Struct(elf.order + "I")
    for offset, _info, shndx, value in elf.symbols(entries):
        if not strings.startswith(b"__", offset):
            continue
        if strings.startswith(b"__ksymtab_", offset):
            if SHN_UNDEF < shndx < min(SHN_LORESERVE, len(sections)):
                found[string_at(strings, offset + 10)] = "_gpl" in sections[shndx].name.split("+")[0]
        elif strings.startswith(b"__crc_", offset):
            name = string_at(strings, offset + 6)
            if shndx == SHN_ABS:
                crcs[name] = value & 0xFFFFFFFF
            elif SHN_UNDEF < shndx < min(SHN_LORESERVE, len(sections)) and sections[shndx].type != SHT_SYMTAB:
                section = sections[shndx]
                if section.type != SHT_NOBITS and value + 4 <= section.size:
                    crcs[name] = word.unpack_from(elf.data, section.offset + value)[0]
        elif strings.startswith(b"__kstrtabns_", offset) and SHN_UNDEF < shndx < min(SHN_LORESERVE, len(sections)):
            content = elf.content(sections[shndx])
            if value < len(content):
                text = content[value:].split(b"\0", 1)[0] if value else content.split(b"\0", 1)[0]
                namespaces[string_at(strings, offset + 12)] = text.decode("utf-8", "backslashreplace")
    return {name: Export(name, crcs.get(name), gpl, namespaces.get(name, ""), provider) for name, gpl in found.items()}
