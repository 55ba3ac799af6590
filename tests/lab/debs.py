"""Kernels at hand: real Debian kernels and headers, downloaded once, chosen by what they are and not by name.

The cache is HOSTWARD_CACHE (default ~/.cache/hostward).  Roles, as in a host's life:

    A   a kernel that out-of-tree modules are built for
    B   a newer one of the same series with the same module_layout CRC and other exports: A's modules are
        linked to it as weak-modules would, and some of them do not load
    D   one of the same series with another module_layout: nothing built for A loads
    C   one of another series, with compressed modules
    R   one of another flavour (PREEMPT_RT): its vermagic has other flags. Its disk and file system drivers are
        modules, so it boots by an initramfs, and its modules are not in the lab's image
    F   the full flavour of a server, with some 4,000 modules; for the benchmarks alone

`kernel(role)` raises NotAtHand(reason) for what the mirror does not have and the cache neither.
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(os.environ.get("HOSTWARD_CACHE") or Path.home() / ".cache" / "hostward")
SERIES = {"A": "6.1", "B": "6.1", "D": "6.1", "C": "6.12"}
FLAVOUR = "cloud-amd64"
#: Roles beside those of the image: series and flavour.
BESIDE = {"R": ("6.1", "rt-amd64"), "F": ("6.1", "amd64")}


class NotAtHand(Exception):
    """A kernel or tool that can't be had here, with the reason; its tests are left out by that name."""


@dataclass(frozen=True)
class Kernel:
    """A kernel's files as its packages hold them: `modules` is lib/modules/RELEASE, `headers` the build tree."""

    release: str
    tree: Path
    headers: Path

    @property
    def image(self) -> Path:
        return self.tree / "boot" / f"vmlinuz-{self.release}"

    @property
    def modules(self) -> Path:
        return self.tree / "lib" / "modules" / self.release

    @property
    def symvers(self) -> Path:
        return self.headers / "Module.symvers"


@contextmanager
def locked(name: str) -> Iterator[None]:
    """One process at a time prepares a thing in the cache."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(*argv: str, cwd: Path | None = None) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, cwd=cwd, stdin=subprocess.DEVNULL)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise NotAtHand(f"`{' '.join(argv[:4])} ...` failed: {' '.join(said)}")
    return done.stdout


def download(*packages: str) -> list[Path]:
    """The .deb files of these packages, from the cache or the mirror.  Raises NotAtHand."""
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise NotAtHand("apt-get and dpkg are not installed: Debian's packages can't be had")
    store = CACHE / "debs"
    store.mkdir(parents=True, exist_ok=True)
    found = []
    for package in packages:
        have = sorted(store.glob(f"{package}_*.deb"))
        if not have:
            with tempfile.TemporaryDirectory(dir=store) as fresh:
                _run("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package, cwd=Path(fresh))
                for deb in Path(fresh).glob("*.deb"):
                    deb.rename(store / deb.name)
            have = sorted(store.glob(f"{package}_*.deb"))
        found.append(have[-1])
    return found


def extract(name: str, *packages: str) -> Path:
    """These packages unpacked side by side under CACHE/trees/NAME; no maintainer script runs."""
    tree = CACHE / "trees" / name
    with locked(f"tree-{name}"):
        if not tree.is_dir():
            part = tree.with_name(f".{name}.part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            for deb in download(*packages):
                _run("dpkg", "-x", str(deb), str(part))
            part.rename(tree)
    return tree


def headers(release: str) -> Path:
    """The build tree of a kernel, usable where it lies.  Raises NotAtHand."""
    package = f"linux-headers-{release}"
    tree = CACHE / "trees" / package
    if not tree.is_dir():
        shown = _run("apt-cache", "show", package)
        depends = re.search(r"^Depends: (.*)$", shown, re.M)
        names = re.findall(r"(linux-(?:headers|kbuild)-[^ ,]+)", depends.group(1)) if depends else []
        tree = extract(package, package, *dict.fromkeys(names))
    build = tree / "usr" / "src" / package
    makefile = build / "Makefile"
    text = makefile.read_text()
    if "include /usr/src" in text:  # the packages expect to lie in /
        for file in tree.glob("usr/src/linux-headers-*/Makefile"):
            file.write_text(file.read_text().replace("include /usr/src", f"include {tree}/usr/src"))
        for vmlinux in tree.glob("usr/src/linux-headers-*/vmlinux"):
            vmlinux.unlink()  # shipped for BTF, which would need pahole
    return build


def kernel_of(release: str) -> Kernel:
    """A kernel by its release.  Raises NotAtHand."""
    build = headers(release)
    tree = extract(f"linux-image-{release}", f"linux-image-{release}")
    return Kernel(release, tree, build)


@functools.cache
def chosen() -> dict[str, str]:
    """Role -> release, chosen once per cache by reading the candidates' Module.symvers.  Raises NotAtHand."""
    record = CACHE / "kernels.json"
    with locked("kernels"):
        if record.is_file():
            choice: dict[str, str] = json.loads(record.read_text())
            return choice
        choice = _choose()
        record.write_text(json.dumps(choice, indent=1))
    return choice


def candidates(series: str, flavour: str = FLAVOUR) -> list[str]:
    """Releases of a series and flavour whose image and headers the mirror has, newest first."""
    if shutil.which("apt-cache") is None:
        raise NotAtHand("apt-cache is not installed: Debian's kernels can't be found")
    pattern = rf"^linux-(image|headers)-{series}[.][0-9][^-]*(-[0-9]+)?-{flavour}$"
    names = _run("apt-cache", "search", "--names-only", pattern)
    packages = {line.split()[0] for line in names.splitlines() if line.strip()}
    images = {p[len("linux-image-") :] for p in packages if p.startswith("linux-image-")}
    found = [release for release in images if f"linux-headers-{release}" in packages]
    return sorted(found, key=lambda release: [int(n) for n in re.findall(r"\d+", release)], reverse=True)


def exports(symvers: Path) -> dict[str, str]:
    """Symbol -> CRC of a Module.symvers."""
    return {name: crc for crc, name, *_ in (line.split("\t") for line in symvers.read_text().splitlines())}


def _choose() -> dict[str, str]:
    choice: dict[str, str] = {}
    seen: list[tuple[str, dict[str, str]]] = []
    for release in candidates("6.1")[:8]:
        try:
            mine = exports(headers(release) / "Module.symvers")
        except NotAtHand:
            continue
        for other, theirs in seen:
            same_layout = mine["module_layout"] == theirs["module_layout"]
            if same_layout and "A" not in choice and set(mine) - set(theirs) and _changed(mine, theirs):
                choice.update(A=release, B=other)
        seen.append((release, mine))
        if "A" in choice:
            layout = mine["module_layout"]
            choice.update(D=next((r for r, e in seen if e["module_layout"] != layout), ""))
            if choice["D"]:
                break
    newer = candidates("6.12")
    if newer:
        choice["C"] = newer[0]
    missing = [role for role in SERIES if not choice.get(role)]
    if "A" in missing:
        raise NotAtHand("the mirror has no two kernels of one series with the same module_layout and other exports")
    return {role: release for role, release in choice.items() if release}


def _changed(mine: dict[str, str], theirs: dict[str, str]) -> bool:
    return any(theirs.get(name, crc) != crc for name, crc in mine.items())


def _beside(role: str) -> dict[str, str]:
    """Role -> release of a role beside the image's, the newest there is; chosen once per cache."""
    record = CACHE / f"kernel-{role}.json"
    with locked("kernels"):
        if record.is_file():
            choice: dict[str, str] = json.loads(record.read_text())
            return choice
        newest = candidates(*BESIDE[role])[:1]
        choice = dict(zip((role,), newest))
        if choice:
            record.write_text(json.dumps(choice))
    return choice


@functools.cache
def kernel(role: str) -> Kernel:
    """The kernel that plays a role.  Raises NotAtHand with the reason."""
    releases = _beside(role) if role in BESIDE else chosen()
    if role not in releases:
        raise NotAtHand(f"the mirror has no kernel for the role {role}")
    return kernel_of(releases[role])
