"""The lab's disk: a small Debian with a real systemd and all the kernels at hand, built once per cache.

The cloud kernels have NVMe, ext4, the serial ports and the RTC built in, so root on an NVMe disk boots without an
initramfs; kvm and its vendor modules are modules.  The file system is filled by `mke2fs -d`: nothing is mounted.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import subprocess
from pathlib import Path

from tests.lab import debs
from tests.lab.debs import CACHE, NotAtHand

PACKAGES = (
    "systemd,systemd-sysv,udev,dbus,kmod,chrony,util-linux-extra,iproute2,python3,"
    "python3-psutil,python3-distro,python3-yaml,python3-systemd,rpm,strace"
)
SUITE = "bookworm"
#: Disk signature; the root is found by PARTUUID, as NVMe names follow the order devices are found in.
SIGNATURE = 0x1AB00001
#: Units that cost seconds under emulation and are nothing the lab looks at.
# fmt: off
MASKED = [
    "e2scrub_reap.service", "e2scrub_all.timer", "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer",
    "fstrim.timer", "getty.target", "systemd-logind.service", "systemd-pstore.service", "systemd-binfmt.service",
    "systemd-firstboot.service", "proc-sys-fs-binfmt_misc.automount", "sys-fs-fuse-connections.mount",
    "sys-kernel-tracing.mount", "sys-kernel-debug.mount", "dev-hugepages.mount", "dev-mqueue.mount",
    "modprobe@drm.service", "modprobe@dm_mod.service", "modprobe@efi_pstore.service", "modprobe@fuse.service",
    "modprobe@loop.service", "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service",
    "systemd-machine-id-commit.service", "systemd-repart.service", "systemd-pcrphase.service",
    "systemd-pcrphase-sysinit.service", "systemd-ask-password-console.path", "systemd-ask-password-wall.path",
]
# fmt: on

INIT = """\
#!/bin/sh
# PID 1: lay the injected tree over the root, then become systemd.
export PATH=/usr/sbin:/usr/bin
mount -t devtmpfs dev /dev
mount -t sysfs sys /sys
n=0
while [ $n -lt 100 ]; do
	for d in /sys/block/nvme*; do
		if [ "$(cat "$d/nsid" 2>/dev/null)" = 2 ] && [ -b "/dev/${d##*/}" ]; then
			tar -C / -xf "/dev/${d##*/}" --no-same-owner --keep-directory-symlink
			exec /usr/lib/systemd/systemd
		fi
	done
	n=$((n + 1))
	sleep 0.1
done
echo "lab: the second disk never came" >/dev/console
"""

SERVICE = """\
[Unit]
Description=The lab's line to the outside
After=multi-user.target
[Service]
Type=exec
ExecStart=/usr/bin/python3 -I /lab/line.py
"""

TARGET = """\
[Unit]
Description=Lab
Requires=multi-user.target
After=multi-user.target
Wants=lab.service
AllowIsolate=yes
"""

#: Answers requests on the second serial port: a line of JSON each way.
LINE = """\
import base64, json, os, subprocess, sys, termios, tty
fd = os.open("/dev/ttyS1", os.O_RDWR | os.O_NOCTTY)
tty.setraw(fd)
line = os.fdopen(fd, "rb+", buffering=0)
def say(message):
    data = json.dumps(message).encode() + b"\\n"
    while data:
        data = data[line.write(data):]
say({"ready": True})
buffer = b""
while True:
    while b"\\n" not in buffer:
        buffer += os.read(fd, 4096)
    request, buffer = buffer.split(b"\\n", 1)
    request = json.loads(request)
    try:
        done = subprocess.run(request["argv"], stdin=subprocess.DEVNULL, capture_output=True, cwd="/",
                              timeout=request["limit_s"])
        answer = {"status": done.returncode, "stdout": done.stdout, "stderr": done.stderr}
    except subprocess.TimeoutExpired as late:
        answer = {"status": 124, "stdout": late.stdout or b"", "stderr": (late.stderr or b"") + b"time limit\\n"}
    except OSError as error:
        answer = {"status": 127, "stdout": b"", "stderr": str(error).encode()}
    for stream in ("stdout", "stderr"):
        answer[stream] = base64.b64encode(answer[stream]).decode()
    say({"id": request["id"], **answer})
"""


def needs() -> None:
    """Raises NotAtHand naming what building or booting the image lacks here."""
    for program, what in (
        ("qemu-system-x86_64", "QEMU, to boot kernels"),
        ("mke2fs", "e2fsprogs, to make a disk"),
        ("depmod", "kmod, to index modules"),
    ):
        if shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin") is None:
            raise NotAtHand(f"{program} is not installed ({what})")


def built() -> Path:
    """The image, built when it is not there yet.  Raises NotAtHand."""
    needs()
    kernels = [debs.kernel(role) for role in debs.chosen()]
    text = "\0".join([PACKAGES, SUITE, *MASKED, INIT, SERVICE, TARGET, LINE, *(k.release for k in kernels)])
    image = CACHE / f"lab-{hashlib.sha256(text.encode()).hexdigest()[:16]}.img"
    with debs.locked("image"):
        if not image.is_file():
            for old in CACHE.glob("lab-*.img"):
                old.unlink()
            _build(image, kernels)
    return image


def _root_tar() -> Path:
    """A minimal Debian as a tar, by mmdebstrap."""
    tar = CACHE / f"root-{hashlib.sha256((SUITE + PACKAGES).encode()).hexdigest()[:16]}.tar"
    if not tar.is_file():
        if os.geteuid() != 0:
            raise NotAtHand("building the lab's root file system needs root")
        if shutil.which("mmdebstrap") is None:
            raise NotAtHand("mmdebstrap is not installed: the lab's root file system can't be built")
        part = tar.with_name("root-part.tar")
        debs._run(
            *("mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}"),
            *('--aptopt=Acquire::Languages "none"', "--dpkgopt=path-exclude=/usr/share/man/*"),
            *("--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/locale/*"),
            *(SUITE, str(part), *(str(p) for p in sorted(Path("/etc/apt/sources.list.d").glob("debian.sources")))),
        )
        part.rename(tar)
    return tar


def _build(image: Path, kernels: list[debs.Kernel]) -> None:
    tar = _root_tar()
    root = CACHE / "root.part"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    try:
        subprocess.run(["tar", "-C", str(root), "--numeric-owner", "-xf", str(tar)], check=True)
        for kernel in kernels:
            shutil.copytree(
                kernel.modules, root / "usr/lib/modules" / kernel.release, symlinks=True, ignore_dangling_symlinks=True
            )
            for extra in ("System.map", "config"):
                shutil.copy(kernel.tree / "boot" / f"{extra}-{kernel.release}", root / "boot")
            shutil.copy(kernel.image, root / "boot")
            subprocess.run(["/sbin/depmod", "-b", str(root), kernel.release], check=True)
        _fill(root)
        size_mib = int(subprocess.run(["du", "-sm", str(root)], capture_output=True, text=True).stdout.split()[0])
        _disk(root, image, size_mib * 12 // 10 + 256)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _fill(root: Path) -> None:
    """What makes a plain Debian tree the lab's."""
    files = {
        "etc/hostname": "lab\n",
        "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
        "etc/fstab": "/dev/root / ext4 defaults 0 0\n",
        "etc/systemd/journald.conf.d/lab.conf": "[Journal]\nStorage=volatile\n",
        "etc/systemd/system/lab.target": TARGET,
        "etc/systemd/system/lab.service": SERVICE,
        "lab/init": INIT,
        "lab/line.py": LINE,
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "lab/init").chmod(0o755)
    system = root / "etc/systemd/system"
    for unit in MASKED:
        (system / unit).unlink(missing_ok=True)
        (system / unit).symlink_to("/dev/null")
    (system / "default.target").unlink(missing_ok=True)
    (system / "default.target").symlink_to("lab.target")


def _disk(root: Path, image: Path, size_mib: int) -> None:
    """An MBR with one partition at 1 MiB that holds the tree."""
    part = image.with_suffix(".part")
    part.unlink(missing_ok=True)
    with open(part, "wb") as file:
        file.truncate((size_mib + 1) << 20)
    options = ["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-E", "nodiscard,offset=1048576"]
    mke2fs = ["/sbin/mke2fs", *options, "-d", str(root), str(part), f"{size_mib}M"]
    subprocess.run(mke2fs, check=True, capture_output=True)
    entry = struct.pack("<B3xB3xII", 0, 0x83, 2048, size_mib * 2048)
    with open(part, "r+b") as file:
        file.seek(440)
        file.write(struct.pack("<IH", SIGNATURE, 0) + entry)
        file.seek(510)
        file.write(b"\x55\xaa")
    part.rename(image)
