from __future__ import annotations

import shutil
import sqlite3
import struct
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from hostward.facts import rpmdb
from hostward.facts.kernels import kernels
from hostward.facts.module_trees import module_trees
from hostward.facts.packages import Owner, Packages, by_directory, owners_of, packages
from hostward.facts.rpmdb import BadHeader, Header, Package
from hostward.host import Host, HostError
from hostward.host.programs import Completed
from tests.hosts import rhel5
from tests.hosts.tree import Tree

MODULE = "/lib/modules/5.14.0-70.el9.x86_64/extra/kmod-lab/lab.ko"

SPEC = """\
Name: {name}
Version: 1.5
Release: 3.el9
Epoch: 2
Summary: a module
License: GPL
BuildArch: noarch
%description
a module
%install
mkdir -p %{{buildroot}}{directory}
echo {name} > %{{buildroot}}{directory}/lab.ko
echo {name} > %{{buildroot}}{directory}/{name}.ko
%files
{directory}
"""


@pytest.fixture(scope="module")
def rpm_host(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """A host whose packages the real rpm has built and installed, two of them with files of the same base name."""
    if not (shutil.which("rpmbuild") and shutil.which("rpm")):
        pytest.skip("rpm and rpmbuild are not installed")
    work = tmp_path_factory.mktemp("rpm")
    root = work / "root"
    for name, directory in (("other", "/opt/other"), ("kmod-lab", MODULE.rpartition("/")[0])):
        spec = work / f"{name}.spec"
        spec.write_text(SPEC.format(name=name, directory=directory))
        subprocess.run(["rpmbuild", "-bb", "--quiet", "--define", f"_topdir {work}/build", str(spec)],
                       check=True, capture_output=True)  # fmt: skip
    built = [str(path) for path in (work / "build/RPMS").rglob("*.rpm")]
    assert len(built) == 2
    subprocess.run(
        ["rpm", "--root", str(root), "--dbpath", "/var/lib/rpm", "--define", "_db_backend sqlite", "-i", "--nodeps",
         "--ignorearch", *built], check=True, capture_output=True,
    )  # fmt: skip
    assert (root / "var/lib/rpm/rpmdb.sqlite").is_file()
    return Tree(root)


def test_the_database_of_the_real_rpm(rpm_host: Tree) -> None:
    host = Host.at(str(rpm_host.root))
    assert rpmdb.database(host) == ("/var/lib/rpm/rpmdb.sqlite", "sqlite")
    found = owners_of(host, [MODULE, "/opt/other/lab.ko", "/opt/other/kmod-lab.ko", "/opt/nowhere.ko"])
    assert found == Packages(
        "rpm",
        {MODULE: Owner("kmod-lab", "2:1.5-3.el9", "rpm"), "/opt/other/lab.ko": Owner("other", "2:1.5-3.el9", "rpm")},
    )


def test_the_real_rpm_agrees(rpm_host: Tree) -> None:
    rpm = ["rpm", "--root", str(rpm_host.root), "--dbpath", "/var/lib/rpm"]
    argv = [*rpm, "-qf", "--qf", "%{NAME} %{EPOCH}:%{VERSION}-%{RELEASE}", MODULE]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    owner = owners_of(Host.at(str(rpm_host.root)), [MODULE]).owners[MODULE]
    assert f"{owner.package} {owner.version}" == said


class _HostOfAnotherRoot(Host):
    """A live host whose rpm is asked about another root: the real rpm, as on the machine itself."""

    def run(
        self, argv: Sequence[str], timeout_s: float | None = None, input: bytes = b"", bound: bool = False
    ) -> Completed:
        root = ["--root", self.root, "--dbpath", "/var/lib/rpm"]
        done = subprocess.run([argv[0], *root, *argv[1:]], capture_output=True, text=True)
        return Completed(tuple(argv), done.returncode, done.stdout, done.stderr)


def test_the_running_machine_asks_rpm(rpm_host: Tree) -> None:
    host = _HostOfAnotherRoot(str(rpm_host.root), live=True)
    asked = [MODULE, "/usr/opt/other/lab.ko", "/opt/nowhere.ko"]
    assert owners_of(host, asked).owners == {MODULE: Owner("kmod-lab", "2:1.5-3.el9", "rpm")}
    assert owners_of(host, ["/opt/nowhere.ko"]) == Packages("rpm")


def test_a_module_found_behind_usr_is_the_packages_too(rpm_host: Tree) -> None:
    assert owners_of(Host.at(str(rpm_host.root)), ["/usr" + MODULE]).owners["/usr" + MODULE].how == "rpm"


def test_reading_leaves_nothing_behind(rpm_host: Tree) -> None:
    directory = Path(rpm_host.at("/var/lib/rpm"))
    before = {path.name: path.stat().st_mtime_ns for path in directory.iterdir()}
    owners_of(Host.at(str(rpm_host.root)), [MODULE])
    assert {path.name: path.stat().st_mtime_ns for path in directory.iterdir()} == before


def test_every_cut_and_flipped_byte_of_a_real_header_is_survived(rpm_host: Tree) -> None:
    with sqlite3.connect(rpm_host.at("/var/lib/rpm/rpmdb.sqlite")) as connection:
        (blob,) = connection.execute("SELECT blob FROM Packages WHERE hnum = 1").fetchone()
    good = Header(blob)
    assert good.package() == Package(good.string(1000), "2:1.5-3.el9")

    def read(data: bytes) -> None:
        try:
            header = Header(data)
            header.package()
            header.path(1)
        except BadHeader:
            pass

    for size in range(0, len(blob), 7):
        read(blob[:size])
    index = struct.unpack_from(">I", blob)[0]
    for at in range(8 + 16 * index):
        for value in (0x00, 0x7F, 0xFF):
            read(blob[:at] + bytes([value]) + blob[at + 1 :])


def damaged(tmp_path: Path, script: str) -> str:
    """What is said of a database that this SQL makes."""
    tree = Tree(tmp_path).directory("/var/lib/rpm")
    with sqlite3.connect(tree.at("/var/lib/rpm/rpmdb.sqlite")) as connection:
        connection.executescript(script)
    with pytest.raises(HostError) as caught:
        rpmdb.owners(Host.at(str(tmp_path)), "/var/lib/rpm/rpmdb.sqlite", [MODULE])
    return str(caught.value)


TABLES = "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB); CREATE TABLE Basenames (key, hnum, idx);"


def test_hostile_databases(tmp_path: Path) -> None:
    assert "no tables" in damaged(tmp_path / "a", "CREATE TABLE x (y)")
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS hnum, 'x' AS blob FROM n"
    assert "no tables" in damaged(
        tmp_path / "b", f"CREATE VIEW Packages AS {endless}; CREATE TABLE Basenames (key, hnum, idx);"
    )
    row = "INSERT INTO Basenames VALUES ('lab.ko', 1, {});INSERT INTO Packages VALUES (1, {});"
    assert "damaged" in damaged(tmp_path / "c", TABLES + row.format(0, "X'00'"))
    assert "another type" in damaged(tmp_path / "d", TABLES + row.format("'x'", "X'0000000000000000'"))
    assert "another type" in damaged(tmp_path / "e", TABLES + row.format(0, "42"))
    # 300,000 packages that all claim a file of this name, in a table without an index
    many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) "
    many += "INSERT INTO Basenames SELECT 'lab.ko', i, 0 FROM n;"
    script = TABLES + many + "INSERT INTO Packages VALUES (1, X'00');"
    start = time.monotonic()
    assert "damaged" in damaged(tmp_path / "f", script)
    assert time.monotonic() - start < 4  # making it included


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    tree = Tree(tmp_path).file("/var/lib/rpm/rpmdb.sqlite", "hello").directory("/lib")
    found = owners_of(Host.at(str(tree.root)), [MODULE])
    assert found.cannot_tell == ("/var/lib/rpm/rpmdb.sqlite: is not an SQLite database",)
    assert found.owners[MODULE].how == "by directory name"
    with open(tree.at("/var/lib/rpm/rpmdb.sqlite"), "wb") as file:
        file.write(b"SQLite format 3\0" + bytes(range(256)) * 16)
    assert "damaged" in owners_of(Host.at(str(tree.root)), [MODULE]).cannot_tell[0]


def test_older_databases_say_so_and_the_directory_tells(tmp_path: Path) -> None:
    rhel5.build(tmp_path)
    host = Host.at(str(tmp_path))
    found = packages(host, module_trees(host, kernels(host)))
    assert found.manager == "rpm"
    assert "Berkeley DB" in found.cannot_tell[0]
    assert set(found.owners) == {f"{rhel5.KMOD_DIRECTORY}/{m.name}.ko" for m in rhel5.kmod_kvm()}
    assert set(found.owners.values()) == {Owner("kmod-kvm", "", "by directory name")}


@pytest.mark.parametrize(
    ("path", "package"),
    [
        ("/lib/modules/5.14.0/extra/kmod-lab/lab.ko", "kmod-lab"),
        ("/usr/lib/modules/5.14.0/weak-updates/nvidia/nvidia.ko.xz", "kmod-nvidia"),
        ("/lib/modules/5.14.0/extra/lab.ko", None),
        ("/lib/modules/5.14.0/updates/dkms/zfs.ko", None),
        ("/lib/modules/5.14.0/extra/a\nb/lab.ko", None),
        ("/opt/lab.ko", None),
    ],
)
def test_the_kmod_packaging_convention(path: str, package: str | None) -> None:
    owner = by_directory(path)
    assert (owner.package if owner else None) == package


def dpkg(root: Path) -> Tree:
    tree = Tree(root).file(
        "/var/lib/dpkg/status", "Package: lab-modules\nStatus: install ok installed\nVersion: 1:2-3\n\n"
    )
    return tree.file("/var/lib/dpkg/info/lab-modules:amd64.list", f"/.\n/lib\n{MODULE}\n{MODULE[:-3]}.div.ko\n")


def test_dpkg(tmp_path: Path) -> None:
    host = Host.at(str(dpkg(tmp_path).root))
    assert owners_of(host, [MODULE]).owners == {MODULE: Owner("lab-modules", "1:2-3", "dpkg")}
    assert owners_of(host, ["/usr" + MODULE]).owners["/usr" + MODULE].package == "lab-modules"
    assert owners_of(host, ["/lib/modules/x/extra/other/y.ko"]).owners == {}


def test_dpkg_diversions(tmp_path: Path) -> None:
    tree, diverted = dpkg(tmp_path), f"{MODULE[:-3]}.div.ko"
    tree.file("/var/lib/dpkg/diversions", f"{diverted}\n{diverted}.orig\nreplacer\n")
    tree.file("/var/lib/dpkg/info/replacer.list", f"{diverted}\n")
    owners = owners_of(Host.at(str(tree.root)), [diverted, diverted + ".orig"]).owners
    assert {path: owner.package for path, owner in owners.items()} == {
        diverted: "replacer",
        diverted + ".orig": "lab-modules",
    }


def test_dpkg_of_this_machine() -> None:
    """By dpkg-query itself; the one file of kmod that every host with dpkg and modules has."""
    if not shutil.which("dpkg-query") or not Path("/usr/bin/kmod").exists():
        pytest.skip("no dpkg, or no kmod, on this machine")
    line = subprocess.run(
        ["dpkg-query", "-f", "${Package} ${Version}", "-W", "kmod"], capture_output=True, text=True
    ).stdout
    owner = owners_of(Host.running(), ["/usr/bin/kmod"]).owners["/usr/bin/kmod"]
    assert f"{owner.package} {owner.version}" == line


def test_dkms(tmp_path: Path) -> None:
    tree = dpkg(tmp_path)
    tree.file("/var/lib/dkms/zfs/2.1.11/6.1.0-50-amd64/x86_64/module/zfs.ko", "")
    tree.link("/var/lib/dkms/zfs/kernel-6.1.0-50-amd64-x86_64", "2.1.11/6.1.0-50-amd64/x86_64")
    path = "/lib/modules/6.1.0-50-amd64/updates/dkms/zfs.ko.xz"
    assert owners_of(Host.at(str(tree.root)), [path]).owners == {path: Owner("zfs", "2.1.11", "dkms")}
    other = path.replace("-50-", "-53-")
    assert owners_of(Host.at(str(tree.root)), [other]).owners == {}


def test_nothing_is_asked_when_there_is_nothing_to_ask(tmp_path: Path) -> None:
    tree = Tree(tmp_path).file("/var/lib/rpm/rpmdb.sqlite", "would be an error")
    assert owners_of(Host.at(str(tree.root)), []) == Packages("rpm")
