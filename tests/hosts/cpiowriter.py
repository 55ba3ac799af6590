"""Writes cpio archives in the formats that initramfs images use, byte by byte.

    archive([file("init", b"#!/bin/sh\\n"), directory("usr"), link("lib", "usr/lib")], alignment=512)

The result is what `cpio -H newc -o` gives: headers, names and data padded to 4 bytes, the trailer, and zeros up
to the next multiple of the block size.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass

NEWC, CRC = b"070701", b"070702"


@dataclass(frozen=True)
class Entry:
    name: str
    mode: int
    data: bytes = b""
    inode: int = 0
    links: int = 1


def file(name: str, data: bytes = b"", inode: int = 0, links: int = 1) -> Entry:
    return Entry(name, stat.S_IFREG | 0o644, data, inode, links)


def directory(name: str) -> Entry:
    return Entry(name, stat.S_IFDIR | 0o755)


def link(name: str, target: str) -> Entry:
    return Entry(name, stat.S_IFLNK | 0o777, target.encode())


def archive(entries: Iterable[Entry], magic: bytes = NEWC, alignment: int = 512, trailer: bool = True) -> bytes:
    """An archive; entries without an inode get one of their own."""
    data = bytearray()
    for number, entry in enumerate(entries, 1000):
        data += _member(entry, entry.inode or number, magic)
    if trailer:
        data += _member(Entry("TRAILER!!!", 0), 0, magic)
    data += bytes(-len(data) % alignment)
    return bytes(data)


def _member(entry: Entry, inode: int, magic: bytes) -> bytes:
    name = entry.name.encode("utf-8", "surrogateescape") + b"\0"
    check = sum(entry.data) & 0xFFFFFFFF if magic == CRC else 0
    fields = (inode, entry.mode, 0, 0, entry.links, 0, len(entry.data), 8, 1, 0, 0, len(name), check)
    raw = magic + b"".join(b"%08X" % field for field in fields) + name
    raw += bytes(-len(raw) % 4) + entry.data
    return raw + bytes(-len(raw) % 4)
