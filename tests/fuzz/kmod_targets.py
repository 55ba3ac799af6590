"""The readers under test: what each is asked for, and the exceptions it documents."""

from __future__ import annotations

from collections.abc import Callable

from hostward.kmod.build import module_build
from hostward.kmod.compress import BadData, NoLibrary, inflate, packing
from hostward.kmod.cpio import BadInitramfs
from hostward.kmod.exports import (
    BadExports,
    ExportTable,
    KernelConfig,
    load,
    parse_kallsyms,
    parse_symvers,
    parse_system_map,
    save,
)
from hostward.kmod.image import BadImage, read_image
from hostward.kmod.initramfs import HeldModule, read, walk
from hostward.kmod.module import BadModule, KnownSymbols, ModuleFile, parse_module


class Window:
    """Bytes as an open file; reading outside of them is what no reader may do."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read_at(self, offset: int, count: int, /) -> bytes:
        assert offset >= 0 and count >= 0, "a read at a negative place"
        return self._data[offset : offset + count]


_ASKED = [name for name in dir(ModuleFile) if not name.startswith("_")]
_KNOWN = KnownSymbols({"printk": 0x1B7D4074, "module_layout": 1, "_printk": 2}, 64, False)


def module(data: bytes) -> None:
    found = [parse_module(data, "dir/fuzz-ed.ko")]
    found.append(parse_module(Window(data), "dir/fuzz-ed.ko"))
    asked = [[getattr(one, name) for name in _ASKED if name not in ("fits", "fields", "field")] for one in found]
    assert asked[0] == asked[1], "read whole and by its tables it is not the same"
    found[0].fits(_KNOWN)
    for export in found[0].exports.values():
        assert export.crc is None or 0 <= export.crc <= 0xFFFFFFFF
    if len(data) % 8 == 0:
        build = module_build(data)
        assert not build.differences(build)


def kept_as_it_is(table: ExportTable) -> None:
    """What the cache keeps of a table is the table, whatever its names are."""
    again = load(save(table))
    assert dict(again.exports.items()) == dict(table.exports)
    assert (again.kind, again.source, again.cannot_tell) == (table.kind, table.source, table.cannot_tell)


def symvers(data: bytes) -> None:
    table = parse_symvers(data, "symvers")
    assert table.exports and all(table.exports)
    kept_as_it_is(table)


def system_map(data: bytes) -> None:
    assert parse_system_map(data, "System.map").exports


def kallsyms(data: bytes) -> None:
    assert parse_kallsyms(data).exports


def config(data: bytes) -> None:
    dict(KernelConfig(data))


def image(data: bytes) -> None:
    found = read_image(data, "vmlinuz")
    assert found.exports.exports and found.bits in (32, 64)
    kept_as_it_is(found.exports)


def initramfs(data: bytes) -> None:
    def take(held: HeldModule, content: bytes) -> None:
        assert len(content) == held.size_bytes
        if packing(content[:16]) in ("", "gzip"):
            try:
                parse_module(content, held.path)
            except BadModule:
                pass

    listing = read(Window(data), None, take)
    for held in listing.modules.values():
        listing.file_of(held)
        listing.held("6.1", held.name)
    assert sum(1 for _ in walk(Window(data))) >= len(listing.modules)


def packed(data: bytes) -> None:
    """Any compressed seed, by itself."""
    if packing(data[:16]):
        assert len(inflate(data, 1 << 20)) <= 1 << 20


#: Kind of seed -> (reader, what it may raise).  An initramfs may be in a format whose library is not installed here
#: (NoLibrary).
TARGETS: dict[str, tuple[Callable[[bytes], None], tuple[type[Exception], ...]]] = {
    "module": (module, (BadModule,)),
    "symvers": (symvers, (BadExports,)),
    "map": (system_map, (BadExports,)),
    "kallsyms": (kallsyms, (BadExports,)),
    "config": (config, ()),
    "image": (image, (BadImage,)),
    "vmlinux": (image, (BadImage,)),
    "initramfs": (initramfs, (BadInitramfs, NoLibrary)),
    "packed": (packed, (BadData,)),
}
