"""Modules to put before a kernel: real ones, the lab's own, and both with one thing changed.

Each function below yields cases for one kernel, as (name, files to load in this order). What a kernel answers is
for the kernel to say and for the agent to foresee: no expectation stands here.
"""

from __future__ import annotations

import gzip
import lzma
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.hosts import elfwriter
from tests.lab import edits, elfedit
from tests.lab.debs import Kernel, NotAtHand
from tests.lab.modlab import Load, built, signed_by_stranger

Case = tuple[str, list[Load]]
MAGIC = b"~Module signature appended~\n"


@dataclass(frozen=True)
class Modules:
    """The modules at hand for one kernel."""

    kernel: Kernel

    def lab(self, name: str) -> bytes:
        return (built(self.kernel) / f"{name}.ko").read_bytes()

    def path(self, name: str) -> Path:
        """The file of an in-tree module.  Raises NotAtHand."""
        for path in sorted(self.kernel.modules.rglob(f"{name}.ko*")):
            return path
        raise NotAtHand(f"kernel {self.kernel.release} has no module {name}")

    def own(self, name: str) -> bytes:
        """An in-tree module with its signature, inflated."""
        path = self.path(name)
        return lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()

    def chain(self, *names: str) -> list[Load]:
        return [Load(f"{name}.ko", self.lab(name)) for name in names]

    def exported(self, length: int) -> str:
        """The name of an export of the kernel itself, of that many letters."""
        lines = self.kernel.symvers.read_text().splitlines()
        fields = (line.split("\t") for line in lines)
        return min(name for _, name, provider, *_ in fields if provider == "vmlinux" and len(name) == length)


def one(name: str, data: bytes) -> list[Load]:
    return [Load(f"{name}.ko", data)]


def symbols(m: Modules) -> Iterator[Case]:
    """Symbols that are there, are not, are others, or are not for everybody."""
    yield "provider-and-users", m.chain("labprov", "labcount", "labplain", "labspaced", "labweak", "labboth")
    yield "kernel-symbols", m.chain("labkernel", "labgpl")
    yield "no-provider", m.chain("labboth")
    yield "weak-without-provider", m.chain("labweak")
    yield "provider-with-another-crc", m.chain("labother", "labcount", "labweak", "labboth", "labplain")
    gpl, kernel = m.lab("labgpl"), m.lab("labkernel")
    yield "crc-changed", one("labkernel", elfedit.versions(kernel, {"kfree": 1}))
    yield "two-crcs-changed", one("labgpl", elfedit.versions(gpl, {"kfree": 1, "work_busy": 0x80000000}))
    yield "no-version-for-a-symbol", one("labkernel", elfedit.versions(kernel, {"kfree": None}))
    gone = edits.renamed(gpl, {"work_busy": "work_buzy"})
    yield "symbol-renamed", one("labgpl", gone)
    yield (
        "two-renamed-and-a-crc",
        one("labgpl", elfedit.versions(edits.renamed(gone, {"kasprintf": "kasprintg"}), {"kfree": 1})),
    )
    yield "absent-and-weak", one("labgpl", elfedit.symbol(gone, "work_buzy", binding=elfedit.WEAK))
    weak = elfedit.symbol(gpl, "work_busy", binding=elfedit.WEAK)
    yield "weak-with-another-crc", one("labgpl", elfedit.versions(weak, {"work_busy": 1}))
    secret = elfedit.field(gpl, "license", "Proprietary")
    yield "gpl-only-from-proprietary", one("labgpl", secret)
    yield "gpl-only-from-proprietary-weak", one("labgpl", elfedit.symbol(secret, "work_busy", binding=elfedit.WEAK))
    provider = Load("labprov.ko", elfedit.field(m.lab("labprov"), "license", "Proprietary"))
    yield "proprietary-provider", [provider, *m.chain("labplain", "labcount", "labboth", "labweak")]
    user = Load("labplain.ko", elfedit.field(m.lab("labplain"), "license", "Proprietary"))
    yield "proprietary-both", [provider, user]
    spaced = m.lab("labspaced")
    alien = Load("labspaced.ko", elfedit.field(spaced, "import_ns", None))
    yield "namespace-not-imported", [*m.chain("labprov"), alien]
    yield (
        "another-namespace-imported",
        [
            *m.chain("labprov"),
            Load("labspaced.ko", elfedit.field(spaced, "import_ns", "LA")),
        ],
    )
    yield "duplicate-export", m.chain("labprov", "labother")
    taken = edits.renamed(m.lab("labprov"), {"lab_plain": m.exported(9)})
    yield "duplicate-of-the-kernel", one("labprov", taken)


def versions(m: Modules) -> Iterator[Case]:
    """__versions and vermagic."""
    none, prov = m.lab("labnone"), m.lab("labprov")
    bare = elfedit.without(none, "__versions")
    yield "no-versions", one("labnone", bare)
    yield "versions-not-alloc", one("labnone", elfedit.header(none, "__versions", flags=0))
    yield "versions-empty", one("labnone", elfedit.replaced(none, "__versions", b""))
    yield "layout-changed", one("labnone", elfedit.versions(none, {"module_layout": 1}))
    yield "layout-version-gone", one("labnone", elfedit.versions(none, {"module_layout": None}))
    yield "exports-without-crcs", one("labprov", elfedit.without(prov, "__kcrctab"))
    magic = next(f for f in elfedit.content(none, ".modinfo").split(b"\0") if f.startswith(b"vermagic=")).decode()[9:]
    release, _, flags = magic.partition(" ")
    yield "vermagic-release", one("labnone", elfedit.field(none, "vermagic", f"6.6.6 {flags}"))
    yield "vermagic-release-no-versions", one("labnone", elfedit.field(bare, "vermagic", f"6.6.6 {flags}"))
    yield "vermagic-flags", one("labnone", elfedit.field(none, "vermagic", f"{release} {flags}gcc-4.1 "))
    yield "vermagic-one-word", one("labnone", elfedit.field(none, "vermagic", release))
    yield "vermagic-empty", one("labnone", elfedit.field(none, "vermagic", ""))
    yield "vermagic-gone", one("labnone", elfedit.field(none, "vermagic", None))


def identity(m: Modules) -> Iterator[Case]:
    """Names, licenses and other fields of .modinfo."""
    none, gpl = m.lab("labnone"), m.lab("labgpl")
    yield "loaded-twice", m.chain("labnone", "labnone")
    yield "loaded-twice-other-vermagic", [*m.chain("labnone"), *one("labnone", elfedit.field(none, "vermagic", "x y"))]
    builtin = {path.rpartition("/")[2][:-3] for path in (m.kernel.modules / "modules.builtin").read_text().split()}
    # Each has a parameter that sysfs shows.
    for name in sorted(builtin & {"nvme", "i8042", "tcp_cubic", "intel_idle", "usbcore", "8250"})[:2]:
        yield f"builtin-{name}", one(name, elfedit.named(none, name))
    for case, words in (
        ("license-proprietary", ["Proprietary"]),
        ("license-dual", ["Dual MPL/GPL"]),
        ("license-gpl-3", ["GPL v3"]),
        ("license-none", []),
        ("license-gpl-then-proprietary", ["GPL", "Proprietary"]),
        ("license-proprietary-then-gpl", ["Proprietary", "GPL"]),
    ):
        licenses = [f"license={word}" for word in words]

        def change(fields: list[str], licenses: list[str] = licenses) -> list[str]:
            return [*licenses, *(f for f in fields if not f.startswith("license="))]

        yield case, one("labgpl", elfedit.modinfo(gpl, change))
    yield "in-tree", one("labnone", elfedit.field(none, "intree", "Y"))
    yield "staging", one("labnone", elfedit.field(none, "staging", "Y"))
    yield "livepatch", one("labnone", elfedit.field(none, "livepatch", "Y"))
    yield "test-module", one("labnone", elfedit.field(none, "test", "Y"))


def files(m: Modules) -> Iterator[Case]:
    """What a bad disk, a broken download or a wrong build leaves: none of it is a module to this kernel, or is it?"""
    none = m.lab("labnone")
    yield "empty", one("labnone", b"")
    yield "text", one("labnone", b"#!/bin/sh\necho this is not a module, whatever its name says it is; not at all\n")
    yield "short", one("labnone", none[:40])
    yield "header-only", one("labnone", none[:64])
    yield "cut-in-half", one("labnone", none[: len(none) // 2])
    yield "last-section-header-cut", one("labnone", none[:-8] if _ends_with_headers(none) else none[: len(none) // 3])
    yield "cut-within-sections", one("labnone", _moved_headers(none))
    yield "appended", one("labnone", none + b"x")
    yield "zeros-in-front", one("labnone", bytes(512) + none)
    yield "executable", one("labnone", elfedit.put(none, 16, struct.pack("<H", 2)))
    yield "aarch64", one("labnone", elfedit.put(none, 18, struct.pack("<H", 183)))
    yield "class-32", one("labnone", elfedit.put(none, 4, b"\1"))
    yield "data-big", one("labnone", elfedit.put(none, 5, b"\2"))
    for case, machine in (("i386", elfwriter.I386), ("s390x", elfwriter.S390X), ("ppc64le", elfwriter.PPC64LE)):
        yield f"built-for-{case}", one("lab", elfwriter.Module("lab").build(elfwriter.Layout(machine)))
    yield "header-entry-size", one("labnone", elfedit.put(none, 58, struct.pack("<H", 40)))
    yield "no-section-names", one("labnone", elfedit.put(none, 62, struct.pack("<H", 0)))
    yield "section-names-outside", one("labnone", elfedit.put(none, 62, struct.pack("<H", 999)))
    names = elfedit.sections(none)[struct.unpack_from("<H", none, 62)[0]]
    yield "section-names-empty", one("labnone", elfedit.header(none, names.name, size=0))
    yield "section-names-open", one("labnone", elfedit.put(none, names.offset + names.size - 1, b"x"))
    yield "section-too-long", one("labnone", elfedit.header(none, ".comment", size=1 << 40))
    first = elfedit.sections(none)[0].at
    yield "section-0", one("labnone", elfedit.put(none, first + 4, struct.pack("<I", 1)))
    yield "symbols-without-strings", one("labnone", elfedit.header(none, ".symtab", link=0))
    yield "no-symbols", one("labnone", elfedit.header(none, ".symtab", kind=1))
    this = ".gnu.linkonce.this_module"
    yield "no-struct-module", one("labnone", elfedit.without(none, this))
    size = elfedit.section(none, this).size
    yield "struct-module-longer", one("labnone", elfedit.replaced(none, this, elfedit.content(none, this) + bytes(64)))
    yield "struct-module-shorter", one("labnone", elfedit.header(none, this, size=size - 64))
    yield "no-modinfo", one("labnone", elfedit.without(none, ".modinfo"))
    yield "no-name", one("labnone", elfedit.field(none, "name", None))


def _ends_with_headers(data: bytes) -> bool:
    (table,) = struct.unpack_from("<Q", data, 40)
    return bool(len(data) - table == 64 * int.from_bytes(data[60:62], "little"))


def _moved_headers(data: bytes) -> bytes:
    """The module with its section headers in front and the end of its sections cut off."""
    (table,) = struct.unpack_from("<Q", data, 40)
    count = int.from_bytes(data[60:62], "little")
    headers = bytearray(data[table : table + 64 * count])
    for at in range(64, len(headers), 64):
        (offset,) = struct.unpack_from("<Q", headers, at + 24)
        struct.pack_into("<Q", headers, at + 24, offset + len(headers))
    whole = elfedit.put(data[:64], 40, struct.pack("<Q", 64)) + bytes(headers) + data[64:table]
    return whole[: len(whole) - len(whole) // 4]


def signatures(m: Modules) -> Iterator[Case]:
    """Modules of the kernel's own, signed by its maker, and what may befall the signature."""
    own = m.own("irqbypass")
    start, end = _signature(own)
    yield "signed", one("irqbypass", own)
    yield "signature-stripped", one("irqbypass", own[:start])
    yield "signature-garbled", one("irqbypass", elfedit.put(own, start, b"\xff" * (end - 12 - start)))
    yield "signature-too-long", one("irqbypass", elfedit.put(own, end - 4, struct.pack(">I", len(own))))
    yield "signature-other-form", one("irqbypass", elfedit.put(own, end - 12 + 2, b"\1"))
    yield "signature-fields", one("irqbypass", elfedit.put(own, end - 12, b"\1"))
    yield "signature-magic-broken", one("irqbypass", own[:-2] + b"!\n")
    yield "signature-alone", one("irqbypass", MAGIC)


def keys(m: Modules) -> Iterator[Case]:
    """What only shows when the signature is verified with the kernel's own key."""
    own = m.own("irqbypass")
    start, end = _signature(own)
    yield "signed-altered", one("irqbypass", elfedit.put(own, elfedit.section(own, ".comment").offset + 1, b"X"))
    yield "signature-altered", one("irqbypass", elfedit.put(own, end - 20, bytes((own[end - 20] ^ 1,))))
    yield "signed-by-a-stranger", one("irqbypass", signed_by_stranger(own[:start]))
    yield "stranger-and-cut", one("irqbypass", signed_by_stranger(own[: start // 2]))


def _signature(data: bytes) -> tuple[int, int]:
    """Where a module's signature begins, and where the words that end it do."""
    assert data.endswith(MAGIC), "this kernel's modules are not signed"
    end = len(data) - len(MAGIC)
    return end - 12 - int.from_bytes(data[end - 4 : end], "big"), end


def packed(m: Modules) -> Iterator[Case]:
    """Files that modprobe inflates, and such that it leaves to the kernel."""
    none = m.lab("labnone")
    for suffix, data in (("gz", gzip.compress(none)), ("xz", lzma.compress(none, check=lzma.CHECK_CRC32))):
        yield f"packed-{suffix}", [Load(f"labnone.ko.{suffix}", none, packed=data)]
    yield "packed-without-saying", [Load("labnone.ko", none, packed=gzip.compress(none))]
    zstd = subprocess.run(["zstd", "-q", "-c"], input=none, capture_output=True, check=True).stdout
    yield "packed-zst", [Load("labnone.ko.zst", none, packed=zstd)]
    path = m.path("irqbypass")
    if path.suffix == ".xz":
        yield "kernel-inflates", [Load("irqbypass.ko.xz", path.read_bytes(), inflate=True)]


def foreign(m: Modules, other: Modules) -> Iterator[Case]:
    """Modules of another kernel: the lab's, and that one's own."""
    yield "lab", other.chain("labprov", "labcount", "labspaced", "labweak", "labgpl", "labkernel")
    yield "lab-user-only", [*m.chain("labprov"), *other.chain("labcount", "labboth")]
    for name in ("irqbypass", "dummy", "kvm"):
        before = [Load("irqbypass.ko", m.own("irqbypass"))] if name == "kvm" else []
        yield name, [*before, Load(f"{name}.ko", edits.unsigned(other.own(name)))]
    own = [Load(f"{name}.ko", m.own(name)) for name in _before_kvm_amd(m)]
    yield "kvm-amd-on-the-own-kvm", [*own, Load("kvm-amd.ko", edits.unsigned(other.own("kvm-amd")))]


def _before_kvm_amd(m: Modules) -> list[str]:
    """What kvm-amd needs, in the order to load it."""
    names = ["irqbypass", "kvm"]
    if "ccp" in elfedit.content(m.own("kvm-amd"), ".modinfo").decode().split("depends=")[1].split("\0")[0].split(","):
        names.append("ccp")
    return names


def enforced(m: Modules, names: tuple[str, ...]) -> Iterator[Case]:
    """The cases of these names, for a kernel that refuses more."""
    every = {
        case: loads for source in (symbols, versions, identity, files, signatures, keys) for case, loads in source(m)
    }
    for name in names:
        yield name, every[name]
