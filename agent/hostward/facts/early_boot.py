"""What a host wants in its initramfs by name, what its root file system needs there, and what makes the image."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from hostward.facts import fact
from hostward.facts.boot import Boot
from hostward.facts.next_kernel import NextKernel
from hostward.host import Host, HostError
from hostward.model import Unavailable

_FILES_MAX = 200
_FILE_MAX = 64 << 10
#: Assignments of dracut.conf(5), a bash script. Quoted values may go over several lines.
_DRACUT = re.compile(
    r"^[ \t]*(add_drivers|force_drivers|drivers|filesystems|omit_drivers)\+?=(\"[^\"]*\"|'[^']*'|[^\s#;]*)", re.M
)
_DRACUT_CONF = ("/usr/lib/dracut/dracut.conf.d", "/etc/dracut.conf.d")
_OTHERS = (
    # Every scsi_hostadapter goes into the image of RHEL 5's mkinitrd; SUSE's and Arch's have lists.
    ("/etc/modprobe.conf", re.compile(r"^\s*alias\s+scsi_hostadapter\d*\s+(\S+)", re.M), "mkinitrd"),
    ("/etc/sysconfig/kernel", re.compile(r"^\s*INITRD_MODULES=[\"']?([^\"'\n]*)", re.M), "mkinitrd"),
    ("/etc/mkinitcpio.conf", re.compile(r"^\s*MODULES=\(([^)]*)\)", re.M), "mkinitcpio"),
)
_MAKERS = (
    ("initramfs-tools", ("/usr/sbin/mkinitramfs", "/sbin/mkinitramfs")),
    ("dracut", ("/usr/bin/dracut", "/usr/sbin/dracut", "/sbin/dracut")),
    ("mkinitcpio", ("/usr/bin/mkinitcpio",)),
    ("mkinitrd", ("/sbin/mkinitrd", "/usr/sbin/mkinitrd")),
)
#: Words of a kernel command line that name modules for the initramfs to load: dracut.cmdline(7), modules-load.d(5).
_CMDLINE = ("rd.driver.pre", "rd.driver.post", "rd.modules_load", "rd.modules-load", "rdloaddriver")


@dataclass(frozen=True)
class Named:
    """A module (with underscores) that the configuration names for the images that `maker` makes."""

    module: str
    maker: str
    where: str


@dataclass(frozen=True)
class EarlyBoot:
    """What must be in the initramfs of every kernel of this host, and where that is written.

    `omitted` are module names that dracut is told to leave out, `file_systems` the types of / and /usr with
    what shows them. `makers` are the programs found that make images, likeliest first: initramfs-tools,
    dracut, mkinitcpio, mkinitrd.
    """

    named: tuple[Named, ...]
    omitted: frozenset[str]
    file_systems: dict[str, str]
    makers: tuple[str, ...]


@fact
def early_boot(host: Host, boot: Boot | Unavailable, following: NextKernel | Unavailable) -> EarlyBoot:
    named: list[Named] = []
    omitted: set[str] = set()
    for path in _dracut_files(host):
        for key, value in _DRACUT.findall(_text(host, path)):
            for word in value.strip("\"'").split():
                if key == "omit_drivers":
                    omitted.add(_module(word))
                else:
                    named.append(Named(_module(word), "dracut", f"{path}: {key}"))
    for where, words in _cmdlines(boot, following):
        for word in words:
            key, _, value = word.partition("=")
            if key in _CMDLINE:
                named += [Named(_module(name), "dracut", f"{where}: {key}") for name in value.split(",")]
    for path in ("/etc/initramfs-tools/modules", *_under(host, "/usr/share/initramfs-tools/modules.d")):
        for line in _text(host, path).splitlines():
            for word in line.partition("#")[0].split()[:1]:  # the rest of a line are the module's parameters
                named.append(Named(_module(word), "initramfs-tools", path))
    for path, pattern, maker in _OTHERS:
        for value in pattern.findall(_text(host, path)):
            named += [Named(_module(word.strip("\"'?")), maker, path) for word in value.split()]
    return EarlyBoot(
        tuple(n for n in named if n.module and (n.maker != "dracut" or n.module not in omitted)),
        frozenset(omitted),
        _file_systems(host, boot, following),
        tuple(maker for maker, programs in _MAKERS if any(host.is_file(program) for program in programs)),
    )


def _module(word: str) -> str:
    """`=drivers/net`, a directory for dracut, is no name; options and paths are cut off."""
    return "" if word.startswith("=") else word.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


def _text(host: Host, path: str) -> str:
    try:
        return host.text(path, _FILE_MAX)
    except HostError:
        return ""


def _under(host: Host, directory: str) -> list[str]:
    try:
        return [f"{directory}/{name}" for name in host.names(directory)[:_FILES_MAX]]
    except HostError:
        return []


def _dracut_files(host: Host) -> Iterator[str]:
    """dracut.conf, then *.conf of both directories; /etc's file hides the one of the same name in /usr/lib."""
    yield "/etc/dracut.conf"
    paths = [path for directory in _DRACUT_CONF for path in _under(host, directory) if path.endswith(".conf")]
    by_name = {path.rpartition("/")[2]: path for path in paths}
    yield from (by_name[name] for name in sorted(by_name))


def _cmdlines(boot: Boot | Unavailable, following: NextKernel | Unavailable) -> Iterator[tuple[str, tuple[str, ...]]]:
    if isinstance(boot, Boot) and not boot.container:
        yield "the kernel command line", boot.cmdline
    if isinstance(following, NextKernel) and following.cmdline:
        yield f"the command line in {following.file or 'the boot entry'}", following.cmdline


def _file_systems(host: Host, boot: Boot | Unavailable, following: NextKernel | Unavailable) -> dict[str, str]:
    """The types of / and /usr: as mounted on a running machine, as fstab(5) and the command line want it in a tree."""
    mounted = isinstance(boot, Boot)
    table = "/proc/mounts" if mounted else "/etc/fstab"
    found: dict[str, str] = {}
    for line in _text(host, table).splitlines():
        fields = line.partition("#")[0].split()
        if len(fields) >= 3 and fields[1] in ("/", "/usr") and fields[2] not in ("rootfs", "auto", "none", "bind"):
            found.setdefault(fields[2], f"{fields[1]} is {fields[2]} ({fields[0]}, {table})")
    for where, words in _cmdlines(boot, following):
        for word in words:
            key, _, value = word.partition("=")
            if key == "rootfstype" and re.fullmatch(r"\w+", value):  # a list says only what is tried
                found.setdefault(value, f"{where}: {word}")
            elif (key == "root" and re.match(r"(?i)zfs[=:]", value)) or word == "boot=zfs":
                found.setdefault("zfs", f"{where}: {word}")
    return found
