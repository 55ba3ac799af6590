"""2,000 guests on one host: the full check of guests and known issues, whole processes, time and memory.

The definitions are the corpus of tests/hosts/domains.py as libvirt would store it, padded with the devices that
libvirt adds, each guest with a name, UUID and MAC address of its own. The host is a RHEL 5.6 tree, so that every
check of guests has its release; once more as RHEL 8.4, whose known issues are matched by their paths.
"""

from __future__ import annotations

import os
import re
import statistics
import sys
import tempfile
import uuid
from pathlib import Path

from tests.bench.compare import run_once
from tests.hosts.domains import CASES, rhel56

GUESTS = 2000
RUNS = 5
TARGET_S = 2.0
_PORT = (
    "<controller type='pci' index='{n}' model='pcie-root-port'>\n      <model name='pcie-root-port'/>\n      "
    "<target chassis='{n}' port='0x{n:x}'/>\n      <alias name='pci.{n}'/>\n      <address type='pci' domain='0x0000' "
    "bus='0x00' slot='0x02' function='0x{n:x}'/>\n    </controller>\n    "
)
_PADDING = "".join(_PORT.format(n=n) for n in range(1, 15))


def definitions() -> dict[str, str]:
    """About 5 KiB each, as libvirt's own are."""
    found = {}
    for number in range(GUESTS):
        case = CASES[number % len(CASES)]
        name = f"guest-{number:04}-{case.name}"
        own = str(uuid.uuid4())
        xml = case.xml().replace(f"<name>{case.name}<", f"<name>{name}<").replace("</devices>", f"{_PADDING}</devices>")
        xml = re.sub(r"<uuid>.*?</uuid>", f"<uuid>{own}</uuid>", xml)
        mac = f"52:54:01:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"
        found[name] = re.sub(r"<mac address='[^']*'/>", f"<mac address='{mac}'/>", xml).replace(
            "/srv/", f"/srv/{number}/"
        )
    return found


def measure(root: Path, words: list[str]) -> tuple[float, float, float]:
    """(median wall s, median CPU s, peak MiB) of whole processes."""
    argv = [sys.executable, "-m", "hostward", "check", "--root", str(root), "--format", "json", *words]
    env = {"PYTHONPATH": "agent", "PATH": os.environ["PATH"]}
    runs = [run_once(argv, env) for _ in range(RUNS)]
    walls, cpus, peaks = zip(*runs)
    return statistics.median(walls), statistics.median(cpus), max(peaks)


def main() -> None:
    with tempfile.TemporaryDirectory() as work:
        root = Path(work)
        rhel56(root, definitions())
        size = sum(path.stat().st_size for path in (root / "etc/libvirt/qemu").iterdir())
        print(f"{GUESTS} guests, {size / GUESTS / 1024:.1f} KiB of XML each")
        for release, text in (
            ("RHEL 5.6", "Red Hat Enterprise Linux Server release 5.6 (Tikanga)\n"),
            ("RHEL 8.4", "Red Hat Enterprise Linux release 8.4 (Ootpa)\n"),
        ):
            (root / "etc/redhat-release").write_text(text)
            for what, words in (
                ("the full guest check", ["guests.*", "known-issues.*"]),
                ("one check of guests", ["guests.emulated-nic"]),
            ):
                wall, cpu, peak = measure(root, words)
                verdict = "met" if wall <= TARGET_S else "MISSED"
                print(
                    f"  {release}: {what:<22} wall {wall:5.2f} s  cpu {cpu:5.2f} s  peak {peak:.0f} MiB"
                    f"  target {TARGET_S:g} s: {verdict}"
                )


if __name__ == "__main__":
    main()
