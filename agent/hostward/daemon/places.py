"""Where what hostward judges by can change: what to watch on a host, and which kind of event each place stands for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hostward.host import Host, HostError

#: Kind of event -> directories watched flat, where they are there.
DIRECTORIES = {
    "config": ("/etc/hostward", "/etc/hostward/hostward.d"),
    "modules": (
        *("/etc/depmod.d", "/run/depmod.d", "/usr/local/lib/depmod.d", "/usr/lib/depmod.d", "/lib/depmod.d"),
        *("/etc/modprobe.d", "/run/modprobe.d", "/usr/local/lib/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d"),
        "/etc/sysconfig/modules",
    ),
    "boot": (
        *("/boot", "/boot/grub", "/boot/grub2", "/boot/loader", "/boot/loader/entries", "/boot/efi", "/efi"),
        *("/efi/loader", "/efi/loader/entries", "/efi/EFI/Linux", "/boot/efi/loader", "/boot/efi/loader/entries"),
        *("/boot/efi/EFI/Linux", "/boot/EFI/Linux", "/etc/kernel", "/etc/default/grub.d", "/etc/dracut.conf.d"),
    ),
    "guests": ("/etc/libvirt/qemu", "/run/libvirt/qemu"),
}  # fmt: skip
#: Kind of event -> files watched by name in their directories, which also tells when they come to be.
FILES = {
    "modules": ("/etc/modprobe.conf",),
    "boot": ("/etc/default/grub", "/etc/dracut.conf", "/etc/initramfs-tools/modules", "/etc/mkinitcpio.conf"),
    "clock": ("/etc/adjtime", "/etc/localtime", "/etc/sysconfig/clock", "/etc/default/rcS"),
    "packages": (
        *("/var/lib/dpkg/status", "/var/lib/rpm/rpmdb.sqlite", "/var/lib/rpm/Packages", "/var/lib/rpm/Packages.db"),
        *("/usr/lib/sysimage/rpm/rpmdb.sqlite", "/usr/lib/sysimage/rpm/Packages.db", "/etc/os-release"),
    ),
}  # fmt: skip
MODULES = ("/lib/modules", "/usr/lib/modules")
#: What of a module tree is not looked into: the distribution's own modules change with their package, which also
#: writes the index files beside them.
_NOT_INTO = {"kernel", "build", "source", "vdso", "systemtap"}
_TREES_MAX = 64


def watch(host: Host) -> dict[str, Any]:
    """`trees`, `directories` and `files` to watch on this host, and `kinds`: path -> kind of event for each of them.

    An event's kind is that of the longest of these paths that its own path begins with (`kind_of`).
    """
    trees: dict[str, str] = {}
    directories: dict[str, str] = {}
    files: dict[str, str] = {}
    for base in _module_bases(host):
        directories[base] = "modules"
        for release in _directories(host, base)[:_TREES_MAX]:
            directories[f"{base}/{release}"] = "modules"
            for name in _directories(host, f"{base}/{release}"):
                if name not in _NOT_INTO:
                    trees[f"{base}/{release}/{name}"] = "modules"
    for kind, places in {**DIRECTORIES, "modules": (*DIRECTORIES["modules"], *MODULES[:1])}.items():
        for path in places:
            if host.is_dir(path):
                directories[host.resolve(path)] = kind  # /lib is a link to /usr/lib on most
            else:
                _await(host, path, kind, files)
    for kind, places in FILES.items():
        for path in places:
            if host.is_dir(path.rpartition("/")[0] or "/"):
                files[path] = kind
    return {
        "trees": sorted(trees),
        "directories": sorted(directories),
        "files": sorted(files),
        "kinds": {**directories, **files, **trees},
    }


def kind_of(path: str, kinds: dict[str, str]) -> str:
    """The kind of event that something happened to `path` stands for, "" where none of the places holds it."""
    while path:
        if path in kinds:
            return kinds[path]
        path = path.rpartition("/")[0]
    return ""


def _module_bases(host: Host) -> Iterator[str]:
    """Each directory of module trees once: on a merged /usr both names are the same one."""
    seen = set()
    for base in MODULES:
        try:
            real = host.resolve(base)
        except HostError:
            continue
        if real not in seen and host.is_dir(real):
            seen.add(real)
            yield real


def _await(host: Host, path: str, kind: str, files: dict[str, str]) -> None:
    """Watches for a directory to be made: its first missing part, by name in the directory that is there."""
    parent = path.rpartition("/")[0]
    while parent and not host.is_dir(parent):
        path, parent = parent, parent.rpartition("/")[0]
    if parent and not host.exists(path):
        files.setdefault(path, kind)


def _directories(host: Host, path: str) -> list[str]:
    try:
        with host.directory(path) as directory:
            return sorted(name for name, kind in directory.entries() if kind == "dir")
    except HostError:
        return []
