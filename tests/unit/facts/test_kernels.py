from __future__ import annotations

import os
from pathlib import Path

import pytest

from hostward.facts.kernels import Kernel, kernels, running_kernel
from hostward.host import Host, NotLive
from hostward.model import Unavailable
from tests.hosts import rhel5
from tests.hosts.tree import Tree


def test_rhel5(tmp_path: Path) -> None:
    rhel5.build(tmp_path)
    found = kernels(Host.at(str(tmp_path)))
    assert [k.release for k in found.installed] == [rhel5.NEW, rhel5.OLD]
    assert found.installed[0] == Kernel(
        rhel5.NEW,
        f"/lib/modules/{rhel5.NEW}",
        f"/boot/vmlinuz-{rhel5.NEW}",
        f"/boot/symvers-{rhel5.NEW}.gz",
        f"/boot/System.map-{rhel5.NEW}",
        f"/boot/config-{rhel5.NEW}",
        f"/boot/initrd-{rhel5.NEW}.img",
        (),
    )
    # kmod-kvm's modules lie in the directory of a kernel that is not installed
    assert [k.release for k in found.leftovers] == [rhel5.BUILT_FOR]
    assert found.newest is found.get(rhel5.NEW)


def installed(tree: Tree) -> list[str]:
    return [kernel.release for kernel in kernels(Host.at(str(tree.root))).installed]


def test_newest_first_in_rpms_order(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    releases = [
        "6.1.0-9-amd64",
        "6.1.0-50-amd64",
        "5.14.0-427.el9.x86_64",
        "5.14.0-427.13.1.el9_4.x86_64",
        "6.8.4-2-pve",
    ]
    for release in releases:
        tree.file(f"/boot/vmlinuz-{release}")
    assert installed(tree) == [
        "6.8.4-2-pve", "6.1.0-50-amd64", "6.1.0-9-amd64", "5.14.0-427.13.1.el9_4.x86_64", "5.14.0-427.el9.x86_64",
    ]  # fmt: skip


def test_fedora_has_everything_in_the_module_directory(tmp_path: Path) -> None:
    release, base = "6.9.4-200.fc40.x86_64", "/usr/lib/modules/6.9.4-200.fc40.x86_64"
    tree = Tree(tmp_path).link("/lib", "usr/lib")
    for name in ("vmlinuz", "System.map", "config", "symvers.xz", "modules.dep"):
        tree.file(f"{base}/{name}", "x")
    tree.directory(f"{base}/kernel")
    (kernel,) = kernels(Host.at(str(tmp_path))).installed
    lib = f"/lib/modules/{release}"
    assert (kernel.image, kernel.symvers, kernel.system_map) == (
        f"{lib}/vmlinuz",
        f"{lib}/symvers.xz",
        f"{lib}/System.map",
    )
    assert kernel.complete


def test_symvers_links_of_el9_lead_to_the_module_directory(tmp_path: Path) -> None:
    """EL 9: /boot/symvers-R.gz is a link into /lib/modules; a dangling one is no source."""
    tree = Tree(tmp_path).file("/boot/vmlinuz-5.14.0-1.el9").directory("/lib/modules/5.14.0-1.el9")
    tree.link("/boot/symvers-5.14.0-1.el9.gz", "/lib/modules/5.14.0-1.el9/symvers.gz")
    assert kernels(Host.at(str(tmp_path))).installed[0].symvers == ""
    tree.file("/lib/modules/5.14.0-1.el9/symvers.gz", "x")
    assert kernels(Host.at(str(tmp_path))).installed[0].symvers == "/lib/modules/5.14.0-1.el9/symvers.gz"


def test_what_a_kernel_lacks_is_named(tmp_path: Path) -> None:
    tree = Tree(tmp_path).file("/boot/vmlinuz-6.1.0-1-amd64")
    assert kernels(Host.at(str(tmp_path))).installed[0].missing == ("module directory",)
    tree.directory("/lib/modules/6.1.0-1-amd64")
    assert kernels(Host.at(str(tmp_path))).installed[0].missing == ("modules.dep", "kernel/")
    tree.remove("/boot/vmlinuz-6.1.0-1-amd64").directory("/lib/modules/6.1.0-1-amd64/kernel")
    found = kernels(Host.at(str(tmp_path)))
    assert found.installed[0].missing == ("image", "modules.dep")  # as in a guest whose kernel lies outside
    assert not found.installed[0].complete


def test_what_is_no_kernel(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    for name in ("vmlinuz-0-rescue-ab12", "vmlinuz", "initrd.img-6.1.0", "vmlinuz-6.1.0.old", "memtest86+.bin"):
        tree.file(f"/boot/{name}")
    tree.file("/lib/modules/6.1.0", "a file").directory("/lib/modules/kabi-current").directory("/boot/vmlinuz-6.2.0")
    found = kernels(Host.at(str(tmp_path)))
    assert (found.installed, found.leftovers) == ((), ())


def test_images_that_kernel_install_lays_out_for_systemd_boot(tmp_path: Path) -> None:
    token = "0123456789abcdef0123456789abcdef"
    Tree(tmp_path).file("/etc/machine-id", token + "\n").file(f"/efi/{token}/6.9.1-arch1-1/linux")
    assert kernels(Host.at(str(tmp_path))).installed[0].image == f"/efi/{token}/6.9.1-arch1-1/linux"


@pytest.mark.parametrize("name", ["Image", "vmlinux", "image"])
def test_images_of_other_architectures(name: str, tmp_path: Path) -> None:
    assert installed(Tree(tmp_path).file(f"/boot/{name}-6.4.0-150600.23-default")) == ["6.4.0-150600.23-default"]


def test_too_many_kernels_make_no_sense(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    for n in range(201):
        tree.directory(f"/lib/modules/6.1.{n}")
    with pytest.raises(Unavailable, match="201 kernels"):
        kernels(Host.at(str(tmp_path)))


def test_the_running_kernel(tmp_path: Path) -> None:
    assert running_kernel(Host.running()).release == os.uname().release
    with pytest.raises(NotLive):
        running_kernel(Host.at(str(tmp_path)))
