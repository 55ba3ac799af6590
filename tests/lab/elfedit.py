"""Module files with one thing changed, as a broken build, another kernel or a bad disk would leave them.

Everything here works on the bytes by the ELF specification alone and knows nothing of the agent's own parser. The
modules are ELF64, little endian; a changed section is put at the end of the file and its header led there.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_HEADER = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
VERSION = struct.Struct("<Q56s")
SHN_UNDEF, SHN_COMMON, WEAK = 0, 0xFFF2, 2


@dataclass(frozen=True)
class Section:
    index: int
    at: int  # where its header is
    name: str
    kind: int
    flags: int
    offset: int
    size: int
    link: int


def sections(data: bytes) -> list[Section]:
    (table,) = struct.unpack_from("<Q", data, 40)
    count, names = struct.unpack_from("<HH", data, 60)
    headers = [_HEADER.unpack_from(data, table + 64 * n) for n in range(count)]
    strings = headers[names][4]
    found = []
    for n, header in enumerate(headers):
        at = strings + header[0]
        name = data[at : data.index(0, at)].decode()
        found.append(Section(n, table + 64 * n, name, header[1], header[2], header[4], header[5], header[6]))
    return found


def section(data: bytes, name: str) -> Section:
    return next(s for s in sections(data) if s.name == name)


def content(data: bytes, name: str) -> bytes:
    found = section(data, name)
    return data[found.offset : found.offset + found.size]


def put(data: bytes, offset: int, raw: bytes) -> bytes:
    return data[:offset] + raw + data[offset + len(raw) :]


def replaced(data: bytes, name: str, raw: bytes) -> bytes:
    """The module with other bytes as that section."""
    found = section(data, name)
    data += bytes(-len(data) % 64)
    edited = put(data, found.at + 24, struct.pack("<QQ", len(data), len(raw)))
    return edited + raw


def header(data: bytes, name: str, *, kind: int | None = None, flags: int | None = None, size: int | None = None,
           link: int | None = None) -> bytes:  # fmt: skip
    """The module with fields of a section's header changed."""
    at = section(data, name).at
    for offset, form, value in ((4, "<I", kind), (8, "<Q", flags), (32, "<Q", size), (40, "<I", link)):
        if value is not None:
            data = put(data, at + offset, struct.pack(form, value))
    return data


def without(data: bytes, name: str) -> bytes:
    """The module with a section that nothing finds any more: its name is another."""
    found = section(data, name)
    (table,) = struct.unpack_from("<Q", data, 40)
    (names,) = struct.unpack_from("<H", data, 62)
    strings = _HEADER.unpack_from(data, table + 64 * names)[4]
    (offset,) = struct.unpack_from("<I", data, found.at)
    del table
    return put(data, found.at, struct.pack("<I", data.index(0, strings + offset) - strings))


def modinfo(data: bytes, change: Callable[[list[str]], list[str]]) -> bytes:
    """The module with other fields in .modinfo, each a "key=value"."""
    fields = [field.decode() for field in content(data, ".modinfo").split(b"\0") if field]
    return replaced(data, ".modinfo", b"".join(field.encode() + b"\0" for field in change(fields)))


def field(data: bytes, key: str, value: str | None) -> bytes:
    """The module with a field of .modinfo changed; None takes all of that name away."""

    def change(fields: list[str]) -> list[str]:
        kept = [f for f in fields if not f.startswith(f"{key}=")]
        assert value is not None or len(kept) < len(fields), f"no {key}= in this module"
        return kept if value is None else [*kept, f"{key}={value}"]

    return modinfo(data, change)


def named(data: bytes, name: str) -> bytes:
    """The module with another name: in .modinfo and in its struct module."""
    this = section(data, ".gnu.linkonce.this_module")
    return field(put(data, this.offset + 24, name.encode().ljust(56, b"\0")), "name", name)


def versions(data: bytes, change: Mapping[str, int | None]) -> bytes:
    """The module with other CRCs in __versions: a number is XORed into the CRC, None takes the entry away."""
    kept = []
    seen = set()
    for crc, raw in VERSION.iter_unpack(content(data, "__versions")):
        name = raw.split(b"\0")[0].decode()
        seen.add(name)
        other = change.get(name, 0)
        if other is not None:
            kept.append(VERSION.pack(crc ^ other, raw))
    assert seen.issuperset(change), f"{set(change) - seen}: no such versions"
    return replaced(data, "__versions", b"".join(kept))


def symbol(data: bytes, name: str, *, shndx: int | None = None, binding: int | None = None) -> bytes:
    """The module with an entry of its symbol table changed."""
    table = section(data, ".symtab")
    strings = sections(data)[table.link].offset
    for at in range(table.offset, table.offset + table.size, _SYMBOL.size):
        entry = list(_SYMBOL.unpack_from(data, at))
        if data[strings + entry[0] :].startswith(name.encode() + b"\0"):
            if shndx is not None:
                entry[3] = shndx
            if binding is not None:
                entry[1] = binding << 4 | entry[1] & 15
            return put(data, at, _SYMBOL.pack(*entry))
    raise AssertionError(f"no symbol {name} in this module")


def undefined(data: bytes) -> list[str]:
    """The names of the undefined symbols, in the order of the symbol table."""
    table = section(data, ".symtab")
    strings = sections(data)[table.link].offset
    found = []
    for name, _, _, shndx, _, _ in _SYMBOL.iter_unpack(data[table.offset : table.offset + table.size]):
        if shndx == SHN_UNDEF and name:
            found.append(data[strings + name : data.index(0, strings + name)].decode())
    return found
