"""A second libvirtd in a test's room, for guests to be migrated to: its own files and domains, another host's UUID."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from subprocess import CompletedProcess

from tests.lab.libvirt_room import Room

URI = "qemu+tcp://127.0.0.1:16510/system"
_SCRIPT = """
mkdir /run/second
for d in /run/libvirt /etc/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt; do
    cp -a $d/. /run/second/; mount -t tmpfs none $d
    case $d in /etc/libvirt) cp -a /run/second/. $d/ ;; esac
    rm -rf /run/second/* /run/second/.[!.]*
done
rm -f /etc/libvirt/qemu/*.xml
cat >/etc/libvirt/libvirtd.conf <<END
auth_unix_ro = "none"
auth_unix_rw = "none"
listen_tls = 0
listen_tcp = 1
auth_tcp = "none"
tcp_port = "16510"
host_uuid = "11111111-2222-4333-8444-555555555555"
END
echo $$ >/run/second.shell
exec libvirtd --listen --pid-file /run/second.pid >/run/second.log 2>&1
"""


class Destination:
    """Where guests of the room can go; /run but for libvirt's part of it is common to both."""

    def __init__(self, room: Room) -> None:
        self.room = room
        room.run(["tee", "/run/second.sh"], input=_SCRIPT)
        room.run(["sh", "-c", "setsid unshare -m sh /run/second.sh </dev/null >/dev/null 2>&1 &"])
        deadline = time.monotonic() + 60
        while room.run(["virsh", "-c", URI, "uri"]).returncode:
            assert time.monotonic() < deadline, room.run(["cat", "/run/second.log"]).stdout[-2000:]
            time.sleep(0.2)
        self._pid = room.run(["cat", "/run/second.shell"]).stdout.strip()

    def run(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> CompletedProcess[str]:
        """Runs a program that sees the destination's files and its libvirtd."""
        return self.room.run(["nsenter", "-t", self._pid, "-m", "--", *argv], env)

    def migrate(self, name: str) -> tuple[bool, str]:
        """Migrates a running guest of the room here: (whether it came, what virsh said)."""
        here = ["--live", name, URI, "--migrateuri", "tcp://127.0.0.1:49200"]
        done = self.room.run(["virsh", "-c", "qemu:///system", "migrate", *here])
        return done.returncode == 0, done.stderr

    def names(self) -> list[str]:
        """The guests that run here."""
        return self.room.run(["virsh", "-c", URI, "list", "--name"]).stdout.split()
