"""Modules of real kernels of other architectures, with their Module.symvers: what this machine could never load.

Debian's own packages, found through an apt directory of their own in the cache, so that the architectures this
machine's dpkg knows stay as they are.  Some 30 to 60 MB are fetched for each, so only when HOSTWARD_FULL=1 asks for
it; of each package only the modules of a few directories are kept.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.lab.debs import CACHE, NotAtHand, locked

MIRROR = "http://deb.debian.org/debian"
SUITE = "bookworm"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
#: Debian's architecture -> the flavour of kernel.  Between them: 32 and 64 bits, both byte orders, REL and RELA.
FLAVOURS = {
    "arm64": "arm64",
    "armhf": "armmp",
    "i386": "686-pae",
    "mips64el": "mips64r2el",
    "mipsel": "mips32r2el",
    "ppc64el": "powerpc64le",
    "s390x": "s390x",
}
#: The directories below kernel/ that are kept: hundreds of modules, with and without exports, in every flavour.
KEPT = ("crypto", "fs", "lib", "net", "drivers/md", "drivers/scsi", "drivers/usb", "drivers/virtio")


@dataclass(frozen=True)
class Foreign:
    """`modules` is the directory kernel/ of a release."""

    architecture: str
    modules: Path
    symvers: Path


def foreign(architecture: str) -> Foreign:
    """The newest kernel of an architecture's flavour.  Raises NotAtHand."""
    tree = CACHE / "trees" / f"foreign-{architecture}"
    with locked(f"tree-foreign-{architecture}"):
        if not tree.is_dir():
            if not os.environ.get("HOSTWARD_FULL"):
                raise NotAtHand("HOSTWARD_FULL=1 fetches kernels of other architectures (300 MB, once)")
            _fetch(architecture, tree)
    return Foreign(architecture, next(tree.glob("lib/modules/*/kernel")), next(tree.rglob("Module.symvers")))


def _fetch(architecture: str, tree: Path) -> None:
    for program in ("apt-get", "apt-cache", "dpkg-deb", "tar"):
        if shutil.which(program) is None:
            raise NotAtHand(f"{program} is not installed: Debian's packages can't be had")
    if not KEYRING.is_file():
        raise NotAtHand("debian-archive-keyring is not installed: what the mirror says can't be verified")
    with tempfile.TemporaryDirectory(prefix="hostward-apt-") as base:
        root = Path(base)
        environment = _apt(root, architecture)
        _run(["apt-get", "-qq", "update"], environment, root)
        found = _run(["apt-cache", "pkgnames", "linux-image-"], environment, root)
        pattern = rf"^linux-image-(\d\S*-{re.escape(FLAVOURS[architecture])})$"
        releases = sorted(re.findall(pattern, found, re.M), key=lambda r: [int(n) for n in re.findall(r"\d+", r)])
        if not releases:
            raise NotAtHand(f"the mirror has no kernel for {architecture}")
        names = [f"linux-image-{releases[-1]}", f"linux-headers-{releases[-1]}"]
        _run(["apt-get", "-qq", "download", *names], environment, root)
        part = tree.with_name(f".{tree.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        wanted = [f"./lib/modules/*/kernel/{directory}/*" for directory in KEPT]
        _unpack(next(root.glob("linux-image-*.deb")), part, wanted)
        _unpack(next(root.glob("linux-headers-*.deb")), part, ["*/Module.symvers"])
        part.rename(tree)


def _apt(root: Path, architecture: str) -> dict[str, str]:
    """An apt of its own below `root`, for one architecture; its environment."""
    (root / "state" / "lists" / "partial").mkdir(parents=True)
    (root / "cache" / "archives" / "partial").mkdir(parents=True)
    (root / "state" / "status").touch()
    (root / "sources.list").write_text(f"deb [signed-by={KEYRING}] {MIRROR} {SUITE} main\n")
    (root / "apt.conf").write_text(
        f"""Dir::Etc::SourceList "{root}/sources.list";
        Dir::Etc::SourceParts "/dev/null";
        Dir::State "{root}/state";
        Dir::State::status "{root}/state/status";
        Dir::Cache "{root}/cache";
        APT::Architecture "{architecture}";
        APT::Architectures {{ "{architecture}"; }};
        APT::Sandbox::User "root";
        Acquire::Languages "none";
        """
    )
    return {**os.environ, "APT_CONFIG": str(root / "apt.conf"), "LC_ALL": "C.UTF-8"}


def _run(argv: list[str], environment: dict[str, str], where: Path) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, cwd=where, env=environment, stdin=subprocess.DEVNULL)
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:]
        raise NotAtHand(f"`{' '.join(argv[:3])} ...` for another architecture failed: {' '.join(said)}")
    return done.stdout


def _unpack(package: Path, where: Path, wanted: list[str]) -> None:
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as source:
        # A directory that one architecture lacks is no failure: tar's own status does not count.
        subprocess.run(["tar", "-x", "-C", where, "--wildcards", *wanted], stdin=source.stdout, capture_output=True)
    if source.returncode:
        raise NotAtHand(f"{package.name} can't be unpacked")
