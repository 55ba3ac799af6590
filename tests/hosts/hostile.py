"""Trees that mean harm, or that a broken disk left: one story each, none of which may stop or mislead the agent.

Every story is a function from a directory to the tree in it; STORIES has them by name.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from tests.hosts import rhel5
from tests.hosts.elfwriter import EL5
from tests.hosts.tree import Tree

#: What a configuration, a list or a table would be read from, of every part of the agent.
FILES = (
    "/etc/redhat-release",
    "/etc/os-release",
    "/etc/inittab",
    "/etc/machine-id",
    "/etc/modprobe.conf",
    "/etc/depmod.d/dist.conf",
    "/etc/modprobe.d/kvm.conf",
    "/etc/sysconfig/clock",
    "/etc/sysconfig/modules/kvm.modules",
    "/etc/adjtime",
    "/etc/ntp.conf",
    "/etc/chrony.conf",
    "/etc/rc.d/rc.sysinit",
    "/etc/default/grub",
    "/etc/kernel/proxmox-boot-uuids",
    "/etc/kernel/proxmox-boot-pin",
    "/etc/kernel/entry-token",
    "/etc/passwd",
    "/boot/grub/grub.conf",
    "/boot/grub/menu.lst",
    "/boot/grub/grub.cfg",
    "/boot/grub/grubenv",
    "/boot/grub2/grub.cfg",
    "/boot/grub2/grubenv",
    "/boot/loader/loader.conf",
    "/boot/loader/entries/a.conf",
    f"/boot/System.map-{rhel5.OLD}",
    f"/boot/symvers-{rhel5.OLD}.gz",
    f"/boot/config-{rhel5.OLD}",
    f"/boot/vmlinuz-{rhel5.OLD}",
    f"/lib/modules/{rhel5.OLD}/modules.dep",
    f"/lib/modules/{rhel5.OLD}/modules.builtin",
    "/var/lib/rpm/rpmdb.sqlite",
    "/var/lib/dpkg/status",
    "/var/lib/dpkg/info/base.list",
    "/var/lib/dpkg/diversions",
)


def empty(root: str) -> Tree:
    """A directory with nothing in it."""
    return Tree(root)


def link_loops(root: str) -> Tree:
    """Every file a link to itself or round in a circle; directories that link to their parents."""
    tree = Tree(root)
    for n, path in enumerate(FILES):
        tree.link(path, os.path.basename(path) if n % 2 else path + ".other").link(path + ".other", path)
    base = f"/lib/modules/{rhel5.OLD}"
    tree.link(f"{base}/extra/up", "..").link(f"{base}/weak-updates", f"{base}").link(f"{base}/updates/self", "self")
    tree.link(f"{base}/extra/a.ko", "b.ko").link(f"{base}/extra/b.ko", "a.ko")
    return tree.link("/sbin", "usr/sbin").link("/usr/sbin", "../sbin")


def links_out(root: str) -> Tree:
    """Files and directories that lead out of the tree, by absolute links and by more `..` than there are levels.

    Inside the root such a link means a path of the tree, where nothing is; a reader that follows it outside
    would find this very machine's files.
    """
    tree = Tree(root)
    up = "../" * 40
    for n, path in enumerate(FILES):
        tree.link(path, "/proc/1/root" + path if n % 2 else up + path[1:])
    base = f"/lib/modules/{rhel5.OLD}"
    tree.link(f"{base}/extra/absolute.ko", "/etc/hostname").link(f"{base}/extra/up.ko", up + "etc/hostname")
    tree.link(f"{base}/updates", up + "usr/lib").link(f"{base}/misc", "/proc/1/root")
    return tree.link("/var/lib/dpkg/info/out.list", up + "etc/hosts").link("/run", "/proc/self/root/run")


def fifos(root: str) -> Tree:
    """A FIFO where each file should be."""
    tree = Tree(root)
    for path in FILES:
        tree.fifo(path)
    return tree.fifo(f"/lib/modules/{rhel5.OLD}/extra/kvm.ko")


def sparse(root: str) -> Tree:
    """Ten gigabytes of zeros where each file should be."""
    tree = Tree(root)
    for path in FILES:
        tree.sparse(path, 10 << 30)
    tree.sparse(f"/lib/modules/{rhel5.OLD}/kernel/drivers/huge.ko", 10 << 30, b"\x7fELF\x02\x01\x01")
    return tree.sparse(f"/lib/modules/{rhel5.OLD}/extra/kvm.ko", 10 << 30, b"\x7fELF\x02\x01\x01")


def unreadable(root: str) -> Tree:
    """Files and directories without any permission (which root passes over), and directories where files should be."""
    tree = Tree(root)
    for n, path in enumerate(FILES):
        if n % 2:
            tree.file(path, "ID=x\n", 0)
        else:
            tree.directory(path)
    return tree.directory("/etc/init.d", 0).directory("/var/lib/rpm", 0)


def files_for_directories(root: str) -> Tree:
    """A file where each directory should be."""
    tree = Tree(root)
    for path in ("/etc", "/boot", "/lib", "/usr", "/var", "/run"):
        tree.file(path, "not a directory\n")
    return tree


def garbage(root: str) -> Tree:
    """Every byte there is, in a hostile order, as the content of each file."""
    tree = Tree(root)
    noise = bytes((n * n * 7 + n // 251) & 0xFF for n in range(40_000))
    for n, path in enumerate(FILES):
        tree.file(path, noise[n:] if n % 3 else b"'\"\\$(${{[[\n" * 500 + noise)
    return tree.file(f"/lib/modules/{rhel5.OLD}/extra/noise.ko", noise)


def not_utf8(root: str) -> Tree:
    """Names and contents that are not UTF-8, with newlines and escape sequences in them."""
    tree = rhel5.build(root)
    odd = os.fsdecode(b"caf\xe9-\xff\xfe\x1b[31m\nx")
    base = f"/lib/modules/{rhel5.OLD}"
    module = rhel5.kmod_kvm()[3].build(EL5)
    tree.file(f"{base}/extra/{odd}/{odd}.ko", module)
    tree.link(f"{base}/weak-updates/{odd}.ko", f"/lib/modules/{odd}/{odd}.ko")
    tree.file(f"/boot/vmlinuz-2.6.18-{os.fsdecode(bytes([0xE9]))}", b"")
    tree.directory(f"/lib/modules/2.6.18-{os.fsdecode(bytes([0xE9]))}/extra")
    tree.file("/etc/os-release", b'ID=caf\xe9\nNAME="\xff\xfe"\nVERSION_ID=1\n')
    return tree.file(f"/etc/rc.d/init.d/{odd}", "#!/bin/sh\nhwclock\n", 0o755)


def truncated_module(root: str) -> Tree:
    """The RHEL 5 host with its modules cut off at different places, one of them to nothing."""
    tree = rhel5.build(root)
    for module, size in (("kvm", 5000), ("kvm-intel", 63), ("kvm-amd", 0), ("ksm", 34_000)):
        data = next(m for m in rhel5.kmod_kvm() if m.name == module).build(EL5)
        tree.file(f"{rhel5.KMOD_DIRECTORY}/{module}.ko", data[:size])
    return tree


def deep(root: str) -> Tree:
    """A module directory 400 levels deep, which no absolute path can name to its end."""
    tree = Tree(root)
    tree.file(f"/boot/vmlinuz-{rhel5.OLD}", b"")
    tree.directory(f"/lib/modules/{rhel5.OLD}/extra")
    here = os.open(tree.at(f"/lib/modules/{rhel5.OLD}/extra"), os.O_RDONLY)
    for _ in range(400):
        os.mkdir("directory-of-a-deep-tree", dir_fd=here)
        below = os.open("directory-of-a-deep-tree", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    return tree


def crowded(root: str) -> Tree:
    """Two kernels whose extra/ directories hold 100,000 and 80,000 entries (hard links, to be quick)."""
    tree = Tree(root)
    for release, count in ((rhel5.OLD, 100_000), (rhel5.NEW, 80_000)):
        tree.file(f"/boot/vmlinuz-{release}", b"")
        tree.directory(f"/lib/modules/{release}/extra")
        directory = tree.at(f"/lib/modules/{release}/extra")
        for n in range(count):
            name = f"{directory}/{n}.ko"
            if n % 20_000 == 0:  # file systems bound the number of links to one file
                source = name
                open(source, "wb").close()
            else:
                os.link(source, name)
    return tree


STORIES: dict[str, Callable[[str], Tree]] = {
    story.__name__.replace("_", "-"): story
    for story in (
        empty, link_loops, links_out, fifos, sparse, unreadable, files_for_directories, garbage, not_utf8,
        truncated_module, deep, crowded,
    )
}  # fmt: skip
