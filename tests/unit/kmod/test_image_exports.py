"""Images of other architectures and years: exports are those of Module.symvers, or it is said that none can be had."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostward.kmod.exports import parse_symvers
from hostward.kmod.image import BadImage, Image, read_image
from tests.lab.foreign import KERNELS, foreign

#: What has a vmlinux with section headers inside; the others' payload is the bare memory image.
WITH_SECTIONS = ("amd64", "i386", "ppc64el")


def judge(image: Path, symvers: Path) -> Image:
    found = read_image(image.read_bytes(), str(image))
    wanted = parse_symvers(symvers.read_bytes(), str(symvers)).exports.values()
    assert dict(found.exports.exports) == {e.name: e for e in wanted if e.provider == "vmlinux"}
    assert len(found.exports.exports) > 7000
    assert not found.exports.covers_modules and found.exports.source == str(image)
    assert found.vermagic.startswith(f"{found.release} ")
    assert found.exports.has_crcs == ("modversions" in found.vermagic)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("suite", "architecture", "flavour"), [k for k in KERNELS if k[1] in WITH_SECTIONS])
def test_kernels_of_other_architectures_and_years(suite: str, architecture: str, flavour: str) -> None:
    of = foreign(suite, architecture, flavour)
    assert judge(of.image, of.symvers).release == of.modules.parent.name


@pytest.mark.slow
@pytest.mark.parametrize(("suite", "architecture", "flavour"), [k for k in KERNELS if k[1] not in WITH_SECTIONS])
def test_an_image_that_can_not_be_taken_apart_says_so(suite: str, architecture: str, flavour: str) -> None:
    with pytest.raises(BadImage):
        read_image(foreign(suite, architecture, flavour).image.read_bytes(), "vmlinuz")
