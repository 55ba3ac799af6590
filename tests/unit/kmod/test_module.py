"""Module files of real kernels, 5.10 to 7.2, are read as Module.symvers, modprobe, nm and modinfo have it."""

from __future__ import annotations

import gzip
import lzma
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import pytest

from hostward.host import Host
from hostward.kmod.module import ModuleFile, parse_module, unpacked
from tests.lab.debs import Kernel, kernel
from tests.lab.foreign import KERNELS, foreign

#: CRC, GPL-only, namespace of an export.
Row = tuple[Optional[int], Optional[bool], Optional[str]]
SAMPLE = 50
#: Debian's architecture -> what ModuleFile.architecture calls it.
ARCHITECTURES = {
    "arm64": "aarch64",
    "amd64": "x86_64",
    "armhf": "arm",
    "i386": "i386",
    "loong64": "loongarch",
    "mips64el": "mips64",
    "mipsel": "mips32",
    "ppc64el": "ppc64",
    "riscv64": "riscv64",
    "s390x": "s390x",
}


def need(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed: nothing to compare with")


def run(*argv: object) -> str:
    return subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module", params=["A", "C"])
def some_kernel(request: pytest.FixtureRequest) -> Kernel:
    """A's modules are plain, C's are packed by xz and of another series."""
    return kernel(request.param)


@pytest.fixture(scope="module")
def sample(some_kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, ModuleFile]]:
    """Modules spread over the tree, plain copies where they are packed: (file, what is read of it)."""
    paths = files(some_kernel)
    where = tmp_path_factory.mktemp("plain")
    found = []
    for path in paths[:: len(paths) // SAMPLE][:SAMPLE]:
        plain = where / path.name.partition(".ko")[0]
        plain = plain.with_suffix(".ko")
        plain.write_bytes(unpacked(path.read_bytes()))
        found.append((plain, parse_module(path.read_bytes(), path.name)))
    assert len(found) == SAMPLE
    return found


def files(of: Kernel) -> list[Path]:
    return sorted(of.modules.rglob("*.ko*"))


def symvers(path: Path) -> dict[str, dict[str, Row]]:
    """Exports by the module's path below kernel/ without its suffix."""
    found: dict[str, dict[str, Row]] = {}
    for line in path.read_text().splitlines():
        crc, name, module, kind, namespace = line.split("\t")
        found.setdefault(module, {})[name] = (int(crc, 16) or None, kind == "EXPORT_SYMBOL_GPL", namespace)
    return found


def exports(module: ModuleFile) -> dict[str, Row]:
    return {e.name: (e.crc, e.gpl, e.namespace) for e in module.exports.values()}


def compare(paths: list[Path], base: Path, wanted: dict[str, dict[str, Row]]) -> Iterator[ModuleFile]:
    for path in paths:
        module = parse_module(path.read_bytes(), path.name)
        assert exports(module) == wanted.pop(str(path.relative_to(base)).partition(".ko")[0], {}), path.name
        yield module


def test_every_export_of_every_module(some_kernel: Kernel) -> None:
    wanted = symvers(some_kernel.symvers)
    del wanted["vmlinux"]
    modules = list(compare(files(some_kernel), some_kernel.modules / "kernel", wanted))
    assert len(modules) > 1000 and sum(len(m.exports) for m in modules) > 3000
    assert not wanted, "modules with exports that the package does not hold"


def test_the_open_file_says_what_its_bytes_say(some_kernel: Kernel) -> None:
    """A large plain file is read by its tables alone."""
    host = Host.running()
    for path in files(some_kernel)[::5]:
        with host.open(str(path)) as file:
            assert said(parse_module(file, path.name)) == said(parse_module(path.read_bytes(), path.name))


def said(module: ModuleFile) -> list[object]:
    """All that a ModuleFile tells."""
    return [
        *(module.name, module.architecture, module.elf_type, module.undefined, module.weak, module.versions),
        *(module.needs, module.exports, module.modinfo, module.layout, module.this_module_size, module.has_versions),
        *(module.signature, module.license, module.import_ns, module.depends, module.has_symbol_table),
    ]


def test_versions_are_what_modprobe_dumps(sample: list[tuple[Path, ModuleFile]]) -> None:
    need("modprobe")
    for path, module in sample:
        lines = run("modprobe", "--dump-modversions", path).split()
        wanted = dict(zip(lines[1::2], (int(crc, 16) for crc in lines[::2])))
        assert module.versions == wanted and len(wanted) > 1, path.name
        assert module.layout == ("module_layout", wanted["module_layout"])


def test_needs_are_what_nm_calls_undefined(sample: list[tuple[Path, ModuleFile]]) -> None:
    need("nm")
    for path, module in sample:
        lines = [line.split() for line in run("nm", "-u", path).splitlines()]
        assert sorted(module.undefined) == sorted(name for _, name in lines), path.name
        assert module.weak == {name for kind, name in lines if kind in "wv"}
        assert module.needs == {name: module.versions.get(name) for _, name in lines}


def test_fields_are_what_modinfo_prints(sample: list[tuple[Path, ModuleFile]]) -> None:
    need("modinfo")
    for path, module in sample:
        for field in sorted({name for name, _ in module.modinfo} | {"absent"}):
            wanted = run("modinfo", "-F", field, path).splitlines()
            values = module.fields(field)
            if field == "parm":  # modinfo puts a parameter's type behind its description
                types = dict(value.split(":", 1) for value in module.fields("parmtype"))
                names = [value.partition(":")[0] for value in values]
                values = [f"{v} ({types.pop(name)})" if name in types else v for v, name in zip(values, names)]
                values += [f"{name}: ({kind})" for name, kind in types.items()]
            assert sorted("".join(f"{v}\n" for v in values).splitlines()) == sorted(wanted), (path.name, field)
        assert [module.vermagic] == run("modinfo", "-F", "vermagic", path).splitlines()
        assert module.name == run("modinfo", "-F", "name", path).strip()


def test_signatures_are_what_modinfo_prints(sample: list[tuple[Path, ModuleFile]]) -> None:
    need("modinfo")
    signed = 0
    for path, module in sample:
        wanted = {
            key: run("modinfo", "-F", key, path).strip() for key in ("sig_id", "signer", "sig_key", "sig_hashalgo")
        }
        found = module.signature
        signed += found is not None
        assert found is None or not found.problem
        said = (found.kind, found.signer, found.key.upper(), found.hash) if found else ("", "", "", "")
        key = wanted["sig_key"].replace(":", "")
        assert said == (wanted["sig_id"], wanted["signer"], key, wanted["sig_hashalgo"]), path.name
    assert signed == SAMPLE


PACKERS = {"gz": ("gzip", "-9nc"), "xz": ("xz", "--check=crc32", "-c"), "zst": ("zstd", "-q", "-c")}


@pytest.mark.parametrize("suffix", PACKERS)
def test_packed_in_each_way_it_is_the_same(suffix: str, tmp_path: Path) -> None:
    """By the programs that the kernel's modules_install runs."""
    need(PACKERS[suffix][0])
    for path in files(kernel("A"))[::100]:
        plain = parse_module(path.read_bytes(), path.name)
        packed = tmp_path / f"{path.name}.{suffix}"
        packed.write_bytes(subprocess.run([*PACKERS[suffix], path], capture_output=True, check=True).stdout)
        assert said(parse_module(packed.read_bytes(), packed.name)) == said(plain)
        with Host.running().open(str(packed)) as file:
            assert said(parse_module(file, packed.name)) == said(plain)


def test_packed_by_several_streams_or_with_other_settings() -> None:
    """xz -T2 makes blocks, pixz and `xz --check=none` leave out sums: the kernel's own unxz knows crc32 and none."""
    path = files(kernel("A"))[0]
    plain = said(parse_module(path.read_bytes(), "m.ko"))
    data = path.read_bytes()
    for packed in (
        gzip.compress(data, 1),
        lzma.compress(data, check=lzma.CHECK_NONE),
        lzma.compress(data, filters=[{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "dict_size": 2 << 20}]),
    ):
        assert said(parse_module(packed, "m.ko")) == plain


@pytest.mark.slow
@pytest.mark.parametrize(("suite", "architecture", "flavour"), KERNELS)
def test_modules_of_other_architectures_and_years(suite: str, architecture: str, flavour: str) -> None:
    """What each exports is what its kernel's Module.symvers says, and so is the CRC of each symbol it needs."""
    of = foreign(suite, architecture, flavour)
    wanted = symvers(of.symvers)
    modules = list(compare(sorted(of.modules.rglob("*.ko*")), of.modules, wanted))
    assert len(modules) > 300 and sum(len(m.exports) for m in modules) > 1000
    assert {m.architecture for m in modules} == {ARCHITECTURES[architecture]}
    exported = {name: row for rows in symvers(of.symvers).values() for name, row in rows.items()}
    versioned = "module_layout" in exported  # Debian's 7.2 has no MODVERSIONS
    vermagic = re.compile(rf"\d+\.\d+\S* (SMP )?.*mod_unload {'modversions ' if versioned else ''}")
    for module in modules:
        assert module.name and vermagic.match(module.vermagic)
        assert ("modversions" in module.vermagic, module.has_versions, module.layout is not None) == (versioned,) * 3
        assert module.needs.keys() <= {*exported, *module.weak}, module.path
        for name, crc in module.needs.items():
            assert name in module.weak or crc == exported[name][0], (module.path, name)
