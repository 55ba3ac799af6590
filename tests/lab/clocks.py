"""The truth about a lab machine's clocks, taken from outside it.

The RTC is watched through QEMU's monitor (QMP, the machine's rtc-time, polled for the turn of its second), the
guest's system clock by exchanges of time stamps over QEMU's own network, the shortest of many as NTP does it. Both
are told against this machine's clock, so that their difference is what an agent inside ought to measure.
"""

from __future__ import annotations

import calendar
import json
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.lab.debs import Kernel, NotAtHand
from tests.lab.machine import Content, Guest, prepare

HOST = "10.0.2.2"  # this machine, as QEMU's user network has it
_NTP_EPOCH = 2_208_988_800  # seconds from 1900 to 1970
#: Run inside: exchanges stamps with the host, sets the clock right if asked, prints guest minus host and half the trip.
EXCHANGE = r"""
import json, socket, struct, sys, time
line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
line.connect((sys.argv[1], int(sys.argv[2])))
line.settimeout(2)
def measure(n=60):
    best = None
    for number in range(n):
        sent = time.time_ns()
        line.send(struct.pack("!Q", number))
        try:
            while True:
                data = line.recv(16)
                got = time.time_ns()
                if struct.unpack("!QQ", data)[0] == number:
                    break
        except socket.timeout:
            continue
        theirs = struct.unpack("!QQ", data)[1]
        if best is None or got - sent < best[0]:
            best = (got - sent, (sent + got) // 2 - theirs)
        time.sleep(0.005)
    return best
if len(sys.argv) > 3:
    for _ in range(2):
        trip, ahead = measure()
        time.clock_settime_ns(time.CLOCK_REALTIME, time.clock_gettime_ns(time.CLOCK_REALTIME) - ahead)
trip, ahead = measure()
print(json.dumps([ahead / 1e9, trip / 2e9]))
"""


def ptp_module(kernel: Kernel) -> bytes:
    """modules/labptp.c, compiled for a kernel: a PTP clock that is a known time ahead.  Raises NotAtHand."""
    for program in ("make", "gcc", "strip"):
        if shutil.which(program) is None:
            raise NotAtHand(f"{program} is not installed: the lab's PTP clock can't be built")
    with tempfile.TemporaryDirectory(prefix="hostward-ptp-") as work:
        shutil.copy(Path(__file__).parent / "modules" / "labptp.c", work)
        (Path(work) / "Kbuild").write_text("obj-m := labptp.o\n")
        argv = ["make", "-s", "-C", str(kernel.headers), f"M={work}", "modules"]
        done = subprocess.run(argv, capture_output=True, text=True)
        if done.returncode:
            raise NotAtHand(f"the lab's PTP clock can't be built for {kernel.release}: {done.stderr.strip()[-300:]}")
        subprocess.run(["strip", "--strip-debug", f"{work}/labptp.ko"], check=True)
        return (Path(work) / "labptp.ko").read_bytes()


@dataclass(frozen=True)
class Truth:
    """How far a clock was ahead of another one, in seconds, to within `bound_s`."""

    ahead_s: float
    bound_s: float


class ClockedGuest(Guest):
    """A machine whose RTC starts `rtc_ahead_s` ahead of this one's clock, to a tenth of a second or two."""

    def __init__(
        self,
        role: str = "A",
        rtc_ahead_s: float = 0.0,
        files: Mapping[str, Content] | None = None,
        append: str = "",
        base: str = "",
    ) -> None:
        self._work = tempfile.TemporaryDirectory(prefix="hostward-clocks-")
        monitor = f"{self._work.name}/qmp"
        self._answering = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._answering.bind(("127.0.0.1", 0))
        self.port: int = self._answering.getsockname()[1]
        threading.Thread(target=self._answer, daemon=True).start()
        prepare(role)
        # QEMU takes whole seconds only, and its RTC starts with them a while after its process: so start it in time.
        start_s = time.time() + _STARTS_S + rtc_ahead_s
        whole = int(start_s) + 1
        packed = dict(files or {})
        packed["/lab/exchange.py"] = EXCHANGE
        if not base:
            base = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
            time.sleep(whole - start_s)
        rtc = f"base={base},clock=host"
        net = ("-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0")
        super().__init__(role, packed, append, ("-rtc", rtc, "-qmp", f"unix:{monitor},server=on,wait=off", *net))
        self._monitor = socket.socket(socket.AF_UNIX)
        self._monitor.connect(monitor)
        self._lines = self._monitor.makefile("rw")
        self._lines.readline()
        self._ask("qmp_capabilities")
        self.must(
            "modprobe virtio_net; udevadm settle; n=$(basename $(dirname /sys/class/net/e*/address | head -1));"
            " ip link set $n up && ip addr add 10.0.2.15/24 dev $n"
        )

    def _answer(self) -> None:
        """Sends each request back with this machine's time; to NTP's (RFC 5905) it answers as a server of stratum 1."""
        while True:
            try:
                data, sender = self._answering.recvfrom(512)
                now = time.time_ns()
                if len(data) >= 48:
                    stamp = ((now // 10**9 + _NTP_EPOCH) << 32 | (now % 10**9 << 32) // 10**9).to_bytes(8, "big")
                    head = struct.pack("!BBBbII4s", data[0] & 0x38 | 4, 1, data[2], -20, 66, 66, b"LAB\0")
                    self._answering.sendto(head + stamp + data[40:48] + stamp + stamp, sender)
                    continue
                self._answering.sendto(data + now.to_bytes(8, "big"), sender)
            except OSError:
                return

    def _ask(self, command: str, **arguments: str) -> object:
        self._lines.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._lines.flush()
        while True:
            answer = json.loads(self._lines.readline())
            if "return" in answer:
                return answer["return"]
            assert "error" not in answer, answer

    def _rtc(self) -> int:
        words = self._ask("qom-get", path="/machine", property="rtc-time")
        assert isinstance(words, dict)
        year, month = words["tm_year"] + 1900, words["tm_mon"] + 1
        return calendar.timegm((year, month, words["tm_mday"], words["tm_hour"], words["tm_min"], words["tm_sec"]))

    def rtc_ahead(self) -> Truth:
        """The RTC against this machine's clock: the narrowest of a few turns of its second."""
        found = []
        for _ in range(4):
            old = self._rtc()
            while True:
                before = time.time()
                shown = self._rtc()
                after = time.time()
                if shown != old:
                    break
                last = before
                time.sleep(0.002)
            found.append(Truth(shown - (last + after) / 2, (after - last) / 2))
        return min(found, key=lambda truth: truth.bound_s)

    def clock_ahead(self, set_right: bool = False) -> Truth:
        """The guest's system clock against this machine's; first set right if asked."""
        words = ("set",) if set_right else ()
        done = self.argv("python3", "-I", "/lab/exchange.py", HOST, str(self.port), *words)
        assert done.status == 0, done.stderr
        ahead, bound = json.loads(done.stdout)
        return Truth(ahead, bound)

    def __enter__(self) -> ClockedGuest:
        return self

    def close(self) -> None:
        super().close()
        self._answering.close()
        self._work.cleanup()


#: From the last look at the clock to the start of the RTC, as measured here (0.1 to 0.3 s).
_STARTS_S = 0.15
