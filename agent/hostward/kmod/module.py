"""A kernel module file: what it needs, what it exports, and what it says of itself.

Parsing takes a few small tables out of the file and keeps them as they are; what is made of them (names, CRCs, fields)
is made when it is asked for. A tree of 4,000 modules is so read in the time of one look at each.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from hostward.kmod.compress import BadData, NoLibrary, inflate, packing
from hostward.kmod.elf import (
    EM_PPC64,
    ET_REL,
    MACHINES,
    SHF_ALLOC,
    SHT_NOBITS,
    SHT_NULL,
    SHT_SYMTAB,
    BadElf,
    Elf,
    Source,
    Symbols,
    text,
)
from hostward.kmod.ksymtab import Row, module_exports
from hostward.kmod.signature import MAGIC, Signature, read_signature

#: The largest module file worth reading, in bytes, packed or not: amdgpu with debug information has some 600 MB.
SIZE_MAX = 768 << 20
#: How far a packed module may inflate: real ones come to 10 times their size; a bomb is stopped before it hurts.
INFLATED_RATIO_MAX = 64
INFLATED_FREE = 16 << 20
#: The largest tables of one module that are read, in bytes (amdgpu's symbol table has 4 MB).
TABLE_MAX = 256 << 20
THIS_MODULE = b".gnu.linkonce.this_module"
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
#: struct modversion_info: an unsigned long, and a name padded to 64 bytes in all, whatever the word's size.
VERSION_SIZE = 64
_VERSION = struct.Struct("64s")
_SIGNATURE_MAX = 1 << 20


class BadModule(Exception):
    """A file that no kernel would take as a module.

    `reason` says why, `errno` what finit_module answers. `cannot_tell` is set where the file may be sound
    and only a library to inflate it is missing here.
    """

    def __init__(self, reason: str, errno: str = "ENOEXEC", cannot_tell: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.errno = errno
        self.cannot_tell = cannot_tell


class Export(NamedTuple):
    """An exported symbol.  What the source can't tell is None; `provider` is "vmlinux" or a module's name."""

    name: str
    crc: int | None
    gpl: bool | None
    namespace: str | None
    provider: str


class ModuleFile:
    """What a module file says.

    `undefined` are the names of its undefined symbols in the order of its symbol table, `weak` those of them that
    may stay unresolved. `has_versions` is whether it was built with MODVERSIONS, `versions` all its CRCs by symbol, the
    layout symbol included. `this_module_size` is the size of its struct module in bytes; `has_btf` is whether it brings
    type information, which the kernel holds against its own.
    """

    __slots__ = (
        "_exports",
        "_extended",
        "_modinfo",
        "_name",
        "_needs",
        "_signature",
        "_versions",
        "_versions_raw",
        "_wanted",
        "_weak",
        "big",
        "bits",
        "elf_type",
        "exported",
        "has_btf",
        "has_symbol_table",
        "has_versions",
        "machine",
        "path",
        "signature_state",
        "size",
        "this_module_size",
    )

    bits: int
    big: bool
    machine: int
    elf_type: int
    path: str
    size: int
    has_versions: bool
    has_btf: bool
    has_symbol_table: bool
    this_module_size: int | None
    _modinfo: bytes
    _name: str
    _signature: bytes
    _versions_raw: bytes
    _extended: tuple[bytes, bytes] | None
    #: Its exports as their tables have them: name, CRC, whether GPL-only, namespace.
    exported: list[Row]
    _wanted: list[bytes]
    _weak: list[bytes]
    _versions: dict[str, int] | None
    _needs: dict[str, int | None] | None
    _exports: dict[str, Export] | None
    #: "good" or "bad" where the kernel's own key was at hand to verify it with, "no key" where the kernel has another,
    #: another errno where that is the kernel's answer, "" where it was not verified (hostward.kmod.signature.verify).
    signature_state: str

    @property
    def name(self) -> str:
        """The module's name as the kernel takes it: of .modinfo (4.20 and later), of struct module; else the file's."""
        return self._field(b"name") or self._name or module_name(self.path)

    @property
    def undefined(self) -> tuple[str, ...]:
        return tuple(map(text, self._wanted))

    @property
    def weak(self) -> frozenset[str]:
        return frozenset(map(text, self._weak))

    @property
    def modinfo(self) -> list[tuple[str, str]]:
        """The fields of .modinfo in order; several may have one name."""
        fields = []
        for entry in self._modinfo.split(b"\0"):
            if entry:
                key, _, value = text(entry).partition("=")
                fields.append((key, value))
        return fields

    def _field(self, name: bytes) -> str | None:
        raw = self._modinfo
        at = raw.find(b"\0" + name + b"=")
        if at < 0:
            return None
        at += len(name) + 2
        end = raw.find(b"\0", at)
        return text(raw[at:end] if end >= 0 else raw[at:])

    def field(self, name: str) -> str | None:
        """The first value of a .modinfo field, as the kernel's get_modinfo takes it; None where it is absent."""
        return self._field(name.encode())

    def fields(self, name: str) -> list[str]:
        """All values of a .modinfo field."""
        start = name.encode() + b"="
        return [text(entry[len(start) :]) for entry in self._modinfo.split(b"\0") if entry.startswith(start)]

    @property
    def vermagic(self) -> str:
        return self._field(b"vermagic") or ""

    @property
    def srcversion(self) -> str:
        return self._field(b"srcversion") or ""

    @property
    def license(self) -> str:
        """Of several MODULE_LICENSE the loader takes the first (check_modinfo()); only modpost looks at all."""
        found = self._field(b"license")
        return "unspecified" if found is None else found

    @property
    def gpl_compatible(self) -> bool:
        return self.license in GPL_COMPATIBLE

    @property
    def intree(self) -> bool:
        return self._field(b"intree") is not None

    @property
    def import_ns(self) -> frozenset[str]:
        return frozenset(self.fields("import_ns"))

    @property
    def depends(self) -> tuple[str, ...]:
        return tuple(name for name in (self._field(b"depends") or "").split(",") if name)

    @property
    def aliases(self) -> tuple[str, ...]:
        return tuple(self.fields("alias"))

    @property
    def softdeps(self) -> tuple[str, ...]:
        return tuple(self.fields("softdep"))

    @property
    def signature(self) -> Signature | None:
        """What its trailer tells; None for an unsigned module."""
        return read_signature(self._signature, self.size) if self._signature else None

    @property
    def versions(self) -> dict[str, int]:
        """CRCs by symbol.  Where there is an extended form (6.14 and later) the kernel takes that one alone."""
        if self._versions is None:
            self._versions = self._extended_versions() if self._extended else self._plain_versions()
        return self._versions

    @property
    def version_count(self) -> int:
        """How many CRCs there are, the layout symbol's included."""
        return len(self._extended[0]) // 4 if self._extended else len(self._versions_raw) // VERSION_SIZE

    def _plain_versions(self) -> dict[str, int]:
        form = (">" if self.big else "<") + ("Q56s" if self.bits == 64 else "I60s")
        raw = self._versions_raw
        dots = self.machine == EM_PPC64  # whose loader takes the dot off a function's name (dedotify_versions())
        found: dict[str, int] = {}
        for crc, name in struct.iter_unpack(form, raw):
            end = name.find(b"\0")
            if end > 0:
                found.setdefault(text(name[1:end] if dots and name[0] == 46 else name[:end]), crc & 0xFFFFFFFF)
        return found

    def _extended_versions(self) -> dict[str, int]:
        crcs, names = self._extended or (b"", b"")
        found: dict[str, int] = {}
        form = (">" if self.big else "<") + "I"
        count = len(crcs) // 4
        for (crc,), name in zip(struct.iter_unpack(form, crcs[: count * 4]), names.split(b"\0", count)):
            found.setdefault(text(name), crc)
        return found

    def fits(self, known: KnownSymbols) -> bool:
        """Whether each symbol it needs is among `known`, with the very CRC it was built with.

        Then it needs no closer look: False says nothing yet. This is what makes a whole tree cheap to judge.
        """
        return (
            known.names.issuperset(self._wanted)
            and self._extended is None
            and known.records.issuperset(_VERSION.iter_unpack(self._versions_raw))
            and (known.bits, known.big) == (self.bits, self.big)
        )

    @property
    def needs(self) -> dict[str, int | None]:
        """The CRC for each undefined symbol; None where the module has none for it."""
        if self._needs is None:
            versions = self.versions
            self._needs = {name: versions.get(name) for name in self.undefined}
        return self._needs

    @property
    def exports(self) -> dict[str, Export]:
        """What it exports, by name."""
        if self._exports is None:
            provider = self.name
            self._exports = {row[0]: Export(*row, provider) for row in self.exported}
        return self._exports

    @property
    def layout(self) -> tuple[str, int] | None:
        """The layout symbol and its CRC; None without versions."""
        return next(((name, self.versions[name]) for name in LAYOUT_SYMBOLS if name in self.versions), None)

    @property
    def architecture(self) -> str:
        name = MACHINES.get(self.machine, f"machine {self.machine}")
        return name if name not in ("mips", "riscv") else f"{name}{self.bits}{'eb' if self.big else ''}"


class KnownSymbols:
    """Symbols with their CRCs, in the form that __versions has, for ModuleFile.fits.

    Those that need a closer look (in a namespace, or GPL-only for modules that are proprietary) are to be left out.
    """

    __slots__ = ("big", "bits", "names", "records")

    def __init__(self, crcs: dict[str, int | None], bits: int, big: bool) -> None:
        self.bits, self.big = bits, big
        self.names = frozenset(map(str.encode, crcs))
        form = struct.Struct((">" if big else "<") + ("Q56s" if bits == 64 else "I60s"))
        self.records = frozenset(
            (form.pack(crc, name.encode("utf-8", "replace")),) for name, crc in crcs.items() if crc is not None
        )


def module_name(path: str) -> str:
    """The name that a module of this file name has: without .ko and what packs it, - being _."""
    return path.rsplit("/", 1)[-1].split(".ko", 1)[0].replace("-", "_")


def unpacked(data: bytes) -> bytes:
    """The module's own bytes, inflated when the file is packed.  Raises BadModule."""
    if data[:4] == b"\x7fELF" or packing(data[:16]) not in ("gzip", "xz", "zstd"):
        return data
    try:
        return inflate(data, min(SIZE_MAX, max(INFLATED_FREE, INFLATED_RATIO_MAX * len(data))))
    except NoLibrary as error:
        raise BadModule(error.reason, cannot_tell=True) from None
    except BadData as error:
        raise BadModule(error.reason, "EINVAL") from None


def parse_module(source: Source, path: str = "") -> ModuleFile:
    """A module from its file's bytes or from the open file, packed or not; `path` names it where it does not itself.

    An open file is read by the tables that are wanted when it is not packed. Raises BadModule; a HostError of
    reading passes through.
    """
    if not isinstance(source, bytes):
        if source.size > SIZE_MAX:
            raise BadModule(f"{source.size} bytes, more than a module has")
        head = source.read_at(0, 16)
        if head[:4] != b"\x7fELF" and packing(head):
            source = source.read_at(0, source.size)
    if isinstance(source, bytes):
        source = unpacked(source)
    try:
        return _parse(source, path)
    except BadElf as error:
        empty = not (len(source) if isinstance(source, bytes) else source.size)
        raise BadModule(error.reason, "EINVAL" if empty else "ENOEXEC") from None
    except (struct.error, IndexError, ValueError, OverflowError):
        raise BadModule("a table of it leads to where nothing is") from None


def _parse(source: Source, path: str) -> ModuleFile:
    elf = Elf(source)
    if elf.type != ET_REL:
        raise BadElf("an ELF file that is not relocatable, so not a module")
    if elf.types[0] != SHT_NULL or elf.sizes[0]:
        raise BadElf("section 0 is not empty")
    module = ModuleFile()
    module.bits, module.big, module.machine, module.elf_type = elf.bits, elf.big, elf.machine, elf.type
    module.path, module.size, module.signature_state = path, elf.size, ""
    module._needs = module._versions = module._exports = None
    module._modinfo = b"\0" + _table(elf, b".modinfo")
    module._signature = _trailer(elf)
    versions = elf.find(b"__versions")
    # The loader finds sections by SHF_ALLOC (find_sec()), and without it goes on as if there were none.
    module.has_versions = versions > 0 and elf.flags(versions) & SHF_ALLOC != 0
    raw = _content(elf, versions) if module.has_versions else b""
    module._versions_raw = raw[: len(raw) // VERSION_SIZE * VERSION_SIZE]
    module._extended = None
    if elf.find(b"__version_ext_crcs"):
        module._extended = _table(elf, b"__version_ext_crcs"), _table(elf, b"__version_ext_names")
        module.has_versions = True
    this = elf.find(THIS_MODULE)
    module.this_module_size, module._name = None, ""
    if this and elf.types[this] != SHT_NOBITS and elf.flags(this) & SHF_ALLOC:
        module.this_module_size = elf.sizes[this]
        if b"\0name=" not in module._modinfo:
            module._name = _name_in_struct(elf, this)
    btf = elf.find(b".BTF")
    module.has_btf = btf > 0 and elf.sizes[btf] > 0
    _symbols(elf, module)
    return module


def _content(elf: Elf, index: int) -> bytes:
    if elf.sizes[index] > TABLE_MAX:
        raise BadElf(f"a table of {elf.sizes[index]} bytes, more than any module has")
    return elf.content_at(index)


def _table(elf: Elf, name: bytes) -> bytes:
    index = elf.find(name)
    return _content(elf, index) if index else b""


def _symbols(elf: Elf, module: ModuleFile) -> None:
    module._wanted, module._weak, module.exported = [], [], []
    try:
        index = elf.types.index(SHT_SYMTAB)
    except ValueError:
        module.has_symbol_table = False
        return
    module.has_symbol_table = True
    if elf.sizes[index] > TABLE_MAX:
        raise BadElf(f"a symbol table of {elf.sizes[index]} bytes, more than any module has")
    symbols = Symbols(elf, index)
    module._wanted, module._weak = symbols.undefined(elf.machine)
    if elf.has_exports():
        module.exported = module_exports(elf, symbols)


def _trailer(elf: Elf) -> bytes:
    """What stands behind the module when it is signed, as far as it is there."""
    if elf.size < len(MAGIC) or elf.read(elf.size - len(MAGIC), len(MAGIC)) != MAGIC:
        return b""
    end = elf.size - len(MAGIC)
    if end < 12:
        return MAGIC
    head = elf.read(end - 12, 12)
    want = head[3] + head[4] + int.from_bytes(head[8:12], "big") + 12 + len(MAGIC)
    take = min(want, elf.size, _SIGNATURE_MAX)
    return elf.read(elf.size - take, take)


def _name_in_struct(elf: Elf, this: int) -> str:
    """The name in struct module: behind its state and list head, alike since 2.6 (include/linux/module.h)."""
    start = 24 if elf.bits == 64 else 12
    if elf.sizes[this] < start + 56:
        return ""
    name = elf.read(elf.offsets[this] + start, 56).split(b"\0", 1)[0]
    return name.decode("ascii") if name.isascii() and name.strip() else ""
