"""Packages to make transactions with: hostward's own, kernels with real modules, kmod packages of modules that real
headers compiled, and what stands for the distribution. Built once per cache.

Kernels are by the roles of tests/lab/debs.py. A kernel package holds some of that kernel's modules and its exports as
/lib/modules/RELEASE/symvers.gz, as EL's kernel-core does.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab import debs, modlab
from tests.lab.debs import CACHE, NotAtHand, locked

REPOSITORY = Path(__file__).parents[2]
ROLES = ("A", "B", "D")
#: Of each kernel's own modules, so many are enough.
IN_TREE = ("kernel/arch/x86/kvm", "kernel/virt/lib", "kernel/drivers/net/dummy.ko")

#: What EL's weak-modules does for a kmod package, in a few lines: links its modules into every other kernel.
WEAK_MODULES = """\
for kernel in /lib/modules/*/; do
	[ -d "$kernel/kernel" ] && [ "$kernel" != /lib/modules/{built_for}/ ] || continue
	mkdir -p "$kernel/weak-updates/{name}"
	for module in /lib/modules/{built_for}/extra/{name}/*.ko; do
		ln -sf "$module" "$kernel/weak-updates/{name}/"
	done
	depmod "$(basename "$kernel")"
done
depmod {built_for}
"""
#: What it does when the package goes; a careless package leaves it out.
REMOVE_LINKS = """\
if [ "$1" = 0 ]; then
	rm -rf /lib/modules/*/weak-updates/{name}
fi
"""
#: A kernel's %posttrans: depmod, and kernel-install's plugins as far as they are here.
ADD_KERNEL = """\
for package in /lib/modules/*/extra/*/; do
	[ -d "$package" ] || continue
	release=$(echo "$package" | cut -d/ -f4)
	[ "$release" != {release} ] || continue
	mkdir -p /lib/modules/{release}/weak-updates/$(basename "$package")
	ln -sf "$package"*.ko /lib/modules/{release}/weak-updates/$(basename "$package")/
done
depmod {release}
for plugin in /usr/lib/kernel/install.d/*.install; do
	[ -x "$plugin" ] && "$plugin" add {release} /boot /lib/modules/{release}/vmlinuz
done
exit 0
"""


@dataclass(frozen=True)
class Package:
    """A package to be built: its files by their path, and its scriptlets by their name."""

    name: str
    version: str = "1"
    release: str = "1"
    files: Mapping[str, Path] = field(default_factory=dict)
    scripts: Mapping[str, str] = field(default_factory=dict)
    provides: Sequence[str] = ()
    requires: Sequence[str] = ()

    @property
    def spec(self) -> str:
        lines = [
            *(f"Name: {self.name}", f"Version: {self.version}", f"Release: {self.release}"),
            *("Summary: For a test", "License: GPL-2.0-only", "BuildArch: noarch", "AutoReqProv: no"),
            *(f"Provides: {name}" for name in self.provides),
            *(f"Requires: {name}" for name in self.requires),
            *("%description", "For a test.", "%install"),
        ]
        for path, source in self.files.items():
            lines.append(f"install -D -m 0644 {source} %{{buildroot}}{path}")
        for name, text in self.scripts.items():
            lines += [f"%{name}", text]
        return "\n".join([*lines, "%files", *self.files]) + "\n"

    @property
    def file_name(self) -> str:
        return f"{self.name}-{self.version}-{self.release}.noarch.rpm"


def build(packages: Sequence[Package], target: Path) -> list[Path]:
    """Builds packages into a directory.  Raises NotAtHand."""
    _rpmbuild([package.spec for package in packages], target)
    return [target / package.file_name for package in packages]


def _rpmbuild(specs: Sequence[str], target: Path) -> None:
    if shutil.which("rpmbuild") is None:
        raise NotAtHand("rpmbuild is not installed: no packages to make transactions with")
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="hostward-rpmbuild-") as work:
        written = [Path(work) / f"{number}.spec" for number in range(len(specs))]
        for path, spec in zip(written, specs):
            path.write_text(spec)
        argv = [
            "rpmbuild",
            "-bb",
            "--quiet",
            "--nodeps",
            "--define",
            f"_topdir {work}",
            "--define",
            f"_rpmdir {target}",
        ]
        argv += ["--define", "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm"]
        argv += ["--define", "_binary_payload w0.ufdio", "--define", "__os_install_post %{nil}"]
        done = subprocess.run([*argv, *map(str, written)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]


def build_many(files: Mapping[str, str], content: Path, target: Path) -> list[Path]:
    """Packages by name, each with one file, from one spec: two hundred of their own would take half a minute."""
    head = [
        "Name: many",
        "Version: 1",
        "Release: 1",
        "Summary: For a test",
        "License: GPL-2.0-only",
        "BuildArch: noarch",
    ]
    head += ["AutoReqProv: no", "%description", "For a test."]
    parts, install, lists = [], ["%install"], []
    for name, path in files.items():
        parts += [
            f"%package -n {name}",
            "Summary: For a test",
            "AutoReqProv: no",
            f"%description -n {name}",
            "For a test.",
        ]
        install.append(f"install -D -m 0644 {content} %{{buildroot}}{path}")
        lists += [f"%files -n {name}", path]
    _rpmbuild(["\n".join([*head, *parts, *install, *lists]) + "\n"], target)
    return [target / f"{name}-1-1.noarch.rpm" for name in files]


def distribution() -> Package:
    """What the root has by other means than rpm."""
    provides = ("python3-psutil", "python3-distro", "python3-pyyaml", "python3-systemd", "kmod")
    return Package("distribution", provides=(*provides, "/bin/sh", "/usr/bin/python3", "systemd"))


def kernel_package(role: str, work: Path) -> Package:
    kernel = debs.kernel(role)
    base = f"/lib/modules/{kernel.release}"
    files: dict[str, Path] = {}
    for what in IN_TREE:
        found = kernel.modules / what
        for file in sorted(found.rglob("*.ko*")) if found.is_dir() else [found]:
            files[f"{base}/{file.relative_to(kernel.modules)}"] = file
    for name in ("modules.builtin", "modules.order", "modules.builtin.modinfo"):
        files[f"{base}/{name}"] = kernel.modules / name
    files[f"{base}/config"] = kernel.tree / "boot" / f"config-{kernel.release}"
    symvers = work / f"symvers-{role}.gz"
    symvers.write_bytes(gzip.compress(kernel.symvers.read_bytes(), 6, mtime=0))
    files[f"{base}/symvers.gz"] = symvers
    number = ROLES.index(role) + 1
    return Package(
        "kernel-core",
        "6.1.0",
        str(number),
        files,
        {
            "posttrans": ADD_KERNEL.format(release=kernel.release),
            "postun": f"rm -f {base}/modules.*[^r]; rmdir {base} 2>/dev/null; :",
        },
        provides=("kernel", "installonlypkg(kernel)"),
    )


def kmod(name: str, version: str, modules: Sequence[str], careless: bool = False, post: str = "") -> Package:
    """A kmod package with modules of the lab that were compiled for kernel A."""
    kernel = debs.kernel("A")
    built = modlab.built(kernel)
    files = {f"/lib/modules/{kernel.release}/extra/{name}/{module}.ko": built / f"{module}.ko" for module in modules}
    words = {"name": name, "built_for": kernel.release}
    scripts = {"post": WEAK_MODULES.format(**words) + post}
    if not careless:
        scripts["postun"] = REMOVE_LINKS.format(**words)
    return Package(name, version, files=files, scripts=scripts)


def _forget_old(pattern: str) -> None:
    """Removes what was built more than a day ago; younger ones may be in use by the tests of another checkout."""
    for old in (CACHE / "rpm").glob(pattern):
        if old.is_dir() and time.time() - old.stat().st_mtime > 86400:
            shutil.rmtree(old, ignore_errors=True)


def hostward() -> Path:
    """The package of this checkout, built anew when a file of it changed.  Raises NotAtHand."""
    if shutil.which("rpmbuild") is None:
        raise NotAtHand("rpmbuild is not installed: hostward's package can't be built")
    digest = hashlib.sha256()
    for top in ("agent", "config", "packaging", "tools", "docs"):
        for file in sorted((REPOSITORY / top).rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(REPOSITORY)}\0".encode() + file.read_bytes())
    digest.update((REPOSITORY / "pyproject.toml").read_bytes())
    made = CACHE / "rpm" / f"hostward-{digest.hexdigest()[:16]}"
    with locked("rpm-hostward"):
        if not made.is_dir():
            _forget_old("hostward-*")
            part = made.with_name("part")
            shutil.rmtree(part, ignore_errors=True)
            done = subprocess.run([REPOSITORY / "tools" / "package", "rpm", part], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[-4000:]
            part.rename(made)
    return next(made.glob("*.noarch.rpm"))


@functools.cache
def built() -> dict[str, Path]:
    """Every package by a short name, built once per cache.  Raises NotAtHand."""
    key = hashlib.sha256(Path(__file__).read_bytes() + repr(debs.chosen()).encode()).hexdigest()[:16]
    made = CACHE / "rpm" / f"packages-{key}"
    with locked("rpm-packages"), tempfile.TemporaryDirectory(prefix="hostward-rpm-") as work:
        packages = {
            "distribution": distribution(),
            **{f"kernel-{role}": kernel_package(role, Path(work)) for role in ROLES},
            "kmod-lab-1": kmod("kmod-lab", "1", ("labprov", "labcount")),
            # Its labcount needs a lab_count with another prototype than labother's.
            "kmod-lab-2": kmod("kmod-lab", "2", ("labother", "labcount")),
            "kmod-careless": kmod("kmod-careless", "1", ("labnone",), careless=True),
            "kmod-2010": kmod(
                "kmod-2010",
                "1",
                ("labother", "labcount"),
                post="[ -x /usr/bin/hostward ] && /usr/bin/hostward scriptlet post-install kmod-2010 || :\n",
            ),
        }
        if not made.is_dir():
            _forget_old("packages-*")
            part = made.with_name("packages.part")
            shutil.rmtree(part, ignore_errors=True)
            build(list(packages.values()), part)
            part.rename(made)
    return {name: made / package.file_name for name, package in packages.items()}
