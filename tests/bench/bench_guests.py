"""2,000 guests on one host: the full check of guests and known issues, whole processes, time and memory.

The definitions are the corpus of tests/hosts/domains.py as libvirt would store it, padded with the devices that
libvirt adds, each guest with a name, UUID and MAC address of its own. The host is a RHEL 5.6 tree, so that every
check of guests has its release; once more as RHEL 8.4, whose known issues are matched by their paths. Where there is a
libvirt, the same number of guests is asked of it.
"""

from __future__ import annotations

import os
import re
import statistics
import sys
import tempfile
import time
import uuid
from pathlib import Path

from tests.bench.compare import run_once
from tests.hosts.domains import CASES, Case, rhel56
from tests.lab.libvirt_room import Room, lacking

REPOSITORY = Path(__file__).parents[2]
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


def through_libvirt() -> None:
    """The same check through a libvirtd of the bench's own that has as many guests."""
    if lacking():
        print(f"  through libvirt: left out, it needs {lacking()}")
        return
    with Room() as room, tempfile.TemporaryDirectory() as work:
        for number in range(GUESTS):
            case = Case(f"guest-{number:04}", _USUAL.replace("DISK", f"/srv/{number}"), machine="pc-q35-7.2")
            (Path(work) / f"{case.name}.xml").write_text(case.xml())
        room.run(
            [
                "sh",
                "-c",
                f"kill $(pidof libvirtd); sleep 1; cp {work}/*.xml /etc/libvirt/qemu; libvirtd >/run/log 2>&1 &",
            ]
        )
        for _ in range(300):
            if (
                room.run(["virsh", "-q", "-c", "qemu:///system", "list", "--all", "--name"]).stdout.count("guest-")
                == GUESTS
            ):
                break
            time.sleep(0.5)
        else:
            sys.exit(f"libvirtd did not load its guests: {room.run(['cat', '/run/log']).stdout[-500:]}")
        argv = ["nsenter", "-t", str(room.pid), "-m", "-n", "-p", "--", sys.executable, "-m", "hostward", "check"]
        env = {"PYTHONPATH": str(REPOSITORY / "agent"), "PATH": os.environ["PATH"]}
        said = room.run([sys.executable, "-m", "hostward", "facts", "Guests"], env).stdout
        assert said.count("uri: qemu:///system") == GUESTS, said[:500]
        runs = [run_once([*argv, "--format", "json", "guests.*", "known-issues.*"], env) for _ in range(RUNS)]
        walls, cpus, peaks = zip(*runs)
        wall = statistics.median(walls)
        verdict = "met" if wall <= TARGET_S else "MISSED"
        print(
            f"  through libvirt: the full guest check wall {wall:5.2f} s  cpu {statistics.median(cpus):5.2f} s"
            f"  peak {max(peaks):.0f} MiB  target {TARGET_S:g} s: {verdict}"
        )


_USUAL = (
    "<emulator>/usr/bin/qemu-system-x86_64</emulator><interface type='user'>MAC<model type='virtio'/></interface>"
    "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='DISK.img'/>"
    "<target dev='vda' bus='virtio'/></disk><video><model type='virtio'/></video><graphics type='vnc'/>"
)


def main() -> None:
    with tempfile.TemporaryDirectory() as work:
        root = Path(work)
        tree = rhel56(root, definitions())
        # an old qemu-kvm, so that every issue of RHEL 8 concerns the host and is looked for in every guest
        tree.file(
            "/var/lib/dpkg/status",
            "Package: qemu-kvm-core\nStatus: install ok installed\nVersion: 15:2.12.0-1.el8\n\n",
        )
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
    through_libvirt()


if __name__ == "__main__":
    main()
