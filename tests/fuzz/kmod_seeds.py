"""Real files to mutate: modules, symvers, maps, images with the tables of a real kernel, initramfs archives."""

from __future__ import annotations

import bz2
import functools
import gzip
import lzma
import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hostward.kmod.image import unpack_image
from hostward.kmod.module import unpacked
from tests.fuzz.mutations import ElfMap
from tests.hosts import cpiowriter, elfwriter
from tests.hosts.elfwriter import EL5, EL5_I386, MODERN, Export, Layout, Module, Need, sign
from tests.lab.debs import CACHE, NotAtHand, kernel

#: A module up to this many bytes is a seed; some larger ones are taken besides, as they are read by their tables.
SMALL = 48 << 10


@dataclass(frozen=True)
class Seed:
    """`kind` names the reader; `fields` is set for an ELF file."""

    kind: str
    name: str
    data: bytes
    fields: ElfMap | None = None


def seeds() -> list[Seed]:
    """What can be had here: the written ones always, real ones where the lab's kernels are at hand."""
    found = _written()
    for role in ("A", "C"):
        try:
            found += _real(role)
        except NotAtHand:
            continue
    for tree in sorted((CACHE / "trees").glob("foreign-*")):
        paths = sorted(p for p in tree.rglob("*.ko") if p.stat().st_size <= SMALL)
        found += [
            _elf("module", f"{tree.name}/{p.name}", p.read_bytes()) for p in paths[:: max(len(paths) // 3, 1)][:3]
        ]
    return [*found, *_packed(found)]


def _elf(kind: str, name: str, data: bytes) -> Seed:
    return Seed(kind, name, data, ElfMap(data))


def _written() -> list[Seed]:
    layouts = {
        "el5": EL5,
        "el5-i386": EL5_I386,
        "modern": MODERN,
        "relative-crcs": Layout(crcs="relative"),
        "extended": Layout(versions="both"),
        "s390x": Layout(elfwriter.S390X, versions="extended"),
        "ppc64": Layout(elfwriter.PPC64, entries="pointers", crcs="absolute"),
    }
    module = Module(
        "labmodule",
        vermagic="6.1.0-53-cloud-amd64 SMP preempt mod_unload modversions ",
        layout_crc=0x8D3894F2,
        needs=[Need("printk", 0x1B7D4074), Need("maybe", 5, weak=True), Need("uncounted")],
        exports=[Export("lab_gpl", 0x1234, gpl=True, namespace="LAB"), Export("lab_free", 0xFEDCBA98)],
        depends="one,two",
        info=[("import_ns", "LAB"), ("alias", "pci:v*"), ("parm", "x:A number")],
    )
    found = [_elf("module", name, module.build(layout)) for name, layout in layouts.items()]
    found.append(_elf("module", "signed", sign(found[2].data)))
    lines = b"".join(
        b"0x%08x\tsymbol_%d\t%s\tEXPORT_SYMBOL%s\t%s\n"
        % (
            n * 2654435761 % (1 << 32),
            n,
            (b"vmlinux", b"net/a/b-c")[n % 2],
            (b"", b"_GPL")[n % 3 == 0],
            b"NS" * (n % 7 == 0),
        )
        for n in range(200)
    )
    found.append(Seed("symvers", "5 columns", lines))
    found.append(Seed("symvers", "4 columns", re.sub(rb"\t\w*\n", b"\n", lines)))
    found.append(Seed("symvers", "5.4", re.sub(rb"(?m)^(\S+\t\S+)\t(\S+\t\S+)\t(\w*)$", rb"\1\t\3\t\2", lines)))
    table = b"".join(
        b"%016x r __ksymtab_symbol_%d\n%016x A __crc_symbol_%d\nffffffff80000000 T symbol_%d\n" % (n, n, n * 77, n, n)
        for n in range(150)
    )
    found += [Seed("map", "System.map", table), Seed("kallsyms", "kallsyms", table)]
    found.append(Seed("config", "config", b'CONFIG_MODULES=y\n# CONFIG_X is not set\nCONFIG_L="a b"\n' * 20))
    members = [
        cpiowriter.directory("usr/lib/modules"),
        cpiowriter.link("lib", "usr/lib"),
        cpiowriter.file("usr/lib/modules/6.1/kernel/labmodule.ko", found[2].data),
        cpiowriter.file("usr/lib/modules/6.1/kernel/packed.ko.gz", gzip.compress(found[2].data)),
        cpiowriter.file("usr/lib/modules/6.1/modules.dep", b"kernel/labmodule.ko:\nkernel/packed.ko.gz: kernel/a.ko\n"),
        cpiowriter.file("hard/one.ko", b"", 7, 2),
        cpiowriter.file("hard/two.ko", found[0].data, 7, 2),
    ]  # fmt: skip
    for magic in (cpiowriter.NEWC, cpiowriter.CRC):
        found.append(Seed("initramfs", magic.decode(), cpiowriter.archive(members, magic)))
    early = cpiowriter.archive([cpiowriter.file("kernel/x86/microcode/AuthenticAMD.bin", b"DMA\0" * 50)])
    found.append(Seed("initramfs", "early", early + found[-2].data))
    return found


def _real(role: str) -> list[Seed]:
    of = kernel(role)
    found = []
    paths = sorted(of.modules.rglob("*.ko*"))
    small = large = 0
    for path in paths[:: max(len(paths) // 120, 1)]:
        data = unpacked(path.read_bytes())
        is_small = len(data) <= SMALL
        if (is_small and small < 16) or (not is_small and len(data) < 512 << 10 and large < 3):
            small, large = small + is_small, large + (not is_small)
            found.append(_elf("module", path.name, data))
    lines = of.symvers.read_bytes().splitlines(keepends=True)
    found.append(Seed("symvers", of.release, b"".join(lines[:: len(lines) // 300])))
    vmlinux = small_vmlinux(bytes(unpack_image(of.image.read_bytes())))
    return [*found, _elf("vmlinux", of.release, vmlinux), Seed("image", of.release, bzimage(of.image, vmlinux))]


def small_vmlinux(vmlinux: bytes) -> bytes:
    """The tables of a real vmlinux, as far as their names lie in one stretch of __ksymtab_strings.

    Entries are 32-bit offsets from their own fields (value, name, namespace), so they are written anew for where they
    stand; names, CRCs, addresses of sections and the banner are the kernel's own.
    """
    sections = _sections(vmlinux)
    kept: list[tuple[str, int, bytes]] = []
    strings_at, strings = sections["__ksymtab_strings"]
    start = strings.index(0, len(strings) // 3) + 1
    end = strings.index(0, start + 6000) + 1
    for suffix in ("", "_gpl"):
        at, table = sections["__ksymtab" + suffix]
        crcs = sections["__kcrctab" + suffix][1]
        entries, sums = b"", b""
        for n, fields in enumerate(struct.iter_unpack("<iii", table)):
            here = at + 12 * n
            name, space = here + 4 + fields[1] - strings_at, here + 8 + fields[2] - strings_at
            if not strings[space]:  # the linker keeps one empty string for all
                space = end - 1
            if start <= name < end and start <= space < end:
                moved = 12 * n - len(entries)
                last = strings_at + space - here - 8
                entries += struct.pack("<iii", fields[0] + moved, fields[1] + moved, last + moved)
                sums += crcs[4 * n : 4 * n + 4]
        kept += [("__ksymtab" + suffix, at, entries), ("__kcrctab" + suffix, sections["__kcrctab" + suffix][0], sums)]
    kept.append(("__ksymtab_strings", strings_at + start, strings[start:end]))
    rodata_at, rodata = sections[".rodata"]
    banner = rodata.index(b"Linux version ")
    magic = re.search(rb"\0[^\0]*SMP [^\0]*modversions [^\0]*\0", rodata)
    assert magic is not None
    kept.append((".rodata", rodata_at, rodata[banner : banner + 200] + magic.group(0)))
    return _executable(kept)


def _sections(vmlinux: bytes) -> dict[str, tuple[int, bytes]]:
    (headers,) = struct.unpack_from("<Q", vmlinux, 40)
    count, strndx = struct.unpack_from("<HH", vmlinux, 60)
    rows = [struct.unpack_from("<IIQQQQ", vmlinux, headers + 64 * n) for n in range(count)]
    names_at = rows[strndx][4]
    found = {}
    for name, _, _, address, offset, size in rows:
        text = vmlinux[names_at + name : vmlinux.index(0, names_at + name)].decode()
        if text == ".rodata" or "ksymtab" in text or "kcrctab" in text:
            found[text] = (address, vmlinux[offset : offset + size])
    return found


def _executable(sections: list[tuple[str, int, bytes]]) -> bytes:
    names, body, headers = b"\0", bytearray(64), bytes(64)
    for name, address, data in sections:
        headers += struct.pack("<IIQQQQIIQQ", len(names), 1, 2, address, len(body), len(data), 0, 0, 4, 0)
        names += name.encode() + b"\0"
        body += data + bytes(-len(data) % 8)
    headers += struct.pack("<IIQQQQIIQQ", len(names), 3, 0, 0, len(body), len(names) + 10, 0, 0, 1, 0)
    body += names + b".shstrtab\0"
    body += bytes(-len(body) % 8)
    count = len(sections) + 2
    body[:64] = b"\x7fELF\2\1\1" + bytes(9) + struct.pack(
        "<HHIQQQIHHHHHH", 2, 62, 1, 0, 0, len(body), 0, 64, 56, 0, 64, count, count - 1
    )  # fmt: skip
    return bytes(body) + headers


def bzimage(image: Path, vmlinux: bytes) -> bytes:
    """The real boot sectors of an image with a small payload in place of its own."""
    with image.open("rb") as file:
        head = bytearray(file.read(0x400))
    head[0x1F1] = 1  # setup sectors
    payload = gzip.compress(vmlinux, 6)
    struct.pack_into("<II", head, 0x248, 0, len(payload))
    return bytes(head) + payload


_TOOLS = {"zstd": ("zstd", "-q", "-c"), "lz4": ("lz4", "-q", "-l", "-c"), "lzo": ("lzop", "-c")}


def _by_tool(argv: tuple[str, ...], data: bytes) -> bytes:
    return subprocess.run(argv, input=data, capture_output=True, check=True).stdout


def _packed(found: list[Seed]) -> list[Seed]:
    """Some of them in every compression; lz4, lzo and zstd by their tools, where they are installed."""
    packers: dict[str, Callable[[bytes], bytes]] = {
        "gzip": lambda data: gzip.compress(data, 6),
        "xz": lambda data: lzma.compress(data, preset=0),
        "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE, preset=0),
        "bzip2": lambda data: bz2.compress(data, 1),
    }
    for name, argv in _TOOLS.items():
        if shutil.which(argv[0]):
            packers[name] = functools.partial(_by_tool, argv)
    plain = {kind: [s for s in found if s.kind == kind] for kind in ("module", "symvers", "initramfs", "vmlinux")}
    more = []
    for name, pack in packers.items():
        kind = "module" if name in ("gzip", "xz", "zstd") else "packed"
        more += [Seed(kind, f"{name} of {s.name}", pack(s.data)) for s in plain["module"][-2:-1]]
        more += [Seed("symvers", f"{name} of {s.name}", pack(s.data)) for s in plain["symvers"][-1:]]
        more += [Seed("initramfs", f"{name} of {s.name}", pack(s.data)) for s in plain["initramfs"][-1:]]
        # Without a header the payload is looked for.
        more += [Seed("image", f"{name} of {s.name}", b"MZ" + bytes(600) + pack(s.data)) for s in plain["vmlinux"][-1:]]
    return more
