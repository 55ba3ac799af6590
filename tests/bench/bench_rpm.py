"""Transactions: what the file trigger adds to one, beside the depmod that every kmod package runs, on a host with four
kernels; and how long the scriptlet takes there."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.compare import Figure, show
from tests.lab import debs, modlab
from tests.lab.debs import NotAtHand
from tests.rpm import packages
from tests.rpm.packages import Package, build
from tests.rpm.root import Root

ROLES = ("A", "B", "D", "C")
RUNS = 20
TARGET_RATIO = 0.5
TARGET_P95_S = 2.0


def whole_kernels(root: Root) -> None:
    """All of four kernels, with the exports where EL has them."""
    for role in ROLES:
        kernel = debs.kernel(role)
        target = root.at(f"/usr/lib/modules/{kernel.release}")
        target.mkdir(parents=True)
        subprocess.run(["cp", "-a", f"{kernel.modules}/.", str(target)], check=True)
        (target / "build").unlink(missing_ok=True)
        (target / "source").unlink(missing_ok=True)
        with open(target / "symvers.gz", "wb") as file:
            subprocess.run(["gzip", "-c", str(kernel.symvers)], stdout=file, check=True)
        for name in ("config", "System.map"):
            subprocess.run(["cp", f"{kernel.tree}/boot/{name}-{kernel.release}", str(root.at("/boot"))], check=True)
        subprocess.run(["cp", str(kernel.image), str(root.at("/boot"))], check=True)
        root.sh(f"depmod {kernel.release}")


def kmod(version: str, work: Path) -> Path:
    """A kmod package for kernel A whose %post only runs depmod, as `depmod -a KVER` below does."""
    kernel = debs.kernel("A")
    built = modlab.built(kernel)
    files = {f"/lib/modules/{kernel.release}/extra/kmod-lab/{n}.ko": built / f"{n}.ko" for n in ("labprov", "labcount")}
    return build([Package("kmod-lab", version, files=files)], work)[0]


def timed(run: object, count: int = RUNS) -> list[float]:
    assert callable(run)
    taken = []
    for number in range(count + 1):
        begun = time.perf_counter()
        run()
        if number:
            taken.append(time.perf_counter() - begun)
    return taken


def figure(taken: list[float]) -> Figure:
    return Figure(statistics.median(taken), 0.0, 0.0)


def p95(taken: list[float]) -> float:
    return sorted(taken)[max(0, int(len(taken) * 0.95 + 0.5) - 1)]


def main() -> None:
    try:
        hostward = packages.hostward()
        distribution = packages.built()["distribution"]
        with Root() as root:
            bench(root, hostward, distribution)
    except NotAtHand as lacking:
        print(f"Transactions: left out: {lacking}")


def bench(root: Root, hostward: Path, distribution: Path) -> None:
    whole_kernels(root)
    work = root.at("/packages")
    release = debs.kernel("A").release
    (package,) = root.copied([kmod("1", work / "built")])
    root.rpm("-U", distribution, hostward)
    assert root.sh(f"rpm -U {package}").status == 0
    for role in ROLES[1:]:  # as weak-modules does
        other = debs.kernel(role).release
        links = f"/lib/modules/{other}/weak-updates/kmod-lab"
        root.sh(f"mkdir -p {links}; ln -s /lib/modules/{release}/extra/kmod-lab/*.ko {links}/; depmod {other}")

    def chroot(*argv: str) -> list[str]:
        return ["chroot", str(root.path), *argv]

    def run(argv: list[str], input: bytes = b"") -> None:
        subprocess.run(argv, input=input, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)

    names = f"/lib/modules/{release}/extra/kmod-lab/labprov.ko\n/lib/modules/{release}/extra/kmod-lab/labcount.ko\n"
    trigger = chroot("/usr/libexec/hostward/scriptlet", "modules-changed")
    with_it = chroot("rpm", "-U", "--replacepkgs", package)
    without = chroot("rpm", "-U", "--replacepkgs", "--notriggers", package)
    sides: dict[str, list[float]] = {}
    asked = {
        "depmod -a KVER": lambda: run(chroot("depmod", "-a", release)),
        "the trigger's work": lambda: run(trigger, names.encode()),
        "rpm -U with it": lambda: run(with_it),
        "rpm -U without": lambda: run(without),
        "hostward scriptlet modules-removed": lambda: run(chroot("hostward", "scriptlet", "modules-removed")),
    }
    for name in asked:
        sides[name] = []
    for _ in range(RUNS):  # in turn, so that a busy machine hurts all alike
        for name, work_ in asked.items():
            sides[name] += timed(work_, 1)
    figures = {name: figure(taken) for name, taken in sides.items()}
    added = figures["rpm -U with it"].wall_s - figures["rpm -U without"].wall_s
    figures["added to the transaction"] = Figure(added, 0.0, 0.0)
    targets = {"the trigger's work": TARGET_RATIO, "added to the transaction": TARGET_RATIO}
    show(f"Transactions on a host with {len(ROLES)} kernels", figures, "depmod -a KVER", targets)
    for name in ("the trigger's work", "hostward scriptlet modules-removed"):
        worst = p95(sides[name])
        said = "met" if worst <= TARGET_P95_S else "MISSED"
        print(f"  {name}: 95th percentile of {len(sides[name])}: {worst:.2f} s  target {TARGET_P95_S:g} s: {said}")
    cold = []
    for _ in range(5):
        subprocess.run(["rm", "-rf", str(root.at("/var/cache/hostward"))], check=True)
        for file in root.at("/usr/lib/modules").glob("*/symvers.gz"):
            file.unlink()
        begun = time.perf_counter()
        run(chroot("hostward", "scriptlet", "modules-removed"))
        cold.append(time.perf_counter() - begun)
    print(f"  without symvers.gz and a cache, so that every image is inflated: worst of {len(cold)}: {max(cold):.2f} s")


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.chdir("/")
    main()
