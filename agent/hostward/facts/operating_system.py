"""Which operating system the host runs, as the `distro` library reads it from the release files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hostward.facts import fact
from hostward.host import Host, HostError
from hostward.model import Unavailable

_RHEL = {"rhel", "centos", "rocky", "almalinux", "oracle", "scientific", "cloudlinux", "eurolinux", "virtuozzo"}
_SUSE = {"sles", "sled", "suse", "sl-micro", "sle-micro", "opensuse"}
_FILE_MAX = 64 << 10
_OS_RELEASE = ("/etc/os-release", "/usr/lib/os-release")

#: Clones of RHEL 5 and 6 whose /etc/redhat-release is the only file that names them, by its first word.
_NAMED_IN_REDHAT_RELEASE = {"centos": "centos", "scientific": "scientific", "oracle": "oracle", "fedora": "fedora"}


@dataclass(frozen=True)
class OperatingSystem:
    """A distribution and its release.

    `id` is distro's normalised id (rhel, centos, almalinux, rocky, oracle, fedora, debian, ubuntu,
    opensuse, sles, ...), `like` the ids it says it is like (os-release(5)), `product` what is
    built on it and changes how kernels are chosen ("pve" for Proxmox VE), else "".
    """

    id: str
    version: str
    name: str
    like: tuple[str, ...] = ()
    product: str = ""

    @property
    def family(self) -> str:
        """rhel, fedora, suse or debian for a distribution of that family, else its own id."""
        related = (self.id, *self.like)
        if self.id == "fedora":
            return "fedora"
        if any(word in _RHEL for word in related):
            return "rhel"
        if any(word in _SUSE or word.startswith("opensuse") for word in related):
            return "suse"
        for word in ("debian", "fedora"):
            if word in related or (word == "debian" and "ubuntu" in related):
                return word
        return self.id

    @property
    def major(self) -> int | None:
        """The number before the first dot of the version; None where there is none (rolling releases)."""
        match = re.match(r"\d+", self.version)
        return int(match.group()) if match else None


@fact
def operating_system(host: Host) -> OperatingSystem:
    """Raises Unavailable where no release file says what the host is."""
    files = _release_files(host)
    if not files:
        raise Unavailable("neither os-release nor a release file such as /etc/redhat-release can be read")
    try:
        if host.live:
            found = _ask_distro(None, files)
        else:
            # distro opens what it wants by path; it is given copies, so that no link of the tree leads it outside
            from hostward.host.copies import laid_out

            with laid_out(_decodable(files)) as directory:
                found = _ask_distro(directory, files)
    except (ValueError, OSError) as error:  # not UTF-8, say, or a quotation that never ends
        raise Unavailable(f"the release files {', '.join(files)} can't be made out: {error}") from None
    os_id, version, name, like = found
    if not any(path in files for path in _OS_RELEASE):
        os_id = _NAMED_IN_REDHAT_RELEASE.get(name.split(" ")[0].lower(), os_id)
    if not os_id:
        raise Unavailable(f"{', '.join(files)} name no distribution")
    if os_id.startswith("opensuse"):  # opensuse-leap and -tumbleweed, which distro makes one since 1.6
        os_id = "opensuse"
    point = files.get("/etc/debian_version", b"").decode("ascii", "replace").strip()
    if os_id == "debian" and re.fullmatch(r"[0-9.]+", point):
        version = point
    product = "pve" if host.exists("/usr/bin/pveversion") or host.is_dir("/usr/share/pve-manager") else ""
    return OperatingSystem(os_id, version, name, like, product)


def _release_files(host: Host) -> dict[str, bytes]:
    """The release files of the host by the path that distro looks for them at, whatever links they were."""
    found: dict[str, bytes] = {}
    paths = [*_OS_RELEASE, "/etc/debian_version"]
    try:
        with host.directory("/etc") as etc:
            paths += [f"/etc/{name}" for name, _ in etc.entries() if re.fullmatch(r"[\w-]+[-_](release|version)", name)]
    except HostError:
        pass
    for path in paths[:40]:
        if path not in found:
            try:
                found[path] = host.read(path, _FILE_MAX)
            except HostError:
                continue
    found.pop("/etc/lsb-release", None)  # read by distro only through the lsb_release program
    return found


def _decodable(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files in the encoding that distro reads them in; it raises at anything else."""
    codecs = {"/etc/debian_version": "ascii"}
    return {
        path: data.decode(codecs.get(path, "utf-8"), "replace").encode(codecs.get(path, "utf-8"), "replace")
        for path, data in files.items()
    }


def _ask_distro(root: str | None, files: Iterable[str]) -> tuple[str, str, str, tuple[str, ...]]:
    """id, version, name and ID_LIKE; no program is run (neither lsb_release nor uname).  Raises ValueError, OSError."""
    import distro

    quiet: dict[str, Any] = {"include_lsb": False, "include_uname": False}
    if root is None:
        found = distro.LinuxDistribution(**quiet)
    else:
        try:
            found = distro.LinuxDistribution(**quiet, root_dir=root)
        except TypeError:  # distro before 1.6, EL 9's: it can be told its files, and no more
            found = distro.LinuxDistribution(**quiet, **_files_for_distro(root, files))
    return found.id(), found.version(best=True), found.name(), tuple(found.like().split())


def _files_for_distro(root: str, files: Iterable[str]) -> dict[str, Any]:
    """The two files that distro would choose below `root`; a path where nothing is for one that is missing."""
    no_names = {*_OS_RELEASE, "/etc/debian_version", "/etc/system-release"}
    os_release = next((path for path in _OS_RELEASE if path in files), "/none")
    release = next((path for path in sorted(files) if path not in no_names), "/none")
    return {"os_release_file": root + os_release, "distro_release_file": root + release}
