from __future__ import annotations

from pathlib import Path

import distro
import pytest

from hostward.facts.operating_system import OperatingSystem, operating_system
from hostward.host import Host
from hostward.model import Unavailable
from tests.hosts.tree import Tree

OS_RELEASES = {
    # what /etc/os-release says, and what is made of it: id, version, family, major
    "suse": ('NAME="openSUSE Leap"\nID="opensuse-leap"\nID_LIKE="suse opensuse"\nVERSION_ID="15.6"\n',
             ("opensuse", "15.6", "suse", 15)),
    "sles": ('NAME="SLES"\nID="sles"\nID_LIKE="suse"\nVERSION_ID="15.5"\n', ("sles", "15.5", "suse", 15)),
    "ubuntu": ('NAME="Ubuntu"\nID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\n', ("ubuntu", "24.04", "debian", 24)),
    "alma": ('NAME="AlmaLinux"\nID="almalinux"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.4"\n',
             ("almalinux", "9.4", "rhel", 9)),
    "rocky": ('NAME="Rocky Linux"\nID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.3"\n',
              ("rocky", "9.3", "rhel", 9)),
    "oracle": ('NAME="Oracle Linux Server"\nID="ol"\nID_LIKE="fedora"\nVERSION_ID="9.4"\n',
               ("oracle", "9.4", "rhel", 9)),
    "stream": ('NAME="CentOS Stream"\nID="centos"\nID_LIKE="rhel fedora"\nVERSION_ID="9"\n',
               ("centos", "9", "rhel", 9)),
    "fedora": ("NAME='Fedora Linux'\nID=fedora\nVERSION_ID=40\n", ("fedora", "40", "fedora", 40)),
    "arch": ('NAME="Arch Linux"\nID=arch\n', ("arch", "", "arch", None)),
}  # fmt: skip


@pytest.fixture(params=["distro of today", "distro 1.5 of EL 9"], autouse=True)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever distro is installed here, also one whose LinuxDistribution knows no root_dir."""
    if request.param == "distro 1.5 of EL 9":

        class Old(distro.LinuxDistribution):
            def __init__(
                self,
                include_lsb: bool = True,
                os_release_file: str = "",
                distro_release_file: str = "",
                include_uname: bool = True,
            ) -> None:
                super().__init__(
                    include_lsb=include_lsb,
                    os_release_file=os_release_file,
                    distro_release_file=distro_release_file,
                    include_uname=include_uname,
                )

        monkeypatch.setattr(distro, "LinuxDistribution", Old)


@pytest.mark.parametrize("name", sorted(OS_RELEASES))
def test_os_release(name: str, tmp_path: Path) -> None:
    text, expected = OS_RELEASES[name]
    Tree(tmp_path).file("/usr/lib/os-release", text).link("/etc/os-release", "../usr/lib/os-release")
    found = operating_system(Host.at(str(tmp_path)))
    assert (found.id, found.version, found.family, found.major) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Red Hat Enterprise Linux Server release 5.6 (Tikanga)", ("rhel", "5.6", "rhel", 5)),
        ("CentOS release 5.6 (Final)", ("centos", "5.6", "rhel", 5)),
        ("Red Hat Enterprise Linux Server release 6.10 (Santiago)", ("rhel", "6.10", "rhel", 6)),
    ],
)
def test_redhat_release_alone(line: str, expected: tuple[object, ...], tmp_path: Path) -> None:
    Tree(tmp_path).file("/etc/redhat-release", line + "\n")
    found = operating_system(Host.at(str(tmp_path)))
    assert (found.id, found.version, found.family, found.major) == expected


def test_debian_tells_its_point_release_and_proxmox_its_product(tmp_path: Path) -> None:
    tree = Tree(tmp_path).file("/etc/os-release", 'NAME="Debian GNU/Linux"\nID=debian\nVERSION_ID="12"\n')
    tree.file("/etc/debian_version", "12.5\n").script("/usr/bin/pveversion", "")
    found = operating_system(Host.at(str(tmp_path)))
    assert found == OperatingSystem("debian", "12.5", "Debian GNU/Linux", (), "pve")


def test_links_that_leave_the_tree_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("ID=outside\n")
    Tree(tmp_path / "root").link("/etc/os-release", "../../outside").link("/etc/x-release", str(tmp_path / "outside"))
    with pytest.raises(Unavailable, match="neither os-release nor"):
        operating_system(Host.at(str(tmp_path / "root")))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b'ID="', b"ID=\n", b"=\n=\n"])
def test_garbage_is_a_reason_or_nothing_worse_than_an_odd_name(content: bytes, tmp_path: Path) -> None:
    Tree(tmp_path).file("/etc/os-release", content).file("/etc/debian_version", content)
    try:
        assert operating_system(Host.at(str(tmp_path))).id
    except Unavailable as error:
        assert "os-release" in error.reason


def test_this_machine() -> None:
    text = Path("/etc/os-release").read_text()
    found = operating_system(Host.running())
    assert f"ID={found.id}" in text.replace('"', "")
