"""A kernel's exports from each source, in each form it has been written in; and what the source can't tell."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hostward.kmod.exports import (
    FEWEST,
    SYMBOLS_MAX,
    BadExports,
    ExportTable,
    KernelConfig,
    parse_kallsyms,
    parse_symvers,
    parse_system_map,
)
from hostward.kmod.module import Export
from tests.hosts import elfwriter, rhel5
from tests.lab.debs import kernel

FIVE = b"""0x4c9d28b0\tphys_base\tvmlinux\tEXPORT_SYMBOL\t
0xe1cc2a05\tusb_stor_suspend\tdrivers/usb/storage/usb-storage\tEXPORT_SYMBOL_GPL\tUSB_STORAGE
0x00000000\tno_crc\tvmlinux\tEXPORT_SYMBOL_GPL\t
"""
WANTED = {
    "phys_base": Export("phys_base", 0x4C9D28B0, False, "", "vmlinux"),
    "usb_stor_suspend": Export("usb_stor_suspend", 0xE1CC2A05, True, "USB_STORAGE", "usb_storage"),
    "no_crc": Export("no_crc", None, True, "", "vmlinux"),
}


def without_namespaces(exports: dict[str, Export]) -> dict[str, Export]:
    return {name: export._replace(namespace="") for name, export in exports.items()}


# symvers


def test_five_columns() -> None:
    """5.6 and later."""
    table = parse_symvers(FIVE, "/boot/symvers-6.1.gz")
    assert table.exports == WANTED
    assert (table.kind, table.source, table.covers_modules) == ("symvers", "/boot/symvers-6.1.gz", True)
    assert table.cannot_tell == ()


def test_four_columns() -> None:
    """2.6.18 to 5.3: no namespaces then."""
    data = b"\n".join(line.rpartition(b"\t")[0] for line in FIVE.splitlines())
    assert parse_symvers(data, "x").exports == without_namespaces(WANTED)


def test_the_columns_of_5_4() -> None:
    """There the namespace stood behind the symbol, until 5190044c2965 moved it to the end in 5.6."""
    data = (
        b"0x4c9d28b0\tphys_base\t\tvmlinux\tEXPORT_SYMBOL\n"
        b"0xe1cc2a05\tusb_stor_suspend\tUSB_STORAGE\tdrivers/usb/storage/usb-storage\tEXPORT_SYMBOL_GPL\n"
        b"0x00000000\tno_crc\t\tvmlinux\tEXPORT_SYMBOL_GPL\n"
    )
    assert parse_symvers(data, "x").exports == WANTED


def test_separated_by_blanks() -> None:
    """As some of RHEL 5's tools left it."""
    data = b"\n".join(b" ".join(line.split(b"\t")[:4]) for line in FIVE.splitlines()).replace(b" vml", b"  vml")
    assert parse_symvers(data, "x").exports == without_namespaces(WANTED)


@pytest.mark.parametrize(
    ("kind", "gpl"),
    [
        ("EXPORT_SYMBOL", False),
        ("EXPORT_SYMBOL_GPL", True),
        ("EXPORT_UNUSED_SYMBOL", False),
        ("EXPORT_UNUSED_SYMBOL_GPL", True),
        ("EXPORT_SYMBOL_GPL_FUTURE", False),  # the loader only warned
        ("(unknown)", False),
    ],
)
def test_kinds_of_exports(kind: str, gpl: bool) -> None:
    line = f"0x1\tsymbol\tvmlinux\t{kind}\t\n".encode()
    assert parse_symvers(line, "x").exports["symbol"].gpl is gpl
    assert parse_symvers(line.replace(b"\t\n", b"\n"), "x").exports["symbol"].gpl is gpl


@pytest.mark.parametrize(
    "provider", ["drivers/a/some-thing", "drivers/a/some-thing.ko", "some_thing", "/abs/some-thing"]
)
def test_names_of_providers(provider: str) -> None:
    table = parse_symvers(f"0x1\tsymbol\t{provider}\tEXPORT_SYMBOL\t\n".encode(), "x")
    assert table.exports["symbol"].provider == "some_thing"


def zstd(plain: bytes) -> bytes:
    if shutil.which("zstd") is None:
        pytest.skip("zstd is not installed")
    return subprocess.run(["zstd", "-q", "-19", "-c"], input=plain, capture_output=True, check=True).stdout


@pytest.mark.parametrize("packing", ["gzip", "xz", "lzma", "bzip2", "zstd"])
def test_packed(packing: str) -> None:
    """RHEL and Fedora: gz, then xz; SUSE: gz, then zst."""
    packers: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.compress,
        "xz": lzma.compress,
        "lzma": lambda plain: lzma.compress(plain, lzma.FORMAT_ALONE),
        "bzip2": bz2.compress,
        "zstd": zstd,
    }
    data = packers[packing](FIVE)
    assert parse_symvers(data, "x").exports == WANTED
    with pytest.raises(BadExports, match=packing):
        parse_symvers(data[: len(data) // 2], "x")


def test_without_modversions_it_says_so() -> None:
    table = parse_symvers(b"0x00000000\tone\tvmlinux\tEXPORT_SYMBOL\t\n", "/boot/symvers-1")
    assert not table.has_crcs and table.exports["one"].crc is None
    assert [s for s in table.cannot_tell if "CRC" in s] == list(table.cannot_tell)
    assert all("/boot/symvers-1" in said for said in table.cannot_tell)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no line of it"),
        (b"\n\n", "no line of it"),
        (b"garbage\n", "line 1 is not"),
        (FIVE + b"0x12\tonly_two\n", "line 4 is not"),
        (FIVE + b"twelve\tsymbol\tvmlinux\tEXPORT_SYMBOL\t\n", "line 4 is not"),
        (b"0x1ffffffff\tsymbol\tvmlinux\tEXPORT_SYMBOL\t\n", "line 1 begins with no CRC of 32 bits"),
        (b"-0x1\tsymbol\tvmlinux\tEXPORT_SYMBOL\t\n", "line 1 begins with no CRC of 32 bits"),
        (b"0x1\t\tvmlinux\tEXPORT_SYMBOL\t\n", "line 1 names no symbol"),
        (b"\n" * (SYMBOLS_MAX + 1), f"more than {SYMBOLS_MAX} lines"),
        (gzip.compress(b"0x1\ta\tvmlinux\tEXPORT_SYMBOL\n" * 700_000), "inflates to more than"),
        (b"\x1f\x8b\x08" + bytes(30), "gzip"),
        (bytes(1000), "line 1 is not"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else None,
)
def test_what_is_no_symvers(data: bytes, reason: str) -> None:
    with pytest.raises(BadExports, match=reason):
        parse_symvers(data, "x")


@pytest.mark.parametrize("role", ["A", "C"])
def test_a_real_kernels_symvers(role: str) -> None:
    """Line by line, against a reading of its own."""
    path = kernel(role).symvers
    table = parse_symvers(path.read_bytes(), str(path))
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    assert len(table.exports) == len(lines) > 10_000
    for crc, name, module, kind, namespace in lines:
        provider = Path(module).name.replace("-", "_")
        gpl = kind == "EXPORT_SYMBOL_GPL"
        assert table.exports[name] == Export(name, int(crc, 16) or None, gpl, namespace, provider)
    assert table.has_crcs and table.cannot_tell == ()


# System.map


def system_map(count: int = FEWEST, crcs: bool = True) -> bytes:
    """As `nm -n` printed it for 2.6.18: CRCs are absolute symbols, sorted in front."""
    exports = [elfwriter.Export(f"symbol_{n}", 0x1000 + n if crcs else None) for n in range(count)]
    return rhel5.system_map(exports).encode()


def judge_map(table: ExportTable, source: str) -> None:
    assert (table.kind, table.source) == ("system-map", source)
    assert not (table.covers_modules or table.has_gpl or table.has_namespaces)
    assert all(source in said for said in table.cannot_tell)
    assert any("GPL-only" in said for said in table.cannot_tell)
    assert any("namespaces" in said for said in table.cannot_tell)


def test_a_map_with_crcs() -> None:
    table = parse_system_map(system_map(), "/boot/System.map-2.6.18")
    judge_map(table, "/boot/System.map-2.6.18")
    assert len(table.exports) == FEWEST and table.has_crcs and len(table.cannot_tell) == 2
    assert table.exports["symbol_7"] == Export("symbol_7", 0x1007, None, None, "vmlinux")


def test_a_map_without_crcs() -> None:
    """Since 5.19 (on most architectures since 4.10) __crc_NAME is no longer the CRC itself."""
    table = parse_system_map(system_map(crcs=False), "map")
    assert not table.has_crcs and any("CRCs" in said for said in table.cannot_tell)
    moved = system_map().replace(b" A __crc_", b" r __crc_")
    assert parse_system_map(moved, "map").exports["symbol_7"].crc is None


@pytest.mark.parametrize("role", ["A", "C"])
def test_the_stub_of_debian(role: str) -> None:
    """`ffffffffffffffff B The real System.map is in the linux-image-<version>-dbg package`."""
    of = kernel(role)
    path = next((of.tree / "boot").glob("System.map-*"))
    with pytest.raises(BadExports, match="0 exported symbols in it: a stub"):
        parse_system_map(path.read_bytes(), str(path))


@pytest.mark.parametrize("data", [b"", bytes(10_000), b"\xff\xfe" * 999, system_map(FEWEST - 1)])
def test_what_is_no_map(data: bytes) -> None:
    with pytest.raises(BadExports, match="exported symbols in it"):
        parse_system_map(data, "x")


# kallsyms


def test_kallsyms_has_names_alone() -> None:
    """Read by root; __ksymtab_ symbols are there with KALLSYMS_ALL."""
    lines = b"".join(
        b"ffffffff81%06x r __ksymtab_symbol_%d\nffffffff82000000 T other_%d\n" % (n, n, n) for n in range(200)
    )
    module = b"ffffffffc0001000 r __ksymtab_of_a_module\t[labmodule]\n"
    table = parse_kallsyms(lines + module)
    assert (table.kind, table.source) == ("kallsyms", "/proc/kallsyms")
    assert len(table.exports) == 200  # a module's own are its file's to tell
    assert table.exports["symbol_5"] == Export("symbol_5", None, None, None, "vmlinux")
    assert not table.has_crcs and len(table.cannot_tell) == 3


def test_kallsyms_as_others_than_root_see_it() -> None:
    """Addresses are zeros then, the names are there."""
    lines = b"".join(b"0000000000000000 r __ksymtab_symbol_%d\n" % n for n in range(200))
    assert len(parse_kallsyms(lines).exports) == 200


def test_kallsyms_without_exports() -> None:
    with pytest.raises(BadExports, match="0 exported symbols in it"):
        parse_kallsyms(b"ffffffff81000000 T _text\n" * 500)


# The configuration


def test_a_configuration() -> None:
    data = b'CONFIG_MODULES=y\n# CONFIG_SMP is not set\nCONFIG_LOCALVERSION="-a b"\nCONFIG_HZ=250\n#CONFIG_NO=y\n'
    assert KernelConfig(data) == {"CONFIG_MODULES": "y", "CONFIG_LOCALVERSION": "-a b", "CONFIG_HZ": "250"}
    assert KernelConfig(b"") == KernelConfig(b"\xff\0" * 100) == {}


def test_a_real_kernels_configuration() -> None:
    of = kernel("A")
    options = KernelConfig(next((of.tree / "boot").glob("config-*")).read_bytes())
    assert options["CONFIG_MODVERSIONS"] == options["CONFIG_MODULE_SIG"] == "y" and len(options) > 1500
