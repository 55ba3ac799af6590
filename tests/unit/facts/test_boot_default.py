"""How the running kernel is made the default, for each boot loader's own tool."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostward.facts.boot_default import BootDefault, boot_default
from hostward.facts.bootloaders import grub_legacy
from hostward.facts.kernels import RunningKernel, kernels
from hostward.facts.next_kernel import next_kernel
from hostward.host import Host
from hostward.model import EditFile, RunProgram, Unavailable
from hostward.remedies.boot import keep_running
from tests.hosts import rhel5
from tests.hosts.tree import Tree

OLD, NEW = "6.1.0-53-amd64", "6.1.0-54-amd64"


def of(tree: Tree, running: str) -> BootDefault:
    host = Host.at(str(tree.root))
    installed = kernels(host)
    return boot_default(host, installed, RunningKernel(running, "", ""), next_kernel(host, installed))


def two_kernels(root: Path) -> Tree:
    tree = Tree(root)
    for release in (OLD, NEW):
        tree.file(f"/boot/vmlinuz-{release}", b"kernel")
        tree.file(f"/lib/modules/{release}/modules.dep", "kernel/a.ko:\n")
        tree.file(f"/lib/modules/{release}/kernel/a.ko", b"")
    return tree


def grub_cfg(default: str) -> str:
    def entry(release: str, id: str, indent: str = "") -> str:
        return (
            f"{indent}menuentry 'Debian, with Linux {release}' --class debian $menuentry_id_option '{id}' {{\n"
            f"{indent}\tlinux /boot/vmlinuz-{release} root=/dev/sda1 ro\n{indent}}}\n"
        )

    return (
        "if [ -s $prefix/grubenv ]; then\n  load_env\nfi\n"
        f'set default="{default}"\n'
        'if [ x"${feature_menuentry_id}" = xy ]; then\n  menuentry_id_option="--id"\nelse\n'
        '  menuentry_id_option=""\nfi\n'
        + entry(NEW, "gnulinux-simple")
        + "submenu 'Advanced options' $menuentry_id_option 'gnulinux-advanced' {\n"
        + entry(NEW, f"gnulinux-{NEW}-advanced", "\t")
        + entry(NEW, f"gnulinux-{NEW}-recovery", "\t")
        + entry(OLD, f"gnulinux-{OLD}-recovery", "\t")
        + entry(OLD, f"gnulinux-{OLD}-advanced", "\t")
        + "}\n"
    )


def test_grub_legacy_is_edited(tmp_path: Path) -> None:
    tree = rhel5.build(tmp_path)
    found = of(tree, rhel5.OLD)
    assert found.edit == ("/boot/grub/grub.conf", "default=0", "default=1")
    host = Host.at(str(tree.root))
    plan = keep_running(found, next_kernel(host, kernels(host)))
    assert plan.steps == (EditFile(*found.edit),)
    text = host.text("/boot/grub/grub.conf").replace("default=0", "default=1")
    entries, default = grub_legacy.parse(text, "x")
    assert rhel5.OLD in entries[int(default)].image


def test_grubby_is_asked_where_it_is(tmp_path: Path) -> None:
    tree = two_kernels(tmp_path).script("/usr/sbin/grubby", "#!/bin/sh\n")
    tree.file("/boot/grub2/grub.cfg", grub_cfg("${saved_entry}"))
    found = of(tree, OLD)
    assert found.set_ == ("/usr/sbin/grubby", "--set-default", f"/boot/vmlinuz-{OLD}")
    assert found.back == ("/usr/sbin/grubby", "--set-default", f"/boot/vmlinuz-{NEW}")


def test_grub_set_default_gets_the_entry_with_its_submenu(tmp_path: Path) -> None:
    tree = two_kernels(tmp_path).script("/usr/sbin/grub-set-default", "#!/bin/sh\n")
    tree.file("/boot/grub/grub.cfg", grub_cfg("${saved_entry}"))
    found = of(tree, OLD)
    assert found.set_ == ("/usr/sbin/grub-set-default", f"gnulinux-advanced>gnulinux-{OLD}-advanced")
    assert found.back == ("/usr/sbin/grub-set-default", "0")
    host = Host.at(str(tree.root))
    (step,) = keep_running(found, next_kernel(host, kernels(host))).steps
    assert step == RunProgram(found.set_, undo=found.back)


def test_a_grub_that_does_not_look_at_what_is_saved(tmp_path: Path) -> None:
    tree = two_kernels(tmp_path).script("/usr/sbin/grub-set-default", "#!/bin/sh\n")
    tree.file("/boot/grub/grub.cfg", grub_cfg("0"))
    with pytest.raises(Unavailable, match="GRUB_DEFAULT=saved"):
        of(tree, OLD)


def test_proxmox_pins(tmp_path: Path) -> None:
    tree = two_kernels(tmp_path).file("/etc/kernel/proxmox-boot-uuids", "ABCD-1234\n")
    found = of(tree, OLD)
    assert found.set_ == ("proxmox-boot-tool", "kernel", "pin", OLD)
    assert found.back == ("proxmox-boot-tool", "kernel", "unpin")


def test_systemd_boot_is_told_the_entry(tmp_path: Path) -> None:
    tree = two_kernels(tmp_path).script("/usr/bin/bootctl", "#!/bin/sh\n")
    tree.file("/boot/loader/loader.conf", "timeout 3\n")
    for release in (OLD, NEW):
        tree.file(
            f"/boot/loader/entries/id-{release}.conf", f"title Debian\nversion {release}\nlinux /id/{release}/linux\n"
        )
    assert of(tree, OLD).set_ == ("/usr/bin/bootctl", "set-default", f"id-{OLD}.conf")


def test_a_running_kernel_that_is_half_gone_is_not_kept(tmp_path: Path) -> None:
    tree = two_kernels(tmp_path)
    tree.remove(f"/boot/vmlinuz-{OLD}")
    with pytest.raises(Unavailable, match="not whole on disk"):
        of(tree, OLD)
