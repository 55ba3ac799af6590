"""Every layout that kernels have written modules in, from 2.6.18 on: what was put in is what is read."""

from __future__ import annotations

import pytest

from hostward.kmod.module import Export, KnownSymbols, ModuleFile, parse_module
from tests.hosts import elfwriter
from tests.hosts.elfwriter import EL5, EL5_I386, MODERN, Layout, Machine, Module, Need, sign

ARM = Machine(32, "<", 40, 2, 3, rela=False)
MIPS = Machine(32, ">", 8, 2, 248, rela=False)
LAYOUTS = {
    "2.6.18 x86_64": EL5,
    "2.6.18 i386": EL5_I386,
    "pointers, no namespaces (to 4.18)": Layout(entries="pointers", crcs="absolute", namespaces=False),
    "relative CRCs (4.10 to 5.18)": Layout(crcs="relative"),
    "relative CRCs, no namespaces (4.19)": Layout(crcs="relative", namespaces=False),
    "relative entries, absolute CRCs": Layout(crcs="absolute"),
    "inline CRCs (5.19 on)": MODERN,
    "extended versions (6.14 on)": Layout(versions="both"),
    "extended versions alone": Layout(versions="extended"),
    "aarch64": Layout(elfwriter.AARCH64),
    "ppc64, big endian": Layout(elfwriter.PPC64, entries="pointers", crcs="absolute"),
    "ppc64le": Layout(elfwriter.PPC64LE),
    "s390x, big endian": Layout(elfwriter.S390X),
    "s390x, big endian, extended versions": Layout(elfwriter.S390X, versions="extended"),
    "s390x, big endian, relative CRCs": Layout(elfwriter.S390X, crcs="relative"),
    "arm, 32 bits": Layout(ARM, entries="pointers"),
    "mips, 32 bits, big endian": Layout(MIPS, entries="pointers", crcs="absolute"),
    "mips, 32 bits, big endian, relative": Layout(MIPS),
}


def a_module(layout: Layout) -> Module:
    return Module(
        "lab-module".replace("-", "_"),
        license="Dual BSD/GPL",
        vermagic="2.6.18-203.el5 SMP mod_unload gcc-4.1",
        layout_crc=0x8D3894F2,
        needs=[Need("printk", 0x1B7D4074), Need("maybe", 5, weak=True), Need("uncounted")],
        exports=[
            elfwriter.Export("lab_zero", 0xFFFFFFFF),
            elfwriter.Export("lab_gpl", 0x1234, gpl=True, namespace="LAB" if layout.namespaces else ""),
            elfwriter.Export("lab_free", 0xFEDCBA98, namespace="LAB" if layout.namespaces else ""),
            elfwriter.Export("lab_also_gpl", 0, gpl=True),
        ],
        depends="one,two",
        srcversion="0123456789ABCDEF0123456",
        info=[("import_ns", "LAB"), ("import_ns", "OTHER"), ("alias", "pci:v0000*"), ("softdep", "pre: one")],
    )


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> Layout:
    return LAYOUTS[request.param]


@pytest.fixture
def module(layout: Layout) -> ModuleFile:
    return parse_module(a_module(layout).build(layout), "lab-module.ko.xz")


def test_exports(module: ModuleFile, layout: Layout) -> None:
    space = "LAB" if layout.namespaces else ""
    assert module.exports == {
        "lab_zero": Export("lab_zero", 0xFFFFFFFF, False, "", "lab_module"),
        "lab_free": Export("lab_free", 0xFEDCBA98, False, space, "lab_module"),
        "lab_gpl": Export("lab_gpl", 0x1234, True, space, "lab_module"),
        "lab_also_gpl": Export("lab_also_gpl", 0, True, "", "lab_module"),
    }


def test_needs(module: ModuleFile, layout: Layout) -> None:
    assert module.needs == {"printk": 0x1B7D4074, "maybe": 5, "uncounted": None}
    assert module.weak == {"maybe"}
    assert module.versions == {layout.layout_symbol: 0x8D3894F2, "printk": 0x1B7D4074, "maybe": 5}
    assert module.layout == (layout.layout_symbol, 0x8D3894F2)
    assert module.has_versions and module.has_symbol_table


def test_what_it_says_of_itself(module: ModuleFile, layout: Layout) -> None:
    machine = layout.machine
    assert (module.bits, module.big, module.machine) == (machine.bits, machine.endian == ">", machine.number)
    assert module.name == "lab_module"
    assert module.this_module_size == layout.this_module_size
    assert module.vermagic == "2.6.18-203.el5 SMP mod_unload gcc-4.1"
    assert module.srcversion == "0123456789ABCDEF0123456"
    assert (module.license, module.gpl_compatible, module.intree) == ("Dual BSD/GPL", True, False)
    assert module.import_ns == {"LAB", "OTHER"}
    assert (module.depends, module.aliases, module.softdeps) == (("one", "two"), ("pci:v0000*",), ("pre: one",))
    assert module.signature is None


def test_known_symbols_fit_or_say_nothing(module: ModuleFile, layout: Layout) -> None:
    machine = layout.machine
    crcs: dict[str, int | None] = {layout.layout_symbol: 0x8D3894F2, "printk": 0x1B7D4074, "maybe": 5, "uncounted": 7}
    fits = layout.versions == "classic"  # of the extended form a closer look is taken
    assert module.fits(KnownSymbols(crcs, machine.bits, machine.endian == ">")) == fits
    assert not module.fits(KnownSymbols({**crcs, "printk": 1}, machine.bits, machine.endian == ">"))
    assert not module.fits(KnownSymbols(crcs, machine.bits, machine.endian != ">"))
    assert not module.fits(KnownSymbols(crcs, 96 - machine.bits, machine.endian == ">"))
    del crcs["uncounted"]
    assert not module.fits(KnownSymbols(crcs, machine.bits, machine.endian == ">"))


def test_without_modversions(layout: Layout) -> None:
    """CONFIG_MODVERSIONS=n: no CRCs, neither of what it needs nor of what it exports."""
    built = Module("plain", needs=[Need("printk")], exports=[elfwriter.Export("lab_one", gpl=True)]).build(layout)
    module = parse_module(built)
    assert not module.has_versions and module.versions == {} and module.layout is None
    assert module.needs == {"printk": None}
    assert module.exports == {"lab_one": Export("lab_one", None, True, "", "plain")}


def test_needs_nothing_and_exports_nothing(layout: Layout) -> None:
    module = parse_module(Module("plain").build(layout))
    assert (module.undefined, module.exports, module.needs) == ((), {}, {})


def test_signed(layout: Layout) -> None:
    plain = a_module(layout).build(layout)
    module = parse_module(sign(plain))
    assert module.signature is not None and module.signature.kind == "PKCS#7"
    assert module.exports == parse_module(plain).exports


def test_extended_names_may_be_long() -> None:
    """What __version_ext_names is there for: 55 characters is all that a classic entry has room for."""
    name = "_RNvMs_" + "x" * 400
    module = parse_module(Module("rusty", needs=[Need(name, 7)]).build(Layout(versions="extended")))
    assert module.needs == {name: 7}


@pytest.mark.parametrize(
    ("licenses", "compatible"),
    [
        (["GPL"], True),
        (["GPL v2"], True),
        (["GPL and additional rights"], True),
        (["Dual MPL/GPL"], True),
        (["GPL v3"], False),
        (["Proprietary"], False),
        ([], False),
        (["GPL", "Proprietary"], True),  # set_license() is given the first
        (["Proprietary", "GPL"], False),
        (["gpl"], False),
    ],
)
def test_licenses_as_the_kernel_takes_them(licenses: list[str], compatible: bool) -> None:
    info = [("license", text) for text in licenses]
    assert parse_module(Module("a", license="", info=info).build()).gpl_compatible is compatible


def test_the_name_is_the_modules_own_and_else_the_files() -> None:
    built = Module("inner").build(EL5)  # no name= in .modinfo: it stands in struct module
    assert parse_module(built, "outer-name.ko").name == "inner"
    nameless = built.replace(b"\0inner\0", b"\0\0\0\0\0\0\0")
    assert parse_module(nameless, "/lib/outer-name.ko.gz").name == "outer_name"
