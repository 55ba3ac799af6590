"""The kernels installed on a host, and the one that runs."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from hostward.facts import fact
from hostward.host import Host, HostError, Missing
from hostward.model import Unavailable
from hostward.versions import rpmvercmp

KERNELS_MAX = 200
_RELEASE = re.compile(r"\d+\.\d+[^/\s]*")
#: How distributions call the image of kernel R in /boot: vmlinuz-R (most), vmlinux-R (POWER),
#: image-R (s390x), Image-R and zImage-R (SUSE on ARM), kernel-R (Gentoo), vmlinuz-linux has no release.
_IMAGE = re.compile(r"(?:vmlinuz|vmlinux|Image|image|zImage|bzImage|kernel)-(\d+\.\d+[^/\s]*)")
#: Names that /boot gives to things beside a kernel of the same release.
_NO_IMAGE = re.compile(r"\.(?:hmac|bak|old|dpkg-\w+|rpm\w+|debug|gz\.sig|sig|sha\d+)$|-rescue-?|kdump$")

#: Newest last: releases in rpm's order, the whole text being one version.
release_key = functools.cmp_to_key(rpmvercmp)


@dataclass(frozen=True)
class Kernel:
    """An installed kernel. Paths are inside the host, "" where there is no such file.

    `missing` names what a kernel's module tree should have and this one has not (modules.dep, kernel/),
    or the image.
    """

    release: str
    modules_dir: str = ""
    image: str = ""
    symvers: str = ""
    system_map: str = ""
    config: str = ""
    initramfs: str = ""
    missing: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether it can be booted with its modules."""
        return not self.missing


@dataclass(frozen=True)
class Kernels:
    """All kernels, newest first.

    `leftovers` are releases with a module directory but neither an image nor modules of their own: what
    an erased kernel leaves, or where a kmod package keeps modules built for a kernel that is not installed.
    """

    installed: tuple[Kernel, ...]
    leftovers: tuple[Kernel, ...] = ()

    def get(self, release: str) -> Kernel | None:
        return next((k for k in (*self.installed, *self.leftovers) if k.release == release), None)

    @property
    def newest(self) -> Kernel | None:
        return self.installed[0] if self.installed else None


@dataclass(frozen=True)
class RunningKernel:
    """What uname(2) says: release, version (the build) and machine."""

    release: str
    version: str
    machine: str


@fact
def running_kernel(host: Host) -> RunningKernel:
    """Raises NotLive under a root."""
    uname = host.uname()
    return RunningKernel(uname.release, uname.version, uname.machine)


def modules_base(host: Host) -> str:
    """Where module directories are: /lib/modules (also behind a /lib link), or /usr/lib/modules where only that is."""
    return "/lib/modules" if host.is_dir("/lib/modules") or not host.is_dir("/usr/lib/modules") else "/usr/lib/modules"


@fact
def kernels(host: Host) -> Kernels:
    """Raises Unavailable where a directory of kernels can't be listed; no kernel at all is an answer."""
    base = modules_base(host)
    images = _boot_images(host)
    releases = set(images)
    for name in _listed(host, base):
        if _RELEASE.fullmatch(name) and host.is_dir(f"{base}/{name}"):
            releases.add(name)
    if len(releases) > KERNELS_MAX:
        raise Unavailable(f"{len(releases)} kernels in {base} and /boot: more than {KERNELS_MAX} make no sense")
    boot = set(_listed(host, "/boot"))
    found = [_kernel(host, base, release, images.get(release, ""), boot) for release in releases]
    found.sort(key=lambda kernel: release_key(kernel.release), reverse=True)
    there = [bool(k.image) or "kernel/" not in k.missing for k in found]
    return Kernels(
        tuple(k for k, is_there in zip(found, there) if is_there),
        tuple(k for k, is_there in zip(found, there) if not is_there),
    )


def _listed(host: Host, path: str) -> list[str]:
    """The names in a directory; none where it does not exist.  Raises HostError for any other trouble."""
    try:
        return host.names(path)
    except Missing:
        return []


def _boot_images(host: Host) -> dict[str, str]:
    """Kernel images by release: in /boot, and where kernel-install puts them for systemd-boot (BOOT/TOKEN/R/linux)."""
    images: dict[str, str] = {}
    for name in _listed(host, "/boot"):
        match = _IMAGE.fullmatch(name)
        if match and not _NO_IMAGE.search(name) and host.is_file(f"/boot/{name}"):
            images.setdefault(match.group(1), f"/boot/{name}")
    for base in ("/efi", "/boot", "/boot/efi"):
        for token in entry_tokens(host):
            try:
                names = host.names(f"{base}/{token}")
            except HostError:
                continue
            for name in names[:KERNELS_MAX]:
                if _RELEASE.fullmatch(name) and host.is_file(f"{base}/{token}/{name}/linux"):
                    images.setdefault(name, f"{base}/{token}/{name}/linux")
    return images


def entry_tokens(host: Host) -> list[str]:
    """The directory names kernel-install(8) may use: /etc/kernel/entry-token, the machine id, "Default"."""
    tokens = []
    for path in ("/etc/kernel/entry-token", "/etc/machine-id"):
        try:
            token = host.text(path, 4096).strip()
        except HostError:
            continue
        if re.fullmatch(r"[\w.-]+", token) and token not in (".", ".."):
            tokens.append(token)
    return [*tokens, "Default"]


def _kernel(host: Host, base: str, release: str, image: str, boot: set[str]) -> Kernel:
    directory = f"{base}/{release}"
    try:
        with host.directory(directory) as opened:
            there = dict(opened.entries())
    except HostError:
        there, directory = {}, ""

    def first(*names: str) -> str:
        """The first of these that is there: `name` in the module directory, `/boot/name` in /boot."""
        for name in names:
            if name.startswith("/boot/"):
                if name[6:] in boot and host.is_file(name):
                    return name
            elif name.split("/")[0] in there and host.is_file(f"{directory}/{name}"):
                return f"{directory}/{name}"
        return ""

    def packed(name: str) -> tuple[str, ...]:
        return tuple(name + suffix for suffix in (".gz", ".xz", ".zst", ""))

    missing = []
    image = image or first("vmlinuz", "vmlinux", "Image", "image", "bzImage", "uImage")
    if not image:
        missing.append("image")
    if not directory:
        missing.append("module directory")
    else:
        if not first("modules.dep", "modules.dep.bin"):
            missing.append("modules.dep")
        if not host.is_dir(f"{directory}/kernel"):
            missing.append("kernel/")
    return Kernel(
        release,
        directory,
        image,
        first(*packed("symvers"), *packed(f"/boot/symvers-{release}"), "build/Module.symvers"),
        first("System.map", f"/boot/System.map-{release}"),
        first("config", f"/boot/config-{release}"),
        first("initrd", "initramfs.img", *(f"/boot/{name}" for name in _initramfs_names(release))),
        tuple(missing),
    )


def _initramfs_names(release: str) -> tuple[str, ...]:
    return (f"initramfs-{release}.img", f"initrd.img-{release}", f"initrd-{release}", f"initrd-{release}.img")
