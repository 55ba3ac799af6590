"""Which files are a kernel's initramfs: what its boot entry names, else where the distribution puts it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from hostward.facts import fact
from hostward.facts.bootloaders import bls, release_in
from hostward.facts.kernels import Kernels, entry_tokens
from hostward.host import Host, HostError

_BOOT_DIRECTORIES = ("/boot", "/efi", "/boot/efi")


@dataclass(frozen=True)
class InitramfsFile:
    """A file, or the part of one (the .initrd section of a unified kernel image): `size_bytes` from `offset_bytes`."""

    path: str
    offset_bytes: int = 0
    size_bytes: int | None = None

    def __str__(self) -> str:
        return f"{self.path}, section .initrd" if self.size_bytes is not None else self.path


@dataclass(frozen=True)
class InitramfsFiles:
    """The files that a boot loader hands each kernel as its initramfs, by release, in the order of loading.

    A kernel for which none was found is absent.
    """

    by_release: dict[str, tuple[InitramfsFile, ...]]

    def get(self, release: str) -> tuple[InitramfsFile, ...]:
        return self.by_release.get(release, ())


@fact
def initramfs_files(host: Host, kernels: Kernels) -> InitramfsFiles:
    """A boot entry's word comes first; then /boot/initramfs-R.img (Fedora, RHEL), /boot/initrd.img-R (Debian, Ubuntu),
    /boot/initrd-R (SUSE), /boot/initrd-R.img (RHEL 5), TOKEN/R/initrd (kernel-install(8)), the image named for a
    package in pkgbase (Arch), the module directory, and last a unified kernel image."""
    found: dict[str, tuple[InitramfsFile, ...]] = {}
    entries = _by_entries(host)
    unified: dict[str, tuple[InitramfsFile, ...]] | None = None
    for kernel in kernels.installed:
        release = kernel.release
        paths = entries.get(release) or _first_file(host, _usual(host, release, kernel.modules_dir))
        if not paths and kernel.initramfs:
            paths = (kernel.initramfs,)
        if paths:
            found[release] = tuple(InitramfsFile(path) for path in paths)
            continue
        if unified is None:
            unified = dict(_unified(host))
        if release in unified:
            found[release] = unified[release]
    return InitramfsFiles(found)


def _by_entries(host: Host) -> dict[str, tuple[str, ...]]:
    """From Boot Loader Specification entries; one whose files are not all to be found says nothing."""
    found: dict[str, tuple[str, ...]] = {}
    for base in _BOOT_DIRECTORIES:
        try:
            entries = bls.read_entries(host, f"{base}/loader/entries")
        except HostError:
            continue
        for entry in bls.systemd_boot_order(entries):
            release = release_in(entry.image) or entry.version
            paths = [_on_partition(host, base, path) for path in entry.initrds]
            if release and paths and all(paths):
                found.setdefault(release, tuple(paths))
    return found


def _on_partition(host: Host, base: str, path: str) -> str:
    """Where a path of a boot entry lies on the host: it counts from the root of the boot partition."""
    absolute = "/" + path.lstrip("/")
    return next((p for p in (base + absolute, absolute) if host.is_file(p)), "")


def _usual(host: Host, release: str, modules_dir: str) -> Iterator[str]:
    for name in (f"initramfs-{release}.img", f"initrd.img-{release}", f"initrd-{release}", f"initrd-{release}.img"):
        yield f"/boot/{name}"
    for token in entry_tokens(host):
        for base in _BOOT_DIRECTORIES:
            yield f"{base}/{token}/{release}/initrd"
    if modules_dir:
        package = _line(host, f"{modules_dir}/pkgbase")
        if re.fullmatch(r"[\w.+-]+", package):
            yield f"/boot/initramfs-{package}.img"


def _first_file(host: Host, paths: Iterator[str]) -> tuple[str, ...]:
    return next(((path,) for path in paths if host.is_file(path)), ())


def _line(host: Host, path: str) -> str:
    try:
        return host.text(path, 4096).strip()
    except HostError:
        return ""


def _unified(host: Host) -> Iterator[tuple[str, tuple[InitramfsFile, ...]]]:
    for base in _BOOT_DIRECTORIES:
        try:
            entries = bls.unified_images(host, f"{base}/EFI/Linux")
        except HostError:
            continue
        for entry in entries:
            try:
                with host.open(entry.file) as file:
                    parts = [(at, size) for name, at, size in bls.pe_ranges(file) if name == ".initrd" and size]
            except HostError:
                continue
            if entry.version and parts:
                yield entry.version, tuple(InitramfsFile(entry.file, at, size) for at, size in parts)
