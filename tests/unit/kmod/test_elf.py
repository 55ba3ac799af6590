"""Broken and hostile module files: a reason, never another exception, and a bounded cost."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from hostward.kmod.build import module_build
from hostward.kmod.elf import BadElf, Elf
from hostward.kmod.module import BadModule, ModuleFile, parse_module
from tests.hosts import elfwriter
from tests.hosts.elfwriter import EL5, EL5_I386, MODERN, Export, Layout, Module, Need, sign
from tests.lab.debs import kernel
from tests.unit.kmod.bounds import costs, refused

LAYOUTS = {
    "modern": MODERN,
    "2.6.18": EL5,
    "2.6.18 i386": EL5_I386,
    "relative CRCs": Layout(crcs="relative"),
    "s390x": Layout(elfwriter.S390X, versions="both"),
}
HUGE = (1 << 64) - 1


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> Layout:
    return LAYOUTS[request.param]


@pytest.fixture
def sound(layout: Layout) -> bytes:
    small = Layout(**{**vars(layout), "this_module_size": 0x100})
    return Module(
        "lab",
        layout_crc=1,
        needs=[Need("printk", 2), Need("maybe", 3, weak=True)],
        exports=[Export("lab_one", 4), Export("lab_two", 5, gpl=True)],
    ).build(small)


class Fields:
    """Where the fields of an ELF file's headers stand."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.wide = data[4] == 2
        self.order = ">" if data[5] == 2 else "<"
        (self.headers,) = self.unpack("Q" if self.wide else "I", 40 if self.wide else 32)
        self.step = 64 if self.wide else 40
        self.count = self.unpack("H", 60 if self.wide else 48)[0]

    def unpack(self, form: str, at: int) -> tuple[int, ...]:
        return struct.unpack_from(self.order + form, self.data, at)

    def header(self, name: str) -> tuple[int, str]:
        """(offset, form) of a field of the file's header."""
        wide = {"e_shoff": (40, "Q"), "e_shentsize": (58, "H"), "e_shnum": (60, "H"), "e_shstrndx": (62, "H")}
        narrow = {"e_shoff": (32, "I"), "e_shentsize": (46, "H"), "e_shnum": (48, "H"), "e_shstrndx": (50, "H")}
        return (wide if self.wide else narrow)[name]

    def section(self, index: int, name: str) -> tuple[int, str]:
        """(offset, form) of a field of a section's header."""
        names = ("name", "type", "flags", "addr", "offset", "size", "link", "info", "align", "entsize")
        at = self.headers + self.step * index
        for field, form in zip(names, "IIQQQQIIQQ" if self.wide else "I" * 10):
            if field == name:
                return at, form
            at += struct.calcsize(form)
        raise KeyError(name)

    def sections(self) -> list[dict[str, int]]:
        return [
            {name: self.unpack(form, at)[0] for name in ("name", "type", "offset", "size", "link", "info")
             for at, form in (self.section(index, name),)}
            for index in range(self.count)
        ]  # fmt: skip

    def with_value(self, place: tuple[int, str], value: int) -> bytes:
        at, form = place
        size = struct.calcsize(form)
        changed = bytearray(self.data)
        changed[at : at + size] = struct.pack(self.order + form, value & ((1 << 8 * size) - 1))
        return bytes(changed)


def everything(module: ModuleFile) -> None:
    """Asks for all that a ModuleFile tells."""
    for name in dir(module):
        if not name.startswith("_"):
            getattr(module, name)


def judge(data: bytes) -> str:
    """The reason why it is no module, "" when it is read as one."""
    try:
        everything(parse_module(data, "lab.ko"))
    except BadModule as bad:
        assert bad.reason and "\n" not in bad.reason and len(bad.reason) < 200
        assert bad.errno in ("ENOEXEC", "EINVAL")
        return bad.reason
    return ""


def test_cut_short_anywhere(sound: bytes) -> None:
    """The section headers stand at the end, so no part is a module."""
    for length in range(len(sound)):
        assert judge(sound[:length]), length
    assert not judge(sound)


def test_cut_short_within_its_signature(sound: bytes) -> None:
    """Without the magic at its end it is an unsigned module, as for the kernel."""
    signed = sign(sound)
    for length in range(len(sound), len(signed)):
        assert parse_module(signed[:length]).signature is None
    assert parse_module(signed).signature is not None


def test_a_real_module_cut_short_at_every_boundary() -> None:
    """Before, at and behind the beginning and end of each section and table."""
    for path in sorted(kernel("A").modules.rglob("*.ko"))[::120]:
        data = path.read_bytes()
        fields = Fields(data)
        ends = {0, 4, 16, 52, 64, fields.headers, fields.headers + fields.step * fields.count}
        for section in fields.sections():
            ends |= {section["offset"], section["offset"] + section["size"]}
        last = fields.headers + fields.step * fields.count
        for end in sorted(end + step for end in ends for step in (-1, 0, 1)):
            if 0 <= end < last:
                assert judge(data[:end]), (path.name, end)


@pytest.mark.parametrize("name", ["e_shoff", "e_shentsize", "e_shnum", "e_shstrndx"])
def test_wrong_counts_and_places_of_sections(name: str, sound: bytes) -> None:
    fields = Fields(sound)
    place = fields.header(name)
    true = fields.unpack(place[1], place[0])[0]
    for value in (0, 1, true - 1, true + 1, 0x7FFF, 0xFF00, 0xFFFF, len(sound), len(sound) - 1, 1 << 31, HUGE):
        if value != true:
            reason = judge(fields.with_value(place, value))
            # One section fewer may be one that nothing needs; a wrong table of names has other names in it.
            assert reason or name in ("e_shnum", "e_shstrndx"), value


@pytest.mark.parametrize("name", ["name", "type", "offset", "size", "link", "info", "entsize", "flags"])
def test_wrong_fields_of_each_section(name: str, sound: bytes) -> None:
    fields = Fields(sound)
    for index, section in enumerate(fields.sections()):
        for value in (0, 1, fields.count, 0xFFFF, 1 << 31, (1 << 32) - 1, 1 << 63, HUGE, len(sound)):
            reason = judge(fields.with_value(fields.section(index, name), value))
            value &= HUGE if fields.wide else 0xFFFFFFFF
            beyond = value >= len(sound) if name == "size" else name == "offset" and value > len(sound)
            if beyond and section["type"]:
                assert "past the end" in reason, (index, value, reason)


def test_extended_numbering(sound: bytes) -> None:
    """More than 65,279 sections, as a vmlinux may have: the count is section 0's size, its link the names' section."""
    fields = Fields(sound)
    count, strndx = fields.count, fields.unpack("H", fields.header("e_shstrndx")[0])[0]
    for place, value in (
        (fields.header("e_shnum"), 0),
        (fields.header("e_shstrndx"), 0xFFFF),
        (fields.section(0, "size"), count),
        (fields.section(0, "link"), strndx),
    ):
        fields.data = fields.with_value(place, value)
    assert Elf(fields.data).count == count
    assert [s.name for s in Elf(fields.data).sections] == [s.name for s in Elf(sound).sections]
    assert "section 0" in judge(fields.data)  # no loader of modules knows it (elf_validity_check)
    for value in (count + 1, 1 << 20, 1 << 40, HUGE):
        with pytest.raises(BadElf):
            Elf(fields.with_value(fields.section(0, "size"), value))


def words(fields: Fields, index: int) -> Iterator[tuple[int, str]]:
    section = fields.sections()[index]
    form = "Q" if fields.wide else "I"
    for at in range(section["offset"], section["offset"] + section["size"] - 7, 4):
        yield at, "I"
        yield at, form


def test_wrong_words_in_each_table(sound: bytes) -> None:
    """Each word of symbols, relocations, exports, CRCs and versions, one at a time."""
    fields = Fields(sound)
    names = {index: section.name for index, section in enumerate(Elf(sound).sections)}
    for index, name in names.items():
        if name.startswith((".symtab", ".rel", "__ksymtab", "__kcrctab", "__version", ".rela")):
            for place in words(fields, index):
                for value in (0, 0xFFFFFFFF, 0x80000000, len(sound), HUGE):
                    judge(fields.with_value(place, value))


@pytest.mark.parametrize("table", [".strtab", ".shstrtab", "__ksymtab_strings"])
def test_strings_that_do_not_end(table: str, sound: bytes) -> None:
    section = Elf(sound).by_name[table]
    data = bytearray(sound)
    data[section.offset : section.offset + section.size] = b"A" * section.size
    assert judge(bytes(data))


@pytest.mark.parametrize(
    ("data", "reason", "errno"),
    [
        (b"", "the file is empty", "EINVAL"),
        (b"\x7fEL", "not an ELF file", "ENOEXEC"),
        (b"#!/bin/sh\n", "not an ELF file", "ENOEXEC"),
        (b"\x7fELF", "the ELF header is cut short or of no known class", "ENOEXEC"),
        (b"\x7fELF\x03\x01" + bytes(100), "the ELF header is cut short or of no known class", "ENOEXEC"),
        (bytes(5000), "not an ELF file", "ENOEXEC"),
        (b"\x1f\x8b\x08" + bytes(50), "gzip", "EINVAL"),
        (b"\xfd7zXZ\x00" + bytes(50), "xz", "EINVAL"),
        (b"\x28\xb5\x2f\xfd" + bytes(2), "zstd", "EINVAL"),
    ],
)
def test_what_is_no_module_at_all(data: bytes, reason: str, errno: str) -> None:
    with pytest.raises(BadModule, match=reason) as caught:
        parse_module(data)
    assert caught.value.errno == errno or caught.value.cannot_tell


def test_a_packed_bomb_is_stopped() -> None:
    import gzip

    bomb = gzip.compress(bytes(256 << 20), 9)
    costs(refused(BadModule, "more than the 16777216 bytes", lambda: parse_module(bomb)), 2, 64)


# Files made to cost more than they are worth: some megabytes that would come to gigabytes or to minutes.


def assemble(sections: list[tuple[str, int, bytes, int, int]]) -> bytes:
    """A 64-bit ELF file of (name, type, bytes, link, info), with section 0 in front and its names behind."""
    names, at = b"\0", [0]
    for name in [*(section[0] for section in sections), ".shstrtab"]:
        at.append(len(names))
        names += name.encode() + b"\0"
    body, headers = bytearray(64), bytes(64)
    for offset, (_, kind, data, link, info) in zip(at[1:], [*sections, (".shstrtab", 3, names, 0, 0)]):
        headers += struct.pack("<IIQQQQIIQQ", offset, kind, 2, 0, len(body), len(data), link, info, 1, 0)
        body += data
    count = len(sections) + 2
    body[:64] = b"\x7fELF\2\1\1" + bytes(9) + struct.pack(
        "<HHIQQQIHHHHHH", 1, 62, 1, 0, 0, len(body), 0, 64, 0, 0, 64, count, count - 1
    )  # fmt: skip
    return bytes(body) + headers


def many_symbols_of_one_long_name() -> bytes:
    symbols = bytes(24) + struct.pack("<IBBHQQ", 1, 0x10, 0, 0, 0, 0) * 40_000
    return assemble([(".symtab", 2, symbols, 2, 1), (".strtab", 3, b"\0" + b"A" * (1 << 20) + b"\0", 0, 0)])


def many_symbols_within_one_long_name() -> bytes:
    symbols = bytes(24) + b"".join(struct.pack("<IBBHQQ", n, 0x10, 0, 0, 0, 0) for n in range(1, 40_001))
    return assemble([(".symtab", 2, symbols, 2, 1), (".strtab", 3, b"\0" + b"A" * (1 << 20) + b"\0", 0, 0)])


def many_exports_of_one_long_name() -> bytes:
    count = 30_000
    symbols = bytes(24) + struct.pack("<IBBHQQIBBHQQ", 0, 0x10, 0, 0xFFF1, 0, 0, 0, 3, 0, 5, 0, 0)
    relocations = b"".join(
        struct.pack("<QQqQQq", 12 * n, 1 << 32 | 2, 0, 12 * n + 4, 2 << 32 | 2, 0) for n in range(count)
    )
    return assemble(
        [
            (".symtab", 2, symbols, 2, 1),
            (".strtab", 3, b"\0a\0", 0, 0),
            ("__ksymtab", 1, bytes(12 * count), 0, 0),
            (".rela__ksymtab", 4, relocations, 1, 3),
            ("__ksymtab_strings", 1, b"K" * (1 << 20) + b"\0", 0, 0),
        ]
    )


def many_sections_of_one_long_name() -> bytes:
    data = assemble([("B" * (1 << 20), 1, b"x", 0, 0)])
    fields = Fields(data)
    first, rest = fields.headers, fields.headers + 128
    more = bytearray(data[:rest] + data[first + 64 : rest] * 15_000 + data[rest:])
    struct.pack_into("<HH", more, 60, 15_003, 15_002)
    return bytes(more)


def one_name_at_many_places() -> bytes:
    """Each place where the name of a wanted table stands would be looked for among all sections."""
    names = b"\0" + b"__versions\0" * 90_000
    data = bytearray(b"\x7fELF\2\1\1" + bytes(57)) + names
    data += bytes(-len(data) % 8)
    header = struct.pack("<IIQQQQIIQQ", 0, 3, 0, 0, 64, len(names), 0, 0, 1, 0)
    struct.pack_into("<HHIQQQIHHHHHH", data, 16, 1, 62, 1, 0, 0, len(data), 0, 64, 0, 0, 64, 15_001, 1)
    return bytes(data) + bytes(64) + header * 15_000


@pytest.mark.parametrize(
    "make",
    [
        many_symbols_of_one_long_name,
        many_symbols_within_one_long_name,
        many_exports_of_one_long_name,
        many_sections_of_one_long_name,
        one_name_at_many_places,
    ],
)
def test_a_hostile_file_costs_a_small_multiple_of_its_size(make: object) -> None:
    assert callable(make)
    data: bytes = make()
    assert len(data) < 3 << 20

    def read() -> None:
        judge(data)
        try:
            module_build(data)
        except BadModule:
            pass

    costs(read, 2, 64)
