"""Which kernel boots next, story by story, in the files of each boot loader."""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
import time
from pathlib import Path

import pytest

from hostward.facts.bootloaders import bls
from hostward.facts.kernels import kernels
from hostward.facts.next_kernel import NextKernel, next_kernel
from hostward.host import Host, HostError
from hostward.model import Unavailable
from tests.hosts import rhel5
from tests.hosts.tree import Tree


def of(tree: Tree) -> NextKernel:
    host = Host.at(str(tree.root))
    return next_kernel(host, kernels(host))


def release(tree: Tree) -> str:
    return of(tree).release


def why_not(tree: Tree) -> str:
    with pytest.raises((Unavailable, HostError)) as caught:
        of(tree)
    return str(caught.value)


def env(**variables: str) -> str:
    """An environment block as grub-editenv writes it: 1024 bytes, padded with #."""
    lines = "# GRUB Environment Block\n" + "".join(f"{k}={v}\n" for k, v in variables.items())
    return lines.ljust(1024, "#")


# GRUB legacy


def test_rhel5(tmp_path: Path) -> None:
    assert of(rhel5.build(tmp_path)) == NextKernel(
        rhel5.NEW,
        "entry 0: default=0 in /boot/grub/grub.conf",
        "GRUB legacy",
        "/boot/grub/grub.conf",
        f"Red Hat Enterprise Linux Server ({rhel5.NEW})",
        f"/vmlinuz-{rhel5.NEW}",
        ("ro", "root=/dev/VolGroup00/LogVol00", "rhgb", "quiet"),
    )


LEGACY = """\
# default 9 in a comment
default {default}
timeout=5
title Xen
\troot (hd0,0)
\tkernel /xen.gz-2.6.18-194.el5 dom0_mem=1G
\tmodule /vmlinuz-2.6.18-194.el5xen ro quiet
\tmodule /initrd-2.6.18-194.el5xen.img
title Other
\tkernel (hd0,0)/boot/vmlinuz-2.6.18-238.el5 ro
title Windows
\trootnoverify (hd0,1)
\tchainloader +1
"""


def test_grub_legacy(tmp_path: Path) -> None:
    tree = Tree(tmp_path)

    def menu(default: str) -> Tree:
        return tree.file("/boot/grub/menu.lst", LEGACY.format(default=default))

    xen = of(menu("0"))
    assert (xen.release, xen.cmdline) == ("2.6.18-194.el5xen", ("ro", "quiet"))
    assert of(menu("1")).image == "/boot/vmlinuz-2.6.18-238.el5"
    assert "Windows" in why_not(menu("2"))
    assert release(menu("saved")) == "2.6.18-194.el5xen"
    tree.file("/boot/grub/default", "1\n#\n#\n#\n")
    assert of(menu("saved")).why == "entry 1: default=saved in /boot/grub/menu.lst, and 1 in /boot/grub/default"
    assert "no line that begins with `title`" in why_not(tree.file("/boot/grub/menu.lst", "timeout 5\n"))


# GRUB 2

GRUB_HEAD = """\
if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="%s"
fi
if [ x"${feature_menuentry_id}" = xy ]; then
  menuentry_id_option="--id"
else
  menuentry_id_option=""
fi
function savedefault { if [ -z "${boot_once}" ]; then saved_entry="${chosen}"; save_env saved_entry; fi; }
if [ "${recordfail}" = 1 ] ; then set timeout=30; elif keystatus --shift; then set default=7; else set timeout=5; fi
"""
GRUB_MENU = """\
menuentry 'Debian' --class debian $menuentry_id_option 'simple' {
\tload_video
\tif [ x$grub_platform = xxen ]; then insmod xzio; fi
\tlinux\t/boot/vmlinuz-6.1.0-50-amd64 root=UUID=1 ro dyndbg="file a.c +p" quiet
\tinitrd\t/boot/initrd.img-6.1.0-50-amd64
}
submenu 'Advanced' $menuentry_id_option 'advanced' {
\tmenuentry 'Debian, with Linux 6.1.0-50-amd64' $menuentry_id_option 'advanced-50' {
\t\tlinux /boot/vmlinuz-6.1.0-50-amd64 root=UUID=1 ro
\t}
\tmenuentry 'Debian, with Linux 6.1.0-9-amd64' $menuentry_id_option 'advanced-9' {
\t\tlinux /boot/vmlinuz-6.1.0-9-amd64 root=UUID=1 ro single
\t}
}
menuentry "UEFI Firmware Settings" { fwsetup }
"""


def grub(tree: Tree, default: str = "0", menu: str = GRUB_MENU) -> Tree:
    return tree.file("/boot/grub/grub.cfg", GRUB_HEAD % default + menu)


@pytest.mark.parametrize(
    ("default", "expected"),
    [
        ("0", "6.1.0-50-amd64"),
        ("1>1", "6.1.0-9-amd64"),
        ("1", "6.1.0-50-amd64"),
        ("advanced>advanced-9", "6.1.0-9-amd64"),
        ("Advanced>Debian, with Linux 6.1.0-9-amd64", "6.1.0-9-amd64"),
        ("17", "6.1.0-50-amd64"),
        ("not there", "6.1.0-50-amd64"),
        ("", "6.1.0-50-amd64"),
        ("${saved_entry}", "6.1.0-50-amd64"),
    ],
)
def test_grub_defaults(default: str, expected: str, tmp_path: Path) -> None:
    assert release(grub(Tree(tmp_path), default)) == expected


def test_grub_tells_the_entry_and_its_command_line(tmp_path: Path) -> None:
    assert of(grub(Tree(tmp_path))) == NextKernel(
        "6.1.0-50-amd64",
        "entry 0: default=0 in /boot/grub/grub.cfg and its environment",
        "GRUB",
        "/boot/grub/grub.cfg",
        "Debian",
        "/boot/vmlinuz-6.1.0-50-amd64",
        ("root=UUID=1", "ro", "dyndbg=file a.c +p", "quiet"),
    )


def test_grub_saved_entry_and_one_boot_only(tmp_path: Path) -> None:
    tree = grub(Tree(tmp_path), "${saved_entry}")
    tree.file("/boot/grub/grubenv", env(saved_entry="advanced>advanced-9"))
    assert (release(tree), of(tree).once) == ("6.1.0-9-amd64", False)
    tree.file("/boot/grub/grubenv", env(saved_entry="0", next_entry="1>1"))
    assert (release(tree), of(tree).once) == ("6.1.0-9-amd64", True)


def test_grub_entry_without_a_kernel_can_not_be_told(tmp_path: Path) -> None:
    assert "UEFI Firmware Settings" in why_not(grub(Tree(tmp_path), "2"))


def test_suse_boots_by_a_link_that_names_no_release(tmp_path: Path) -> None:
    tree = Tree(tmp_path).file("/boot/vmlinuz-5.14.21-150500.53-default")
    tree.link("/boot/vmlinuz", "vmlinuz-5.14.21-150500.53-default")
    menu = "menuentry 'SLES' { linuxefi /boot/vmlinuz root=UUID=1 ${extra_cmdline} quiet }\n"
    tree.file("/boot/grub2/grub.cfg", menu)
    assert (release(tree), of(tree).cmdline) == ("5.14.21-150500.53-default", ("root=UUID=1", "quiet"))
    tree.remove("/boot/vmlinuz")
    assert "whose release its name does not tell" in why_not(tree)


def test_grub_sources_other_files(tmp_path: Path) -> None:
    tree = Tree(tmp_path).file(
        "/boot/grub/grub.cfg",
        "if [ -f  ${config_directory}/custom.cfg ]; then\n  source ${config_directory}/custom.cfg\nfi\n"
        "menuentry a { linux /vmlinuz-1.0 }\n",
    )
    assert release(tree) == "1.0"
    tree.file("/boot/grub/custom.cfg", "menuentry b { linux /vmlinuz-2.0 }\n")
    assert release(tree) == "2.0"


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("menuentry 'a {", "quotation"),
        ("menuentry a { linux /vmlinuz-1", "brace"),
        ("if [ a ]; then\nmenuentry a { linux /x }\n", "ends before"),
        ("menuentry a { linux /x }\n}", "closing brace"),
        ("menuentry a { true; }\n" + "if true; then " * 40, "nested deeper"),
        ("menuentry a { true; }\n" + "true;" * 30_000, "more than 20000 commands"),
        ("menuentry a { true; }\nsource /boot/grub/grub.cfg\n", "more than 20 files"),
        ("menuentry a { true; }\n" * 501, "more than 500 entries"),
        ("menuentry a { true; }\n" + '"$' * 200_000, "more than 200000 words"),
    ],
)
def test_broken_and_hostile_grub_cfg(broken: str, said: str, tmp_path: Path) -> None:
    tree = Tree(tmp_path).file("/boot/grub/grub.cfg", broken)
    start = time.monotonic()
    assert said in why_not(tree)
    assert time.monotonic() - start < 2


def test_the_scripts_of_the_real_grub_mkconfig(tmp_path: Path) -> None:
    """The menu that the installed /etc/grub.d/10_linux writes for three kernels, and grub-editenv's own block."""
    scripts = [Path("/etc/grub.d/00_header"), Path("/etc/grub.d/10_linux")]
    if not all(script.exists() for script in scripts) or not shutil.which("grub-editenv"):
        pytest.skip("GRUB's own scripts (grub-common) are not installed")
    tree = Tree(tmp_path / "host")
    for name in ("6.1.0-9-amd64", "6.1.0-50-amd64", "6.1.0-53-cloud-amd64"):
        tree.file(f"/boot/vmlinuz-{name}", "k").file(f"/boot/initrd.img-{name}", "i").file(f"/boot/config-{name}", "c")
    probe = tmp_path / "probe"
    probe.write_text(
        '#!/bin/sh\ncase "$*" in *target=fs\\ *) echo ext2;; *uuid*) echo 11-22;; *device*) echo /dev/sda1;; esac\n'
    )
    last = tmp_path / "last"
    last.write_text('#!/bin/sh\nfor a; do :; done; echo "$a"\n')
    probe.chmod(0o755)
    last.chmod(0o755)
    variables = {
        **os.environ, "grub_probe": str(probe), "grub_mkrelpath": str(last), "pkgdatadir": "/usr/share/grub",
        "GRUB_DEVICE": "/dev/sda1", "GRUB_DEVICE_UUID": "11-22", "GRUB_FS": "ext2", "GRUB_PLATFORM": "pc",
        "GRUB_DEVICE_BOOT": "/dev/sda1", "GRUB_DEVICE_BOOT_UUID": "11-22", "GRUB_DISTRIBUTOR": "Debian",
        "GRUB_DEFAULT": "saved", "GRUB_ACTUAL_DEFAULT": "saved", "GRUB_TIMEOUT": "5", "GRUB_CMDLINE_LINUX": "quiet",
    }  # fmt: skip
    run = " && ".join(['mount --bind "$0" /boot', *(f"sh {script}" for script in scripts)])
    done = subprocess.run(["unshare", "--map-root-user", "--mount", "sh", "-c", run, tree.at("/boot")],
                          capture_output=True, text=True, env=variables)  # fmt: skip
    if "menuentry " not in done.stdout:
        pytest.skip(f"10_linux wrote no menu here: {done.stderr.strip()[-200:]}")
    tree.file("/boot/grub/grub.cfg", done.stdout)
    assert release(tree) == "6.1.0-53-cloud-amd64"
    block = tree.at("/boot/grub/grubenv")
    subprocess.run(["grub-editenv", block, "create"], check=True)
    chosen = "gnulinux-advanced-11-22>gnulinux-6.1.0-9-amd64-advanced-11-22"
    subprocess.run(["grub-editenv", block, "set", f"saved_entry={chosen}"], check=True)
    assert release(tree) == "6.1.0-9-amd64"
    subprocess.run(["grub-editenv", block, "set", "next_entry=1>2"], check=True)
    assert (release(tree), of(tree).once) == ("6.1.0-50-amd64", True)


# Boot loader specification entries, as GRUB takes them on RHEL 8 and later and on Fedora

MACHINE = "0123456789abcdef0123456789abcdef"
RHEL = """\
set default="${saved_entry}"
if [ -f ${config_directory}/grubenv ]; then
  load_env -f ${config_directory}/grubenv
elif [ -s $prefix/grubenv ]; then
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
   set boot_once=true
else
   set default="${saved_entry}"
fi
set tuned_params="skew_tick=1"
if [ -z "${kernelopts}" ]; then
  set kernelopts="root=/dev/x ro "
fi
insmod blscfg
blscfg
"""


def entry(tree: Tree, release: str, options: str = "$kernelopts $tuned_params", name: str = "") -> Tree:
    return tree.file(
        f"/boot/loader/entries/{name or f'{MACHINE}-{release}'}.conf",
        f"title RHEL ({release})\nversion\t{release}\nlinux /vmlinuz-{release}\n"
        f"# a comment\ninitrd /i\noptions {options}\n",
    )


def rhel(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path).file("/boot/grub2/grub.cfg", RHEL)
    for name in ("5.14.0-70.el9.x86_64", "5.14.0-70.13.1.el9_0.x86_64", "5.14.0-427.el9.x86_64"):
        entry(tree, name)
    return entry(tree, "0-rescue", name=f"{MACHINE}-0-rescue")


def test_bls_newest_when_nothing_is_saved(tmp_path: Path) -> None:
    found = of(rhel(tmp_path))
    assert (found.release, found.title) == ("5.14.0-427.el9.x86_64", "RHEL (5.14.0-427.el9.x86_64)")
    assert found.file == f"/boot/loader/entries/{MACHINE}-5.14.0-427.el9.x86_64.conf"
    assert found.cmdline == ("root=/dev/x", "ro", "skew_tick=1")


def test_bls_saved_entry_by_id_and_by_number(tmp_path: Path) -> None:
    tree = rhel(tmp_path)
    tree.file("/boot/grub2/grubenv", env(saved_entry=f"{MACHINE}-5.14.0-70.el9.x86_64", kernelopts="root=/dev/y rw"))
    found = of(tree)
    assert (found.release, found.cmdline) == ("5.14.0-70.el9.x86_64", ("root=/dev/y", "rw", "skew_tick=1"))
    tree.file("/boot/grub2/grubenv", env(saved_entry="1"))
    assert release(tree) == "5.14.0-70.13.1.el9_0.x86_64"
    tree.file("/boot/grub2/grubenv", env(saved_entry="1", next_entry=f"{MACHINE}-5.14.0-70.el9.x86_64"))
    assert (release(tree), of(tree).once) == ("5.14.0-70.el9.x86_64", True)


def test_bls_without_entries(tmp_path: Path) -> None:
    tree = Tree(tmp_path).file("/boot/grub2/grub.cfg", RHEL).file("/boot/vmlinuz-1.0")
    assert "which has none that can be read" in why_not(tree)


def test_an_efi_stub_is_passed_over(tmp_path: Path) -> None:
    tree = rhel(tmp_path).file("/boot/efi/EFI/redhat/grub.cfg", "search --set=dev x\nconfigfile $prefix/grub.cfg\n")
    assert release(tree) == "5.14.0-427.el9.x86_64"
    # RHEL 8 with UEFI: the only real one lies on the EFI system partition
    text = (tmp_path / "boot/grub2/grub.cfg").read_text()
    tree.remove("/boot/grub2").file("/boot/efi/EFI/redhat/grub.cfg", text)
    tree.file("/boot/efi/EFI/redhat/grubenv", env(saved_entry="2"))
    assert release(tree) == "5.14.0-70.el9.x86_64"


def test_bls_entries_alone(tmp_path: Path) -> None:
    assert of(entry(Tree(tmp_path), "5.14.0-1.el9.s390x")).loader == "BLS"


# systemd-boot


def systemd_boot(tmp_path: Path, loader: str = "timeout 3\n") -> Tree:
    tree = Tree(tmp_path).file("/efi/loader/loader.conf", loader).directory("/efi/EFI/systemd")
    for name in ("6.9.1-arch1-1", "6.10.2-arch1-1"):
        tree.file(f"/efi/loader/entries/{MACHINE}-{name}.conf",
                  f"title Arch\nversion {name}\nmachine-id {MACHINE}\nsort-key arch\n"
                  f"linux /{MACHINE}/{name}/linux\noptions root=/dev/z\n")  # fmt: skip
    return tree


def test_systemd_boot_takes_the_newest(tmp_path: Path) -> None:
    found = of(systemd_boot(tmp_path))
    assert (found.release, found.loader, found.cmdline) == ("6.10.2-arch1-1", "systemd-boot", ("root=/dev/z",))


def test_systemd_boot_default_pattern(tmp_path: Path) -> None:
    tree = systemd_boot(tmp_path, f"default {MACHINE[:4]}*-6.9.*\n")
    assert release(tree) == "6.9.1-arch1-1"
    assert "@saved" in why_not(systemd_boot(tmp_path, "default @saved\n"))


def test_systemd_boot_passes_over_an_entry_without_tries_left(tmp_path: Path) -> None:
    tree = systemd_boot(tmp_path)
    os.rename(
        tree.at(f"/efi/loader/entries/{MACHINE}-6.10.2-arch1-1.conf"),
        tree.at(f"/efi/loader/entries/{MACHINE}-6.10.2-arch1-1+0-3.conf"),
    )
    assert release(tree) == "6.9.1-arch1-1"


def test_the_order_is_that_of_the_real_bootctl(tmp_path: Path) -> None:
    """`bootctl list` on twenty directories of random entries, each on a file system of its own as an ESP must be."""
    if not shutil.which("bootctl"):
        pytest.skip("bootctl (systemd-boot) is not installed")
    dice = random.Random(1)
    versions = ["6.9.1-arch1-1", "6.10.2-arch1-1", "6.1.0-9-amd64", "6.1.0-50-amd64", "5.14.0-427.el9.x86_64",
                "5.14.0-427.13.1.el9_4.x86_64", "6.11.0-rc1", "6.11.0"]  # fmt: skip
    command = 'mount -t tmpfs none "$0" && cp -r "$1/." "$0" && bootctl --esp-path="$0" list --no-pager'
    mount = tmp_path / "mount"
    mount.mkdir()
    for n in range(20):
        tree = Tree(tmp_path / f"host{n}").directory("/efi/EFI/systemd")
        for version in dice.sample(versions, 6):
            machine, key = dice.choice([MACHINE, "f" * 32]), dice.choice(["", "sort-key arch\n", "sort-key debian\n"])
            tries = dice.choice(["", "", "+3", "+0-3", "+1-2"])
            tree.file(f"/efi/{machine}/{version}/linux", "k")
            tree.file(
                f"/efi/loader/entries/{machine}-{version}{tries}.conf",
                f"title X\nversion {version}\nmachine-id {machine}\n{key}linux /{machine}/{version}/linux\n",
            )
        argv = ["unshare", "--map-root-user", "--mount", "sh", "-c", command, str(mount), tree.at("/efi")]
        done = subprocess.run(argv, capture_output=True, text=True, env={**os.environ, "SYSTEMD_RELAX_ESP_CHECKS": "1"})
        if "source:" not in done.stdout:
            pytest.skip(f"bootctl lists nothing here: {done.stderr.strip()[-200:]}")
        real = [line.rpartition("/")[2] for line in done.stdout.splitlines() if "source:" in line and ".conf" in line]
        entries = bls.systemd_boot_order(bls.read_entries(Host.at(str(tree.root)), "/efi/loader/entries"))
        assert [entry.file.rpartition("/")[2] for entry in entries] == real


def pe_image(sections: dict[str, str]) -> bytes:
    """The headers of a PE image with these sections, as ukify lays out a unified kernel image."""
    head = bytearray(0x400)
    head[:2], head[0x3C:0x40] = b"MZ", struct.pack("<I", 0x80)
    struct.pack_into("<4sHHIIIHH", head, 0x80, b"PE\0\0", 0x8664, len(sections), 0, 0, 0, 240, 0x22E)
    body = bytearray()
    for n, (name, text) in enumerate(sections.items()):
        data = text.encode()
        struct.pack_into("<8sIIII", head, 0x80 + 24 + 240 + 40 * n, name.encode(), len(data), 0, 512, 0x400 + len(body))
        body += data.ljust(512, b"\0")
    return bytes(head + body)


def test_systemd_boot_with_a_unified_image(tmp_path: Path) -> None:
    tree = Tree(tmp_path).file("/efi/loader/loader.conf", "").directory("/efi/EFI/systemd")
    sections = {".uname": "6.11.0-8-generic", ".osrel": 'ID=x\nPRETTY_NAME="X 1"\n', ".cmdline": "root=/dev/u quiet\n"}
    tree.file("/boot/vmlinuz-6.11.0-8-generic").file("/efi/EFI/Linux/x-1.efi", pe_image(sections))
    found = of(tree)
    assert (found.release, found.title, found.cmdline) == ("6.11.0-8-generic", "X 1", ("root=/dev/u", "quiet"))
    tree.file("/efi/EFI/Linux/x-1.efi", pe_image(sections)[:0x90])
    assert "no entry to boot" in why_not(tree)


def test_two_boot_loaders_are_not_told_apart_by_guessing(tmp_path: Path) -> None:
    tree = grub(systemd_boot(tmp_path))
    assert "both systemd-boot" in why_not(tree)
    tree.remove("/efi/EFI")  # an ESP that only has loader.conf left over
    assert of(tree).loader == "GRUB"


# Proxmox VE


def test_proxmox(tmp_path: Path) -> None:
    tree = grub(Tree(tmp_path)).file("/etc/kernel/proxmox-boot-uuids", "1234-ABCD\n")
    tree.file("/etc/kernel/cmdline", "root=ZFS=r\n")
    tree.file("/boot/vmlinuz-6.5.13-5-pve").file("/boot/vmlinuz-6.8.4-2-pve")
    assert (release(tree), of(tree).cmdline) == ("6.8.4-2-pve", ("root=ZFS=r",))
    tree.file("/etc/kernel/proxmox-boot-pin", "6.5.13-5-pve\n")
    assert (release(tree), of(tree).why) == ("6.5.13-5-pve", "pinned in /etc/kernel/proxmox-boot-pin")
    tree.file("/etc/kernel/next-boot-pin", "6.8.4-2-pve\n")
    assert (release(tree), of(tree).once) == ("6.8.4-2-pve", True)


# Nothing to go by


def test_the_newest_kernel_where_no_loader_is_configured(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    assert "neither a boot loader's configuration nor a kernel" in why_not(tree)
    found = of(tree.file("/boot/vmlinuz-6.1.0-9-amd64").file("/boot/vmlinuz-6.1.0-50-amd64"))
    assert (found.release, found.certain) == ("6.1.0-50-amd64", False)


def test_a_configuration_that_is_there_and_can_not_be_read_is_no_reason_to_guess(tmp_path: Path) -> None:
    tree = Tree(tmp_path).fifo("/boot/grub/grub.cfg").file("/boot/vmlinuz-6.1.0-9-amd64")
    assert "FIFO" in why_not(tree)
