"""Real kernels of other architectures and other years: modules, image and Module.symvers.

Debian's own packages, found through an apt directory of their own, so that the suites and architectures this machine
knows stay as they are.  Some 20 to 60 MB are fetched for each, so only when HOSTWARD_FULL=1 asks for it; of each
package only the modules of a few directories are kept.
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
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
#: (suite, architecture, flavour).  Between them: 32 and 64 bits, both byte orders, relocations with and without
#: addends, CRCs by relocation (5.10), in place, and none at all (7.2).
KERNELS = (
    ("bookworm", "arm64", "arm64"),
    ("bookworm", "armhf", "armmp"),
    ("bookworm", "i386", "686-pae"),
    ("bookworm", "mips64el", "mips64r2el"),
    ("bookworm", "mipsel", "mips32r2el"),
    ("bookworm", "ppc64el", "powerpc64le"),
    ("bookworm", "s390x", "s390x"),
    ("bullseye", "amd64", "cloud-amd64"),
    ("bullseye", "arm64", "cloud-arm64"),
    ("bullseye", "armhf", "armmp"),
    ("bullseye", "i386", "686-pae"),
    ("sid", "amd64", "cloud-amd64"),
    ("sid", "loong64", "loong64"),
    ("sid", "ppc64el", "powerpc64le"),
    ("sid", "riscv64", "riscv64"),
    ("sid", "s390x", "s390x"),
)
#: The directories below kernel/ that are kept: hundreds of modules, with and without exports, in every flavour.
KEPT = ("crypto", "fs", "lib", "net", "drivers/md", "drivers/scsi", "drivers/usb", "drivers/virtio")


@dataclass(frozen=True)
class Foreign:
    """A kernel that is not for this machine; `modules` is the directory kernel/ of its release."""

    architecture: str
    modules: Path
    symvers: Path
    image: Path


def foreign(suite: str, architecture: str, flavour: str) -> Foreign:
    """The newest kernel of a flavour in a suite.  Raises NotAtHand."""
    name = f"foreign-{suite}-{architecture}"
    tree = CACHE / "trees" / name
    with locked(f"tree-{name}"):
        if not tree.is_dir():
            if not os.environ.get("HOSTWARD_FULL"):
                raise NotAtHand("HOSTWARD_FULL=1 fetches kernels of other architectures and years (700 MB, once)")
            _fetch(suite, architecture, flavour, tree)
    modules = next(tree.glob("**/lib/modules/*/kernel"))
    return Foreign(architecture, modules, next(tree.rglob("Module.symvers")), next(tree.rglob("vmlinu*")))


def _fetch(suite: str, architecture: str, flavour: str, tree: Path) -> None:
    for program in ("apt-get", "apt-cache", "dpkg-deb", "tar"):
        if shutil.which(program) is None:
            raise NotAtHand(f"{program} is not installed: Debian's packages can't be had")
    if not KEYRING.is_file():
        raise NotAtHand("debian-archive-keyring is not installed: what the mirror says can't be verified")
    with tempfile.TemporaryDirectory(prefix="hostward-apt-") as base:
        root = Path(base)
        environment = _apt(root, suite, architecture)
        _run(["apt-get", "-qq", "update"], environment, root)
        found = _run(["apt-cache", "pkgnames", "linux-"], environment, root)
        pattern = rf"^linux-image-(\d[^-\s]*(?:-\d+)?-{re.escape(flavour)})$"
        releases = sorted(re.findall(pattern, found, re.M), key=lambda r: [int(n) for n in re.findall(r"\d+", r)])
        if not releases:
            raise NotAtHand(f"the mirror has no kernel {flavour} for {architecture} in {suite}")
        release = releases[-1]
        parts = [f"linux-modules-{release}", f"linux-binary-{release}"]  # packages of their own since 7.0
        if parts[0] not in found.split():
            parts = [f"linux-image-{release}"]
        _run(["apt-get", "-qq", "download", *parts, f"linux-headers-{release}"], environment, root)
        part = tree.with_name(f".{tree.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        wanted = [f"*/lib/modules/*/kernel/{place}/*" for place in KEPT]
        for package in parts:
            _unpack(next(root.glob(f"{package}_*.deb")), part, [*wanted, "*/boot/vmlinu*", "*/lib/modules/*/vmlinu*"])
        _unpack(next(root.glob("linux-headers-*.deb")), part, ["*/Module.symvers"])
        part.rename(tree)


def _apt(root: Path, suite: str, architecture: str) -> dict[str, str]:
    """An apt of its own below `root`, for one architecture; its environment."""
    (root / "state" / "lists" / "partial").mkdir(parents=True)
    (root / "cache" / "archives" / "partial").mkdir(parents=True)
    (root / "state" / "status").touch()
    (root / "sources.list").write_text(f"deb [signed-by={KEYRING}] {MIRROR} {suite} main\n")
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
