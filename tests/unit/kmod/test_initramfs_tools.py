"""Images made by the real dracut and the real initramfs-tools: what is read of them is what their own tools list."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostward.host import Host
from hostward.kmod.build import ModuleBuild, module_build
from hostward.kmod.initramfs import HeldModule, Listing, Part, read, walk
from tests.hosts import elfwriter
from tests.lab import initramfs
from tests.lab.debs import Kernel, NotAtHand, kernel
from tests.lab.initramfs import COMPRESSORS, make

#: Command -> the kernel's name for the format.
PACKERS = {
    ("gzip", "-1", "-n", "-c"): "gzip",
    ("bzip2", "-1", "-c"): "bzip2",
    ("lzma", "-0", "-c"): "lzma",
    ("xz", "-0", "--check=crc32", "--lzma2=dict=1MiB", "-c"): "xz",
    ("xz", "-0", "--check=crc32", "-T2", "--block-size=4MiB", "-c"): "xz",
    ("lzop", "-1", "-c"): "lzo",
    ("lzop", "-9", "--no-checksum", "-c"): "lzo",
    ("lz4", "-l", "-1", "-c"): "lz4",
    ("zstd", "-q", "-1", "-T0", "-c"): "zstd",
    ("zstd", "-q", "-1", "--long=27", "--no-check", "-c"): "zstd",
}
OUTSIDE = "updates/dkms/kward.ko"


def kward(srcversion: str) -> bytes:
    """A module that is not signed, with debug information for dracut to strip."""
    return elfwriter.Module("kward", srcversion=srcversion, vermagic="6.1 SMP").build()


@pytest.fixture(scope="module")
def any_kernel() -> Kernel:
    try:
        return kernel("A")
    except NotAtHand as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def tree(any_kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return initramfs.kernel_tree(any_kernel, tmp_path_factory.mktemp("host"), {OUTSIDE: kward("A" * 23)})
    except NotAtHand as reason:
        pytest.skip(str(reason))


def made(*arguments: object, **options: object) -> Path:
    try:
        return make(*arguments, **options)  # type: ignore[arg-type]
    except NotAtHand as reason:
        pytest.skip(str(reason))


def names(image: Path) -> tuple[list[str], list[Part]]:
    parts: list[Part] = []
    with Host.running().open(str(image)) as file:
        return [member.name for member in walk(file, parts)], parts


def listing(image: Path) -> tuple[Listing, dict[str, ModuleBuild]]:
    builds: dict[str, ModuleBuild] = {}

    def take(module: HeldModule, data: bytes) -> None:
        builds[module.name] = module_build(data)

    with Host.running().open(str(image)) as file:
        return read(file, None, take), builds


def lsinitramfs(image: Path) -> list[str]:
    if shutil.which("lsinitramfs") is None:
        pytest.skip("lsinitramfs is not installed")
    done = subprocess.run(["lsinitramfs", image], capture_output=True, text=True, errors="surrogateescape")
    return done.stdout.splitlines()


def lsinitrd(image: Path) -> list[str]:
    """The names in lsinitrd's long listing of all archives; a link's target is cut off."""
    if shutil.which("lsinitrd") is None:
        pytest.skip("lsinitrd is not installed")
    done = subprocess.run(["lsinitrd", image], capture_output=True, text=True, errors="surrogateescape")
    return list(_long(done.stdout))


def _long(text: str) -> Iterator[str]:
    for line in text.splitlines():
        match = re.match(
            r"[-dlcbsp][-rwxsStT]{9}\s+\d+\s+\S+\s+\S+\s+(?:\d+,\s*)?\d+\s+\w+\s+\d+\s+[\d:]+\s(.*)$", line
        )
        if match:
            yield match.group(1).partition(" -> ")[0] if line[0] == "l" else match.group(1)


def judge(image: Path, maker: str, release: str, packings: list[str]) -> None:
    """The names are those its tools list, in pieces packed so, and kward is in it in the tree's build."""
    mine, parts = names(image)
    assert mine == lsinitramfs(image)
    assert sorted(mine) == sorted(lsinitrd(image))
    assert [part.packing for part in parts] == packings
    held, builds = listing(image)
    assert held.maker == maker
    module = held.held(release, "kward")
    assert module is not None and module.path == f"usr/lib/modules/{release}/{OUTSIDE}"
    assert builds["kward"].srcversion == "A" * 23
    assert not builds["kward"].differences(module_build(kward("A" * 23)))


@pytest.mark.slow
@pytest.mark.parametrize("packing", [*COMPRESSORS, ""])
@pytest.mark.parametrize("maker", ["dracut", "initramfs-tools"])
def test_made_in_every_format(maker: str, packing: str, any_kernel: Kernel, tree: Path, tmp_path: Path) -> None:
    if maker == "initramfs-tools" and not packing:
        pytest.skip("mkinitramfs always packs")
    if packing not in ("lz4", "zstd") and not os.environ.get("HOSTWARD_FULL"):
        pytest.skip("HOSTWARD_FULL=1 makes an image in each format (two minutes); here they are packed anew, quickly")
    early = packing in ("", "zstd", "gzip")
    image = made(maker, tree, any_kernel.release, tmp_path / "i", packing=packing, modules=("kward",), early=early)
    judge(image, maker, any_kernel.release, ["", packing] if early else [packing])


@pytest.fixture(scope="module")
def plain(any_kernel: Kernel, tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("plain") / "image"
    return made("dracut", tree, any_kernel.release, where, packing="", modules=("kward",))


@pytest.mark.slow
@pytest.mark.parametrize("argv", PACKERS, ids=lambda argv: " ".join(argv))
def test_packed_in_every_format(argv: tuple[str, ...], any_kernel: Kernel, plain: Path, tmp_path: Path) -> None:
    """By the programs, and with the settings that bear on the format, that dracut and mkinitramfs use."""
    if shutil.which(argv[0]) is None:
        pytest.skip(f"{argv[0]} is not installed")
    image = tmp_path / "image"
    with plain.open("rb") as source, image.open("wb") as target:
        subprocess.run(argv, stdin=source, stdout=target, check=True)
    judge(image, "dracut", any_kernel.release, [PACKERS[argv]])


@pytest.mark.slow
@pytest.mark.parametrize(("maker", "role"), [("dracut", "C"), ("initramfs-tools", "A")])
def test_an_image_with_all_drivers(maker: str, role: str, tmp_path: Path) -> None:
    """Every module in it is the tree's own build, whether the maker stripped, inflated or just copied it."""
    try:
        of = kernel(role)
        tree = initramfs.kernel_tree(of, tmp_path / "host", {})
    except NotAtHand as reason:
        pytest.skip(str(reason))
    image = made(maker, tree, of.release, tmp_path / "i", packing="zstd", everything=True)
    mine, _ = names(image)
    assert mine == lsinitramfs(image)
    assert sorted(mine) == sorted(lsinitrd(image))
    held, builds = listing(image)
    assert len(held.modules) > 100
    assert {m.release for m in held.modules.values()} == {of.release}
    picks = held.picks[of.release]
    for module in held.modules.values():
        assert picks[module.name].endswith(module.path[4:])
        file = tree / module.path
        assert not builds[module.name].differences(module_build(file.read_bytes())), module.path


def test_what_the_strip_of_binutils_takes_is_no_difference(any_kernel: Kernel, tmp_path: Path) -> None:
    """dracut's own call, on modules of a real kernel with their signatures cut off (it leaves signed ones alone)."""
    if shutil.which("strip") is None:
        pytest.skip("strip is not installed")
    for number, path in enumerate(sorted(any_kernel.modules.rglob("*.ko"))[:200:10]):
        whole = module_build(path.read_bytes())
        copy = tmp_path / f"{number}.ko"
        copy.write_bytes(path.read_bytes())
        subprocess.run(["strip", "-g", "-p", copy], check=True)
        assert copy.stat().st_size < path.stat().st_size
        stripped = module_build(copy.read_bytes())
        assert stripped.content == whole.content and not whole.differences(stripped), path
