"""Transactions: what the file trigger adds to one, beside the depmod that every kmod package runs, on a host with four
kernels; and how long the scriptlet takes there."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.lab import debs, modlab
from tests.lab.debs import NotAtHand
from tests.rpm import packages
from tests.rpm.packages import Package, build
from tests.rpm.root import Root

#: The first is the kernel that packages are built for: that of a server, with some 4,000 modules.
ROLES = ("F", "A", "B", "D")
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
    """A kmod package without scriptlets: all the time of its transaction is rpm's and the trigger's."""
    kernel = debs.kernel(ROLES[0])
    built = modlab.built(kernel)
    files = {f"/lib/modules/{kernel.release}/extra/kmod-lab/{n}.ko": built / f"{n}.ko" for n in ("labprov", "labcount")}
    return build([Package("kmod-lab", version, files=files)], work)[0]


def timed(run: Callable[[], None]) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


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
    release = debs.kernel(ROLES[0]).release
    one, two = root.copied([kmod(version, work / "built") for version in ("1", "2")])
    root.rpm("-U", distribution, hostward)
    assert root.sh(f"rpm -U {one}").status == 0
    for role in ROLES[1:]:  # as weak-modules does
        other = debs.kernel(role).release
        links = f"/lib/modules/{other}/weak-updates/kmod-lab"
        root.sh(f"mkdir -p {links}; ln -s /lib/modules/{release}/extra/kmod-lab/*.ko {links}/; depmod {other}")

    def inside(*argv: str, input: bytes = b"") -> Callable[[], None]:
        argv = ("chroot", str(root.path), *argv)

        def run() -> None:
            subprocess.run(argv, input=input, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)

        return run

    names = f"/lib/modules/{release}/extra/kmod-lab/labprov.ko\n/lib/modules/{release}/extra/kmod-lab/labcount.ko\n"
    erase = inside("rpm", "-e", "--notriggers", "kmod-lab")
    back = inside("rpm", "-U", "--oldpackage", "--notriggers", one)
    steps: list[tuple[str, Callable[[], None]]] = [
        ("depmod -a KVER", inside("depmod", "-a", release)),
        (
            "hostward scriptlet modules-changed",
            inside("hostward", "scriptlet", "modules-changed", input=names.encode()),
        ),
        ("hostward scriptlet modules-removed", inside("hostward", "scriptlet", "modules-removed")),
        ("", erase),
        ("install, without the triggers", inside("rpm", "-U", "--notriggers", one)),
        ("", erase),
        ("install, with the trigger", inside("rpm", "-U", one)),
        ("upgrade, without the triggers", inside("rpm", "-U", "--notriggers", two)),
        ("", back),
        ("upgrade, with both triggers", inside("rpm", "-U", two)),
        ("", back),
    ]
    taken: dict[str, list[float]] = {}
    for number in range(RUNS + 1):  # in turn, so that a busy machine hurts all alike; the first round warms up
        for name, step in steps:
            seconds = timed(step)
            if number and name:
                taken.setdefault(name, []).append(seconds)
    for how, ending in (("install", "the trigger"), ("upgrade", "both triggers")):
        without, with_ = taken[f"{how}, without the triggers"], taken[f"{how}, with {ending}"]
        taken[f"added to an {how}"] = [b - a for a, b in zip(without, with_)]
    print(
        f"Transactions on a host with {len(ROLES)} kernels, KVER {release}  "
        f"({len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f})"
    )
    base = statistics.median(taken["depmod -a KVER"])
    for name, samples in taken.items():
        wall = statistics.median(samples)
        ratio = wall / base
        verdict = "met" if ratio <= TARGET_RATIO else "MISSED"
        target = f"  target {TARGET_RATIO:g}: {verdict}" if name.startswith("added") else ""
        print(f"  {name.ljust(34)}  wall {wall * 1000:7.1f} ms  ratio {ratio:5.2f}{target}")
    for name in ("hostward scriptlet modules-changed", "hostward scriptlet modules-removed"):
        worst = p95(taken[name])
        said = "met" if worst <= TARGET_P95_S else "MISSED"
        print(f"  {name}: 95th percentile of {RUNS}: {worst:.2f} s  target {TARGET_P95_S:g} s: {said}")
    for what, pattern in (("symvers.gz is parsed", ""), ("every image is inflated", "*/symvers.gz")):
        cold = []
        for file in root.at("/usr/lib/modules").glob(pattern) if pattern else ():
            file.unlink()
        for _ in range(3):
            subprocess.run(["rm", "-rf", str(root.at("/var/cache/hostward"))], check=True)
            cold.append(timed(inside("hostward", "scriptlet", "modules-removed")))
        print(f"  without a cache, so that {what}: worst of {len(cold)}: {max(cold):.2f} s")


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.chdir("/")
    main()
