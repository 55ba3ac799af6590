"""A libvirtd of a test's own: in namespaces where /run, /etc/libvirt and libvirt's other directories are its own.

    with Room() as room:
        room.virsh("define", "/tmp/guest.xml")
        room.run([sys.executable, "-m", "hostward", "check", "guests.*"])

Nothing of it touches the machine's own libvirt, and rooms do not see each other, their processes included. The guests
are emulated (type='qemu'), as there may be no /dev/kvm. Wants root, util-linux, libvirtd and qemu.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

_SCRIPT = """
set -eu
mount -t tmpfs none /run
for d in /etc/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt; do mkdir -p $d; mount -t tmpfs none $d; done
mkdir -p /run/libvirt /etc/libvirt/qemu
cat >/etc/libvirt/libvirtd.conf <<END
auth_unix_ro = "none"
auth_unix_rw = "none"
END
cat >/etc/libvirt/qemu.conf <<END
user = "root"
group = "root"
dynamic_ownership = 0
security_driver = "none"
stdio_handler = "file"
cgroup_controllers = []
namespaces = []
END
ip link set lo up || true
trap 'exit 0' TERM
libvirtd >"$ROOM_LOG" 2>&1 &
while :; do wait || true; sleep 0.2; done
"""
#: Where a machine's own programs are; a venv's python stays the tests' own.
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def lacking() -> str:
    """What this machine lacks for a room, "" when nothing."""
    if os.geteuid() != 0:
        return "root, for namespaces of its own"
    missing = [
        p for p in ("unshare", "nsenter", "libvirtd", "virsh", "qemu-system-x86_64") if not shutil.which(p, path=_PATH)
    ]
    if missing:
        return ", ".join(missing)
    tried = subprocess.run(["unshare", "-m", "-n", "-p", "--fork", "true"], capture_output=True, text=True)
    return f"permission for namespaces: {tried.stderr.strip()}" if tried.returncode else ""


class Room:
    """`virsh` and `run` are inside it; files outside /run and libvirt's directories are the machine's."""

    def __init__(self) -> None:
        self._work = Path(tempfile.mkdtemp(prefix="libvirt-room-"))
        self.log = self._work / "libvirtd.log"
        self._unshare: subprocess.Popen[bytes] | None = None
        self.pid = 0

    def __enter__(self) -> Room:
        self._unshare = subprocess.Popen(
            ["unshare", "-m", "-n", "-p", "--fork", "--mount-proc", "--kill-child", "sh", "-c", _SCRIPT],
            env={"PATH": _PATH, "ROOM_LOG": str(self.log), "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self._unshare.poll() is not None:
                break
            children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children").read_text().split()
            self.pid = int(children[0]) if children else 0
            if self.pid and self.run(["virsh", "-c", "qemu:///system", "uri"]).returncode == 0:
                return self
            time.sleep(0.2)
        said = self.log.read_text() if self.log.exists() else ""
        self.__exit__(None, None, None)
        raise RuntimeError(f"libvirtd did not come up in its room: {said[-2000:]}")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._unshare is not None:
            if self.pid:
                try:
                    os.kill(self.pid, signal.SIGKILL)  # init of its namespace: everything in it dies with it
                except ProcessLookupError:
                    pass
            self._unshare.kill()
            self._unshare.wait()
        shutil.rmtree(self._work, ignore_errors=True)

    def run(
        self,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        timeout_s: float = 120,
        input: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program inside."""
        return subprocess.run(
            ["nsenter", "-t", str(self.pid), "-m", "-n", "-p", "--", *argv],
            env={"PATH": _PATH, "LC_ALL": "C", "HOME": "/root", **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            input=input,
        )

    def virsh(self, *arguments: str) -> str:
        """What virsh says.  Raises AssertionError with its words when it fails."""
        done = self.run(["virsh", "-q", "-c", "qemu:///system", *arguments])
        assert done.returncode == 0, f"virsh {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def define(self, xml: str, validate: bool = False) -> str:
        """Defines a domain, its XML on standard input; "" or why libvirt refuses it."""
        words = ["virsh", "-q", "-c", "qemu:///system", "define", *(["--validate"] if validate else []), "/dev/stdin"]
        done = self.run(words, input=xml)
        return done.stderr.strip() if done.returncode else ""
