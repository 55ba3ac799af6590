"""A guest small enough for emulation with a real guest agent: Debian's kernel and qemu-ga, busybox for the rest.

Its whole system is an initramfs made from those packages; nothing keeps its clock, which its kernel's command line sets
off by as much as a test wants (`clockoff=SECONDS`).
"""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from pathlib import Path

from tests.hosts.cpiowriter import Entry, archive, directory, link
from tests.lab import debs
from tests.lab.debs import NotAtHand

_MODULES = ("virtio_pci", "virtio_console")
_INIT = """#!/bin/sh
export PATH=/bin:/sbin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for m in MODULES; do insmod /modules/$m || echo "lab: $m does not load"; done
for word in $(cat /proc/cmdline); do
    case $word in clockoff=*) date -s "@$(( $(date +%s) + ${word#clockoff=} ))" ;; esac
done
n=0
while [ ! -e /dev/vport0p1 ] && [ ! -e /dev/vport1p1 ] && [ $n -lt 100 ]; do n=$((n + 1)); sleep 0.1; done
while :; do qemu-ga -m virtio-serial -p /dev/vport*p1 -t /run; echo "lab: the agent ended"; sleep 1; done
"""


def built(where: Path) -> tuple[Path, Path]:
    """(kernel, initramfs) of the guest; the initramfs is written below `where`.  Raises NotAtHand."""
    kernel = debs.kernel("D")
    agent = debs.extract("qemu-guest-agent", "qemu-guest-agent") / "usr/sbin/qemu-ga"
    busybox = shutil.which("busybox")
    if busybox is None:
        raise NotAtHand("busybox, for the guest's programs, is not installed")
    entries = [directory(name) for name in ("bin", "sbin", "proc", "sys", "dev", "run", "modules", "lib", "lib64")]
    entries += [_program("bin/busybox", Path(busybox)), _program("bin/qemu-ga", agent)]
    applets = ("sh", "mount", "insmod", "cat", "date", "sleep", "echo")
    entries += [link(f"bin/{name}", "busybox") for name in applets] + [link("sbin/hwclock", "/bin/busybox")]
    said = subprocess.run(["ldd", str(agent)], capture_output=True, text=True).stdout
    if "not found" in said:
        raise NotAtHand(f"the guest agent's libraries are not installed: {said}")
    for path in re.findall(r"(/\S+) \(0x", said):
        below = "lib64" if path.startswith("/lib64/") else "lib"
        entries.append(_program(f"{below}/{Path(path).name}", Path(path).resolve()))
    modules = _in_order(kernel.modules)
    entries += [_program(f"modules/{path.name}", path) for path in modules]
    init = _INIT.replace("MODULES", " ".join(path.name for path in modules))
    entries.append(Entry("init", stat.S_IFREG | 0o755, init.encode()))
    initramfs = where / "agent-guest.cpio"
    initramfs.write_bytes(archive(entries))
    return kernel.image, initramfs


def definition(name: str, kernel: Path, initramfs: Path, clock_off_s: int = 0) -> str:
    """A domain with a channel for its agent; its console is written to /run/NAME.log."""
    return (
        f"<domain type='qemu'><name>{name}</name><memory unit='MiB'>192</memory><vcpu>1</vcpu>"
        f"<os><type arch='x86_64' machine='pc'>hvm</type><kernel>{kernel}</kernel><initrd>{initramfs}</initrd>"
        f"<cmdline>console=ttyS0 quiet clockoff={clock_off_s}</cmdline></os><features><acpi/></features><devices>"
        f"<serial type='file'><source path='/run/{name}.log'/></serial>"
        "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
        "</devices></domain>"
    )


def _program(name: str, path: Path) -> Entry:
    return Entry(name, stat.S_IFREG | 0o755, path.read_bytes())


def _in_order(modules: Path) -> list[Path]:
    """The modules and what they need, in the order to load them."""
    files = {path.name[:-3].replace("-", "_"): path for path in modules.rglob("*.ko")}
    found: list[Path] = []

    def add(name: str) -> None:
        path = files.get(name.replace("-", "_"))
        if path is None or path in found:
            return  # built in
        said = subprocess.run(["/sbin/modinfo", "-F", "depends", str(path)], capture_output=True, text=True).stdout
        for needed in said.strip().split(","):
            if needed:
                add(needed)
        found.append(path)

    for name in _MODULES:
        add(name)
    return found
