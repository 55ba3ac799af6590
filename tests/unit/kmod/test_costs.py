"""Files made to cost more than they are worth: kernel images, symvers, initramfs archives, compressed blocks."""

from __future__ import annotations

import bz2
import gzip
import struct
import zlib
from collections.abc import Callable

import pytest

from hostward.kmod.builtin_params import parameter_modules
from hostward.kmod.compress import BadData, NoLibrary, inflate
from hostward.kmod.cpio import PATH_MAX, BadInitramfs
from hostward.kmod.elf import Elf
from hostward.kmod.exports import BadExports, parse_symvers
from hostward.kmod.image import BadImage, read_image
from hostward.kmod.initramfs import PARTS_MAX, Listing, module_name, read
from tests.fuzz.kmod_targets import Window
from tests.hosts.cpiowriter import archive, file
from tests.unit.kmod.bounds import costs, refused


def listed(data: bytes) -> Listing:
    return read(Window(data))


# Initramfs


def test_millions_of_archives_within_one_compressed_piece() -> None:
    trailer = archive([], alignment=4)
    data = gzip.compress(trailer * 1_000_000, 1)
    costs(refused(BadInitramfs, "members make no sense", lambda: listed(data)), 10, 64)


def test_thousands_of_compressed_pieces() -> None:
    data = gzip.compress(archive([])) * (PARTS_MAX + 2)
    costs(refused(BadInitramfs, "archives one after the other", lambda: listed(data)), 5, 64)


def test_members_with_names_that_the_kernel_passes_over() -> None:
    """do_header() skips a name longer than PATH_MAX, or of no length at all, with its data."""
    before, after = file("a/one.ko", b"1"), file("a/two.ko", b"22")
    for name in ("x" * PATH_MAX, "y" * (1 << 20)):
        data = archive([before, file(f"{name}.ko", b"data" * 99), after])
        assert sorted(listed(data).modules) == ["a/one.ko", "a/two.ko"]
    longest = "z" * (PATH_MAX - len(".ko") - 1) + ".ko"
    assert longest in listed(archive([file(longest, b"data")])).modules
    nameless = bytearray(archive([before, file("", b"data"), after]))
    at = nameless.index(b"070701", 10)
    nameless[at + 94 : at + 102] = b"00000000"
    # A header of 110 bytes and no name is padded to 112, as it is with the one NUL that stood there.
    assert sorted(listed(bytes(nameless)).modules) == ["a/one.ko", "a/two.ko"]


def test_long_names_by_the_thousand() -> None:
    name = "x" * (1 << 20)
    many = b"".join(archive([file(f"{n}{name}.ko")], alignment=4, trailer=False) for n in range(300))
    data = gzip.compress(many + archive([]), 1)
    del many
    costs(lambda: listed(data), 5, 64)


def test_an_index_of_too_many_modules() -> None:
    lines = b"".join(b"%x.ko:\n" % n for n in range(400_000))
    data = gzip.compress(archive([file("lib/modules/6.1/modules.dep", lines)]), 1)
    costs(refused(BadInitramfs, "modules in lib/modules/6.1/modules.dep", lambda: listed(data)), 5, 64)


def test_an_index_of_one_endless_line() -> None:
    data = gzip.compress(archive([file("lib/modules/6.1/modules.dep", b".ko" * 1_000_000 + b"x")]), 1)
    costs(lambda: listed(data), 2, 64)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("lib/modules/6.1/kernel/arch/x86/kvm/kvm-intel.ko.xz", "kvm_intel"),
        ("a.ko", "a"),
        ("a.ko.gz", "a"),
        ("a.ko.zst", "a"),
        ("a.b.ko", "a.b"),
        ("a.ko.bz2", ""),
        ("a.ko.d/b", ""),
        (".ko", ""),
        ("a/.ko.xz", ""),
        ("a.ko.ko", "a.ko"),
        ("a.kon", ""),
    ],
)
def test_names_of_modules(path: str, name: str) -> None:
    assert module_name(path) == name


# Compressed data


def test_hundreds_of_thousands_of_tiny_lz4_blocks() -> None:
    data = b"\x02\x21\x4c\x18" + (struct.pack("<I", 2) + b"\x10A") * 300_000
    try:
        assert inflate(data[:10], 100) == b"A"
    except NoLibrary as lacking:
        pytest.skip(lacking.reason)
    costs(lambda: inflate(data, 1 << 20), 10, 64)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_more_than_allowed_is_never_held(pack: Callable[[bytes], bytes]) -> None:
    data = pack(bytes(128 << 20))
    costs(refused(BadData, "more than the 5000000 bytes", lambda: inflate(data, 5_000_000)), 5, 64)


# symvers


def test_symvers_of_millions_of_lines() -> None:
    lines = b"".join(b"0\t%x\ta\tEXPORT_SYMBOL\n" % n for n in range(600_000))
    for data in (gzip.compress(lines, 1), lines):
        costs(refused(BadExports, "more than", lambda data=data: parse_symvers(data, "x")), 2, 96)  # type: ignore[misc]


# Images


def test_an_image_full_of_payloads_that_are_none() -> None:
    """Where no header says where the payload is, it is looked for: each candidate is only begun."""
    bomb = gzip.compress(bytes(300 << 20), 9)
    costs(refused(BadImage, "no compressed or plain vmlinux", lambda: read_image(bytes(5000) + bomb * 64, "x")), 5, 128)


def test_an_image_full_of_payloads_that_break_late() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    broken = packer.compress(b"\x7fELF" + bytes(40 << 20)) + packer.flush(zlib.Z_FULL_FLUSH) + b"\xff" * 64
    costs(
        refused(BadImage, "no compressed or plain vmlinux", lambda: read_image(bytes(5000) + broken * 64, "x")), 10, 192
    )


def vmlinux(entries: bytes, strings: bytes, more: int, each: int = 1, table: bytes = b"__ksymtab") -> bytes:
    """An ELF file with a table, __ksymtab_strings at 0x1000, and `more` sections of `each` bytes, all at one place."""
    names = b"\0" + table.ljust(9, b"x") + b"\0__ksymtab_strings\0.shstrtab\0"
    body = bytearray(64)
    rows = [(1, 1, 0x900000, entries), (11, 1, 0x1000, strings), (29, 3, 0, names)]
    headers = bytes(64)
    for name, kind, address, data in rows:
        headers += struct.pack("<IIQQQQIIQQ", name, kind, 2, address, len(body), len(data), 0, 0, 1, 0)
        body += data
    for number in range(more):
        headers += struct.pack("<IIQQQQIIQQ", 29, 1, 2, 0x1000_0000 * (number + 1), 64, each, 0, 0, 1, 0)
    body += bytes(-len(body) % 8)
    body[:64] = b"\x7fELF\2\1\1" + bytes(9) + struct.pack(
        "<HHIQQQIHHHHHH", 2, 62, 1, 0, 0, len(body), 0, 64, 0, 0, 64, more + 4, 3
    )  # fmt: skip
    return bytes(body) + headers


def test_a_vmlinux_of_many_sections_and_pointers_to_nowhere() -> None:
    """Each name or namespace would be looked for in every section."""
    entries = struct.pack("<QQQ", 1, 0x1000, 0xDEAD) * 30_000
    data = vmlinux(entries, b"a\0", 30_000)
    costs(lambda: read_image(data, "x"), 3, 96)


def test_a_vmlinux_of_large_sections_that_are_one() -> None:
    """Each of the names and namespaces lies in a section of its own, and all of these are the same megabytes."""
    sections, large = 200, 4 << 20
    entries = b"".join(struct.pack("<QQQ", 0x41414141, 0x1000, 0x1000_0000 * (n % sections + 1)) for n in range(20_000))
    data = vmlinux(entries + bytes(large - len(entries)), b"a\0", sections, large)
    costs(refused(BadImage, "in no layout known", lambda: read_image(data, "x")), 3, 96)
    # struct kernel_param: a name, module and operations, then the mode.
    form = struct.Struct("<QQQHbBxxxxQ")
    entries = b"".join(form.pack(0x1000_0000 * (n % sections + 1) + 3, 0, 0, 1, 0, 0, 0) for n in range(100_000))
    names = vmlinux(entries, b"a\0", sections, len(entries), b"__param\0\0")
    assert parameter_modules(Elf(names)) == frozenset({"kernel"})
    costs(lambda: parameter_modules(Elf(names)), 3, 96)


def test_a_vmlinux_of_exports_that_share_one_long_name() -> None:
    entries = struct.pack("<QQ", 1, 0x1000) * 30_000
    assert read_image(vmlinux(entries, b"A" * 511 + b"\0", 0), "x").exports.exports.keys() == {"A" * 511}
    # KSYM_NAME_LEN is 512 with the NUL.
    for length in (512, 1 << 20):
        data = vmlinux(entries, b"A" * length + b"\0", 0)
        costs(refused(BadImage, "in no layout known", lambda data=data: read_image(data, "x")), 3, 64)  # type: ignore[misc]
    entries = struct.pack("<QQ", 1, 0x1000) * 100_000
    data = vmlinux(entries, b"A" * 511 + b"\0", 0)
    costs(refused(BadImage, "bytes of names of exports", lambda: read_image(data, "x")), 3, 64)
