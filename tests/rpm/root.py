"""A root with an rpm database of its own: a small Debian with rpm in it, below a layer that the test writes to."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab import debs
from tests.lab.debs import CACHE, NotAtHand, locked

PACKAGES = "rpm,kmod,systemd,python3,python3-psutil,python3-distro,python3-yaml,python3-systemd"
SUITE = "bookworm"
#: What Debian's rpm says of itself before every run.
_DEBIANS_OWN = ("rpm: RPM should not be used directly", "rpm: However assuming you know what you are doing")


@dataclass(frozen=True)
class Done:
    """What a command left; `said` are the lines it printed, of both streams, without Debian's own."""

    status: int
    output: str

    @property
    def said(self) -> list[str]:
        return [line for line in self.output.splitlines() if line and not line.startswith(_DEBIANS_OWN)]


def base() -> Path:
    """The tree below, made once per cache.  Raises NotAtHand."""
    if os.geteuid() != 0:
        raise NotAtHand("a root with packages of its own needs to be root")
    tree = CACHE / f"rpm-root-{hashlib.sha256((SUITE + PACKAGES).encode()).hexdigest()[:16]}"
    with locked("rpm-root"):
        if not tree.is_dir():
            if shutil.which("mmdebstrap") is None:
                raise NotAtHand("mmdebstrap is not installed: a root to make transactions in can't be built")
            part = tree.with_name("rpm-root.part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            tar = part.with_suffix(".tar")
            debs._run(
                *("mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}"),
                *('--aptopt=Acquire::Languages "none"', "--dpkgopt=path-exclude=/usr/share/man/*"),
                *("--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/locale/*"),
                *(SUITE, str(tar), *(str(p) for p in sorted(Path("/etc/apt/sources.list.d").glob("debian.sources")))),
            )
            subprocess.run(["tar", "-C", str(part), "--numeric-owner", "-xf", str(tar)], check=True)
            tar.unlink()
            # Not a host of Debian's packages: those of rpm are what counts here.
            (part / "var/lib/dpkg/status").write_text("")
            # Debian's rpm keeps its database in the user's home.
            (part / "etc/rpm").mkdir(exist_ok=True)
            (part / "etc/rpm/macros").write_text("%_dbpath /var/lib/rpm\n")
            for plugin in (part / "usr/lib/kernel/install.d").glob("*.install"):
                plugin.unlink()
            part.rename(tree)
    return tree


class Root:
    """A root of one test's own; `with Root() as root: root.rpm("-U", package)`."""

    def __init__(self) -> None:
        self.lower = base()
        self._dir = Path(tempfile.mkdtemp(prefix="hostward-rpm-"))
        self.path = self._dir / "root"

    def __enter__(self) -> Root:
        for name in ("root", "upper", "work"):
            (self._dir / name).mkdir()
        layers = f"lowerdir={self.lower},upperdir={self._dir}/upper,workdir={self._dir}/work"
        done = subprocess.run(
            ["mount", "-t", "overlay", "overlay", "-o", layers, str(self.path)], capture_output=True, text=True
        )
        if done.returncode:
            shutil.rmtree(self._dir)
            raise NotAtHand(f"no overlay can be mounted here: {done.stderr.strip()}")
        (self.path / "packages").mkdir()
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "-l", str(self.path)], check=True)
        shutil.rmtree(self._dir)

    def at(self, path: str) -> Path:
        return self.path / path.lstrip("/")

    def sh(self, command: str, mounts: str = "", limit_s: float = 60) -> Done:
        """Runs a shell command inside; `mounts` is run before it, outside, in a mount namespace of its own where $ROOT
        is the root."""
        inside = f'{mounts}\nexec chroot "$ROOT" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin sh -c "$COMMAND"'
        done = subprocess.run(
            ["unshare", "-m", "--propagation", "private", "sh", "-euc", inside],
            env={**os.environ, "ROOT": str(self.path), "COMMAND": command},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=limit_s,
        )
        return Done(done.returncode, done.stdout.decode(errors="replace"))

    def copied(self, packages: Sequence[Path]) -> list[str]:
        """The packages as they are named inside."""
        names = []
        for package in packages:
            target = self.path / "packages" / package.name
            if not target.exists():
                shutil.copyfile(package, target)
            names.append(f"/packages/{package.name}")
        return names

    def rpm(self, how: str, *packages: Path | str, mounts: str = "") -> Done:
        """An rpm transaction: `rpm("-U", FILE, ...)` or `rpm("-e", "NAME", ...)`."""
        files = self.copied([p for p in packages if isinstance(p, Path)])
        names = [p for p in packages if isinstance(p, str)]
        return self.sh(f"rpm {how} {' '.join([*files, *names])}", mounts)

    def dnf(self, repository: Path, *words: str) -> Done:
        """A dnf transaction from outside, as `dnf --installroot` does it."""
        if shutil.which("dnf") is None:
            raise NotAtHand("dnf is not installed")
        argv = ["dnf", "-y", f"--installroot={self.path}", "--releasever=1", f"--repofrompath=lab,{repository}"]
        argv += ["--repo=lab", "--nogpgcheck", "--noplugins", "--setopt=reposdir=/nonexistent", "--setopt=varsdir="]
        argv += [f"--setopt=cachedir={self._dir}/cache", "--setopt=keepcache=0", "--setopt=install_weak_deps=0"]
        argv += [f"--setopt=logdir={self._dir}/log", "--setopt=best=0"]
        (self._dir / "log").mkdir(exist_ok=True)
        (self._dir / ".rpmmacros").write_text("%_dbpath /var/lib/rpm\n")
        done = subprocess.run(
            [*argv, *words],
            env={**os.environ, "HOME": str(self._dir)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
        )
        return Done(done.returncode, done.stdout.decode(errors="replace"))
