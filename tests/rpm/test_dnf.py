"""dnf transactions with a repository, as `dnf --installroot` makes them for images."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.lab.debs import NotAtHand, kernel
from tests.rpm.root import Done, Root
from tests.rpm.test_transactions import COUNT, LAYOUT, A, B, D, Packages


@pytest.fixture(scope="module")
def repository(packages: Packages, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("createrepo_c") is None or shutil.which("dnf") is None:
        raise NotAtHand("dnf and createrepo_c are not installed")
    directory = tmp_path_factory.mktemp("repository")
    for package in set(packages.values()):
        shutil.copyfile(package, directory / package.name)
    subprocess.run(["createrepo_c", "-q", str(directory)], check=True)
    return directory


def told(done: Done) -> list[str]:
    assert done.status == 0, done.output
    return [line.strip() for line in done.said if "WARNING: " in line or "hostward: " in line]


def test_a_host_is_filled_and_changed(repository: Path, packages: Packages) -> None:
    """Each of dnf's ways to change a host, one after another in one root; what is said, is said by dnf's own output."""
    with Root() as root:
        filled = root.dnf(repository, "install", "hostward", "kernel-core-6.1.0-1", "kernel-core-6.1.0-2", "kmod-lab-1")
        assert told(filled) == []
        assert root.sh("rpm -q hostward kmod-lab kernel-core").status == 0
        upgraded = told(root.dnf(repository, "upgrade", "kmod-lab"))
        assert [line for line in upgraded if COUNT in line] == [
            f"WARNING: {B}/weak-updates/kmod-lab/labcount.ko {COUNT}",
            f"WARNING: {A}/extra/kmod-lab/labcount.ko {COUNT}",
        ]
        assert sum(line.startswith("hostward: ") for line in upgraded) == 2  # what came, and what went
        assert [line for line in told(root.dnf(repository, "reinstall", "kmod-lab")) if COUNT in line]
        assert not [line for line in told(root.dnf(repository, "downgrade", "kmod-lab")) if COUNT in line]
        root.sh("find /lib/modules -xtype l -delete")
        added = told(root.dnf(repository, "install", "kernel-core-6.1.0-3"))
        assert added[:2] == [f"WARNING: {D}/weak-updates/kmod-lab/{n}.ko {LAYOUT}" for n in ("labcount", "labprov")]
        assert f"depmod {kernel('D').release}" in added[2] and len(added) == 3
        assert told(root.dnf(repository, "remove", "kmod-lab", "hostward")) == []
        assert root.sh("rpm -q hostward kmod-lab").status == 2
