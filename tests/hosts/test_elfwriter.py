"""The modules that elfwriter writes, read by the tools that others trust: readelf, modinfo, modprobe."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.hosts import elfwriter
from tests.hosts.elfwriter import EL5, EL5_I386, MODERN, Export, Layout, Module, Need

LAYOUTS = {
    "el5": EL5,
    "el5-i386": EL5_I386,
    "modern": MODERN,
    "relative-crcs": Layout(crcs="relative"),
    "aarch64": Layout(elfwriter.AARCH64),
    "ppc64-big-endian": Layout(elfwriter.PPC64),
    "s390x-both-versions": Layout(elfwriter.S390X, versions="both"),
}

pytestmark = pytest.mark.skipif(
    not (shutil.which("readelf") and shutil.which("modinfo")), reason="readelf or kmod is not installed"
)


def run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(params=sorted(LAYOUTS))
def layout(request: pytest.FixtureRequest) -> Layout:
    return LAYOUTS[request.param]


@pytest.fixture
def written(layout: Layout, tmp_path: Path) -> str:
    module = Module(
        "labmodule",
        vermagic="2.6.18-203.el5 SMP mod_unload gcc-4.1",
        layout_crc=0x8D3894F2,
        needs=[Need("printk", 0x1B7D4074), Need("maybe", 5, weak=True), Need("uncounted")],
        exports=[Export("lab_gpl", 0x1234, gpl=True), Export("lab_free", 0xFEDCBA98)],
    )
    path = tmp_path / "labmodule.ko"
    path.write_bytes(module.build(layout))
    return str(path)


def test_readelf_has_no_complaint(written: str) -> None:
    out = run("readelf", "-aW", written)
    assert "REL (Relocatable file)" in out
    assert "init_module" in out


def test_modinfo_reads_the_strings(written: str) -> None:
    assert run("modinfo", "-F", "vermagic", written) == "2.6.18-203.el5 SMP mod_unload gcc-4.1\n"
    assert run("modinfo", "-F", "license", written) == "GPL\n"


def test_kmod_reads_needs_and_exports_with_their_crcs(written: str, layout: Layout) -> None:
    wanted = {layout.layout_symbol: 0x8D3894F2, "printk": 0x1B7D4074, "maybe": 5}
    lines = run("modprobe", "--dump-modversions", written).split()
    assert dict(zip(lines[1::2], (int(crc, 16) for crc in lines[::2]))) == wanted
    lines = run("modprobe", "--show-exports", written).split()
    assert dict(zip(lines[1::2], (int(crc, 16) for crc in lines[::2]))) == {"lab_gpl": 0x1234, "lab_free": 0xFEDCBA98}


def test_the_section_entries_of_2_6_18(tmp_path: Path) -> None:
    """struct kernel_symbol is 16 bytes, CRC words are 8, and struct_module comes first in __versions."""
    module = Module("a", layout_crc=1, needs=[Need("printk", 2)], exports=[Export("x", 3), Export("y", 4)])
    path = tmp_path / "a.ko"
    path.write_bytes(module.build(EL5))
    sizes = {}
    for line in run("readelf", "-SW", str(path)).splitlines():
        words = line.replace("[ ", "[").split()
        if len(words) > 6 and words[0][1:-1].isdigit():
            sizes[words[1]] = int(words[5], 16)
    assert (sizes["__ksymtab"], sizes["__kcrctab"], sizes["__versions"]) == (32, 16, 128)
    assert module.build(EL5).find(b"struct_module\0") < module.build(EL5).find(b"printk\0")


def test_the_same_module_gives_the_same_bytes() -> None:
    assert Module("a", needs=[Need("printk", 2)]).build() == Module("a", needs=[Need("printk", 2)]).build()
