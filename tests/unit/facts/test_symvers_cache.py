"""Exports of symvers are parsed once and kept, until the file is another."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from hostward.facts import kernel_profiles
from hostward.facts.kernels import Kernel
from hostward.host import Host
from hostward.host.cache import Cache
from hostward.kmod.exports import ExportTable, SavedExports, parse_symvers

DIRECTORY = "/lib/modules/6.1.0"
KERNEL = Kernel("6.1.0", DIRECTORY, symvers=f"{DIRECTORY}/symvers.gz")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "host" / DIRECTORY.lstrip("/")
    directory.mkdir(parents=True)
    cache = tmp_path / "cache"
    monkeypatch.setattr(Cache, "of_this_agent", classmethod(lambda cls: cls(str(cache))))
    return directory / "symvers.gz"


def write(file: Path, crc: int) -> None:
    lines = [
        f"{crc:#010x}\tprintk\tvmlinux\tEXPORT_SYMBOL\t",
        "0x00000002\tkvm_x\tarch/x86/kvm/kvm\tEXPORT_SYMBOL_GPL\tKVM",
    ]
    file.write_bytes(gzip.compress("\n".join(lines).encode() + b"\n"))


def exports(tree: Path) -> ExportTable:
    problems: list[str] = []
    table, image = kernel_profiles._exports(Host.at(str(tree.parents[3])), KERNEL, False, problems)
    assert table is not None and image is None and not problems
    return table


def test_the_second_look_parses_nothing_and_says_the_same(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tree, 1)
    first = exports(tree)
    monkeypatch.setattr(kernel_profiles, "parse_symvers", None)
    second = exports(tree)
    assert not isinstance(first.exports, SavedExports) and isinstance(second.exports, SavedExports)
    assert dict(second.exports) == dict(first.exports)
    assert (second.kind, second.source, second.cannot_tell) == (first.kind, first.source, first.cannot_tell)
    assert second.has_crcs and second.has_gpl and second.has_namespaces and second.covers_modules


def test_another_file_of_the_same_size_is_read_anew(tree: Path) -> None:
    write(tree, 1)
    assert exports(tree).exports["printk"].crc == 1
    before = tree.stat()
    write(tree, 3)
    os.utime(tree, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert exports(tree).exports["printk"].crc == 3  # the time of the change of the inode tells


def test_without_a_cache_it_is_parsed_each_time(tree: Path, tmp_path: Path) -> None:
    write(tree, 1)
    (tmp_path / "cache").write_text("no directory")
    for _ in range(2):
        assert exports(tree).exports == parse_symvers(tree.read_bytes(), KERNEL.symvers).exports
