"""Writes relocatable kernel modules (.ko) byte by byte, in the layouts kernels have used from 2.6.18 on.

    Module("ksm", license="GPL", vermagic="2.6.18-203.el5 SMP mod_unload gcc-4.1", layout_crc=0x8D3894F2,
           needs=[Need("printk", 0x1B7D4074)], exports=[]).build(EL5)

What a Layout tells apart:
  entries  "pointers": struct kernel_symbol holds addresses (value, name; include/linux/module.h of 2.6.18),
           written by relocations; "relative": 32-bit offsets from the field itself (4.19 and later)
  crcs     "absolute": __kcrctab holds unsigned longs, relocated against absolute symbols __crc_NAME (2.6.18);
           "relative": 32-bit offsets to them (MODULE_REL_CRCS, 4.12 to 5.18);
           "inline": the 32-bit values themselves, __crc_NAME being a label on each (5.19 and later)
The result is what `ld -r` leaves: section and symbol tables, relocations, everything depmod, modinfo and
readelf look at. The code is only `ret` and calls to the needed symbols: these modules are made to be read,
not run; in particular .gnu.linkonce.this_module has the fields but not the exact size of any one kernel.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_RELA, SHT_REL = 1, 2, 3, 4, 9
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR, SHF_INFO_LINK = 1, 2, 4, 0x40
SHN_UNDEF, SHN_ABS = 0, 0xFFF1
LOCAL, GLOBAL, WEAK = 0, 1, 2
NOTYPE, OBJECT, FUNC, SECTION, FILE = 0, 1, 2, 3, 4


@dataclass(frozen=True)
class Machine:
    """What ELF and the psABI fix for an architecture: class, data order, e_machine and relocation types."""

    bits: int
    endian: str  # "<" or ">"
    number: int
    absolute: int  # relocation type of a whole word
    relative32: int
    rela: bool = True

    @property
    def word(self) -> int:
        return self.bits // 8


X86_64 = Machine(64, "<", 62, 1, 2)
I386 = Machine(32, "<", 3, 1, 2, rela=False)
AARCH64 = Machine(64, "<", 183, 257, 261)
PPC64LE = Machine(64, "<", 21, 38, 26)
PPC64 = Machine(64, ">", 21, 38, 26)
S390X = Machine(64, ">", 22, 22, 5)


@dataclass(frozen=True)
class Layout:
    """How exports are written; see the module's docstring."""

    machine: Machine = X86_64
    entries: str = "relative"
    crcs: str = "inline"
    namespaces: bool = True
    layout_symbol: str = "module_layout"
    versions: str = "classic"  # "classic": 64-byte entries; "extended": __version_ext_* alone; "both"
    this_module_size: int = 0x500


EL5 = Layout(X86_64, "pointers", "absolute", False, "struct_module", this_module_size=0x8280)
EL5_I386 = Layout(I386, "pointers", "absolute", False, "struct_module", this_module_size=0x1200)
MODERN = Layout()


@dataclass(frozen=True)
class Need:
    """An undefined symbol. `crc` is its entry in __versions, None for no entry."""

    name: str
    crc: int | None = None
    weak: bool = False


@dataclass(frozen=True)
class Export:
    """An exported function. `crc` None leaves it without a CRC, as a kernel without MODVERSIONS does."""

    name: str
    crc: int | None = None
    gpl: bool = False
    namespace: str = ""


@dataclass
class _Section:
    name: str
    kind: int
    flags: int
    data: bytearray
    align: int = 1
    link: int = 0
    info: int = 0
    entsize: int = 0


@dataclass(frozen=True)
class _Symbol:
    name: str
    value: int
    size: int
    binding: int
    kind: int
    section: int


@dataclass
class _Object:
    """A relocatable object in the making."""

    machine: Machine
    sections: list[_Section] = field(default_factory=lambda: [_Section("", 0, 0, bytearray(), 0)])
    symbols: list[_Symbol] = field(default_factory=list)
    relocations: dict[int, list[tuple[int, str, int, int]]] = field(default_factory=dict)

    def section(self, name: str, data: bytes = b"", flags: int = SHF_ALLOC, align: int = 1) -> int:
        self.sections.append(_Section(name, SHT_PROGBITS, flags, bytearray(data), align))
        return len(self.sections) - 1

    def symbol(self, name: str, section: int, value: int = 0, size: int = 0, binding: int = GLOBAL,
               kind: int = NOTYPE) -> None:  # fmt: skip
        self.symbols.append(_Symbol(name, value, size, binding, kind, section))

    def relocate(self, section: int, offset: int, symbol: str, kind: int, addend: int = 0) -> None:
        self.relocations.setdefault(section, []).append((offset, symbol, kind, addend))

    def build(self) -> bytes:
        machine, order = self.machine, self.machine.endian
        section_symbols = [_Symbol("", 0, 0, LOCAL, SECTION, n) for n in range(1, len(self.sections))]
        symbols = sorted([*section_symbols, *self.symbols], key=lambda s: s.binding != LOCAL)
        numbers = {s.name: n for n, s in enumerate(symbols, 1) if s.name}
        symtab_index = len(self.sections) + len(self.relocations) + 1
        for target, entries in sorted(self.relocations.items()):
            data = bytearray()
            for offset, name, kind, addend in entries:
                data += self._relocation(target, offset, numbers[name], kind, addend)
            prefix = ".rela" if machine.rela else ".rel"
            self.sections.append(
                _Section(prefix + self.sections[target].name, SHT_RELA if machine.rela else SHT_REL, SHF_INFO_LINK,
                         data, machine.word, symtab_index, target, machine.word * (3 if machine.rela else 2))
            )  # fmt: skip
        names, strings = bytearray(b"\0"), bytearray(b"\0")
        table = bytearray(24 if machine.bits == 64 else 16)
        for s in symbols:
            at = len(strings) if s.name else 0
            if s.name:
                strings += s.name.encode() + b"\0"
            info = s.binding << 4 | s.kind
            if machine.bits == 64:
                table += struct.pack(order + "IBBHQQ", at, info, 0, s.section, s.value, s.size)
            else:
                table += struct.pack(order + "IIIBBH", at, s.value, s.size, info, 0, s.section)
        first_global = 1 + sum(s.binding == LOCAL for s in symbols)
        self.sections.append(_Section(".shstrtab", SHT_STRTAB, 0, names))
        self.sections.append(
            _Section(".symtab", SHT_SYMTAB, 0, table, machine.word, symtab_index + 1, first_global,
                     24 if machine.bits == 64 else 16)
        )  # fmt: skip
        self.sections.append(_Section(".strtab", SHT_STRTAB, 0, strings))
        return self._file(names, symtab_index - 1)

    def _relocation(self, target: int, offset: int, symbol: int, kind: int, addend: int) -> bytes:
        order = self.machine.endian
        if self.machine.bits == 64:
            return struct.pack(order + "QQq", offset, symbol << 32 | kind, addend)
        data = self.sections[target].data  # REL: the addend stands in the place itself
        data[offset : offset + 4] = struct.pack(order + "i", addend)
        return struct.pack(order + "II", offset, symbol << 8 | kind)

    def _file(self, names: bytearray, shstrndx: int) -> bytes:
        machine, order = self.machine, self.machine.endian
        name_at = []
        for s in self.sections:
            name_at.append(len(names) if s.name else 0)
            if s.name:
                names += s.name.encode() + b"\0"
        body, headers = bytearray(64 if machine.bits == 64 else 52), []
        for s, name in zip(self.sections, name_at):
            body += bytes(-len(body) % (s.align or 1))
            form = order + ("IIQQQQIIQQ" if machine.bits == 64 else "10I")
            at = len(body) if s.kind else 0
            headers.append(struct.pack(form, name, s.kind, s.flags, 0, at, len(s.data), s.link, s.info, s.align,
                                       s.entsize))  # fmt: skip
            body += s.data
        body += bytes(-len(body) % 8)
        ident = b"\x7fELF" + bytes((machine.bits // 32, 1 if order == "<" else 2, 1)) + bytes(9)
        sizes = (64, 0, 0, 64) if machine.bits == 64 else (52, 0, 0, 40)
        header = struct.pack(order + ("HHIQQQIHHHHHH" if machine.bits == 64 else "HHIIIIIHHHHHH"), 1, machine.number,
                             1, 0, 0, len(body), 0, *sizes, len(headers), shstrndx)  # fmt: skip
        body[: 16 + len(header)] = ident + header
        return bytes(body) + b"".join(headers)


@dataclass
class Module:
    """A module to be written. `info` holds further .modinfo pairs, in order: ("alias", "..."), ("import_ns", "...")."""

    name: str
    license: str = "GPL"
    vermagic: str = ""
    needs: list[Need] = field(default_factory=list)
    exports: list[Export] = field(default_factory=list)
    layout_crc: int | None = None  # CRC of struct_module or module_layout; None: no such entry
    depends: str = ""
    srcversion: str = ""
    intree: bool = False
    info: list[tuple[str, str]] = field(default_factory=list)

    def build(self, layout: Layout = MODERN) -> bytes:
        obj = _Object(layout.machine)
        self._code(obj)
        obj.section(".modinfo", self._modinfo(layout), SHF_ALLOC, 8)
        self._exports(obj, layout)
        self._versions(obj, layout)
        self._this_module(obj, layout)
        obj.section(".comment", b"\0GCC: (GNU) 4.1.2 20080704 (Red Hat 4.1.2-48)\0", 0)
        obj.section(".note.GNU-stack", b"", 0)
        return obj.build()

    def _code(self, obj: _Object) -> None:
        machine = obj.machine
        slot = 16
        text = obj.section(".text", bytes(slot * (len(self.exports) + len(self.needs))), SHF_ALLOC | SHF_EXECINSTR, 16)
        init = obj.section(".init.text", bytes(slot), SHF_ALLOC | SHF_EXECINSTR, 16)
        leave = obj.section(".exit.text", bytes(slot), SHF_ALLOC | SHF_EXECINSTR, 16)
        obj.symbol(f"{self.name}.c", SHN_ABS, binding=LOCAL, kind=FILE)
        obj.symbol("init_module", init, 0, slot, GLOBAL, FUNC)
        obj.symbol("cleanup_module", leave, 0, slot, GLOBAL, FUNC)
        for n, export in enumerate(self.exports):
            obj.symbol(export.name, text, slot * n, slot, GLOBAL, FUNC)
        for n, need in enumerate(self.needs, len(self.exports)):
            obj.symbol(need.name, SHN_UNDEF, binding=WEAK if need.weak else GLOBAL)
            if machine is X86_64 or machine is I386:
                obj.sections[text].data[slot * n] = 0xE8  # call rel32
            obj.relocate(text, slot * n + 1, need.name, machine.relative32, -4)

    def _modinfo(self, layout: Layout) -> bytes:
        pairs = [("license", self.license)] if self.license else []
        pairs += self.info
        if self.srcversion:
            pairs.append(("srcversion", self.srcversion))
        pairs.append(("depends", self.depends))
        if self.intree:
            pairs.append(("intree", "Y"))
        if layout.layout_symbol == "module_layout":
            pairs.append(("name", self.name))
        if self.vermagic:
            pairs.append(("vermagic", self.vermagic))
        data = bytearray()
        for key, value in pairs:
            data += bytes(-len(data) % 8) if layout.entries == "pointers" else b""
            data += f"{key}={value}".encode("utf-8", "surrogateescape") + b"\0"
        return bytes(data)

    def _exports(self, obj: _Object, layout: Layout) -> None:
        if not self.exports:
            return
        machine = layout.machine
        strings = bytearray()
        places: dict[tuple[str, str], int] = {}
        for export in self.exports:
            places["name", export.name] = len(strings)
            strings += export.name.encode() + b"\0"
            if layout.namespaces:
                places["namespace", export.name] = len(strings)
                strings += export.namespace.encode() + b"\0"
        strings_at = obj.section("__ksymtab_strings", bytes(strings), SHF_ALLOC)
        width = machine.word if layout.entries == "pointers" else 4
        kind = machine.absolute if layout.entries == "pointers" else machine.relative32
        fields = 3 if layout.namespaces else 2
        for gpl in (False, True):
            group = sorted((e for e in self.exports if e.gpl == gpl), key=lambda e: e.name)
            if not group:
                continue
            suffix = "_gpl" if gpl else ""
            table = obj.section("__ksymtab" + suffix, bytes(width * fields * len(group)), SHF_ALLOC, width)
            crcs = 0
            if any(e.crc is not None for e in group):
                crc_width = machine.word if layout.crcs == "absolute" else 4
                crcs = obj.section("__kcrctab" + suffix, bytes(crc_width * len(group)), SHF_ALLOC, crc_width)
            for n, export in enumerate(group):
                at = width * fields * n
                obj.symbol(f"__kstrtab_{export.name}", strings_at, places["name", export.name],
                           len(export.name) + 1, LOCAL, OBJECT)  # fmt: skip
                obj.symbol(f"__ksymtab_{export.name}", table, at, width * fields, LOCAL, OBJECT)
                obj.relocate(table, at, export.name, kind)
                obj.relocate(table, at + width, f"__kstrtab_{export.name}", kind)
                if layout.namespaces:
                    obj.symbol(f"__kstrtabns_{export.name}", strings_at, places["namespace", export.name],
                               len(export.namespace) + 1, LOCAL, OBJECT)  # fmt: skip
                    obj.relocate(table, at + 2 * width, f"__kstrtabns_{export.name}", kind)
                if export.crc is not None:
                    self._crc(obj, layout, crcs, n, export.name, export.crc)

    @staticmethod
    def _crc(obj: _Object, layout: Layout, section: int, n: int, name: str, crc: int) -> None:
        machine = layout.machine
        if layout.crcs == "inline":
            obj.sections[section].data[4 * n : 4 * n + 4] = struct.pack(machine.endian + "I", crc)
            obj.symbol(f"__crc_{name}", section, 4 * n, binding=LOCAL)
            return
        obj.symbol(f"__crc_{name}", SHN_ABS, crc)  # left by the linker script that genksyms wrote
        if layout.crcs == "absolute":
            obj.symbol(f"__kcrctab_{name}", section, machine.word * n, machine.word, LOCAL, OBJECT)
            obj.relocate(section, machine.word * n, f"__crc_{name}", machine.absolute)
        else:
            obj.relocate(section, 4 * n, f"__crc_{name}", machine.relative32)

    def _versions(self, obj: _Object, layout: Layout) -> None:
        entries = [(layout.layout_symbol, self.layout_crc)] if self.layout_crc is not None else []
        versions = entries + [(need.name, need.crc) for need in self.needs if need.crc is not None]
        if not versions:
            return
        order, word = layout.machine.endian, layout.machine.word
        if layout.versions in ("classic", "both"):
            crc_form = order + ("Q" if word == 8 else "I")
            data = bytearray()
            for name, crc in versions:
                data += struct.pack(crc_form, crc) + name.encode()[: 63 - word].ljust(64 - word, b"\0")
            obj.section("__versions", bytes(data), SHF_ALLOC, 32)
        if layout.versions in ("extended", "both"):
            crcs = struct.pack(f"{order}{len(versions)}I", *(crc for _, crc in versions))
            obj.section("__version_ext_crcs", crcs, SHF_ALLOC, 4)
            obj.section("__version_ext_names", b"".join(name.encode() + b"\0" for name, _ in versions))

    def _this_module(self, obj: _Object, layout: Layout) -> None:
        word = layout.machine.word
        data = bytearray(layout.this_module_size)
        name_at = 3 * word  # after enum module_state (padded to a word) and struct list_head
        name = self.name.encode()
        data[name_at : name_at + len(name)] = name
        section = obj.section(".gnu.linkonce.this_module", bytes(data), SHF_ALLOC | SHF_WRITE, 64)
        obj.symbol("__this_module", section, 0, len(data), GLOBAL, OBJECT)
        init_at = (name_at + 64 - word + 15) // 16 * 16 + 0x100
        obj.relocate(section, init_at, "init_module", layout.machine.absolute)
        obj.relocate(section, init_at + 2 * word, "cleanup_module", layout.machine.absolute)


def sign(module: bytes, pkcs7: bytes = b"\x30\x82\x00\x10not a real one") -> bytes:
    """`module` with a signature trailer (struct module_signature of id_type PKEY_ID_PKCS7, then the magic line)."""
    return module + pkcs7 + struct.pack(">BBBBB3xI", 0, 0, 2, 0, 0, len(pkcs7)) + b"~Module signature appended~\n"
