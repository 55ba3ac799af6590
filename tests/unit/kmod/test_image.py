"""What a kernel image says it exports is what that kernel's Module.symvers says: for every real kernel at hand."""

from __future__ import annotations

import pytest

from hostward.kmod.exports import load, parse_symvers, save
from hostward.kmod.image import BadImage, read_image
from tests.lab.debs import kernel

#: Five Debian kernels of two series and three flavours, packed by xz and zstd.
ROLES = ("A", "B", "D", "C", "R")


@pytest.mark.parametrize("role", ROLES)
def test_exports_are_those_of_module_symvers(role: str) -> None:
    of = kernel(role)
    image = read_image(of.image.read_bytes(), "vmlinuz")
    theirs = parse_symvers(of.symvers.read_bytes(), "Module.symvers")
    expected = {name: export for name, export in theirs.exports.items() if export.provider == "vmlinux"}
    assert len(expected) > 8000
    assert {name: export[1:4] for name, export in image.exports.exports.items()} == {
        name: export[1:4] for name, export in expected.items()
    }
    assert image.release == of.release
    assert image.vermagic.startswith(f"{of.release} SMP preempt")
    assert (image.bits, image.big) == (64, False)


@pytest.mark.parametrize("role", ["A", "C"])
def test_a_saved_table_says_the_same(role: str) -> None:
    table = read_image(kernel(role).image.read_bytes(), "vmlinuz").exports
    again = load(save(table))
    assert dict(again.exports) == dict(table.exports)
    assert len(again.exports) == len(table.exports)
    assert {name: again.exports[name] for name in table.exports} == dict(table.exports)
    assert "no_such_symbol" not in again.exports
    assert (again.kind, again.source, again.cannot_tell) == (table.kind, table.source, table.cannot_tell)


def test_an_image_cut_short_or_spoilt_is_bad() -> None:
    data = kernel("A").image.read_bytes()
    for spoilt in (data[: len(data) // 2], data[:4096], data[:0x1F1], b"", data[:60000] + bytes(len(data) - 60000)):
        with pytest.raises(BadImage):
            read_image(spoilt, "vmlinuz")


def test_a_size_that_lies_is_passed_over() -> None:
    """The last four bytes of the payload say how long vmlinux is; they are a hint and no more."""
    of = kernel("C")
    data = bytearray(of.image.read_bytes())
    setup = data[0x1F1] or 4
    offset, length = (int.from_bytes(data[at : at + 4], "little") for at in (0x248, 0x24C))
    end = (setup + 1) * 512 + offset + length
    data[end - 4 : end] = (1 << 20).to_bytes(4, "little")
    assert read_image(bytes(data), "vmlinuz").release == of.release
