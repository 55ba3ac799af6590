"""What the daemon costs while nothing happens: its parent with all its sources, for WATCH_BENCH_S seconds (120).

Targets of ten idle minutes: at most 2 wake-ups a minute, at most 0.1 s CPU, at most 25 MB of memory.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
#: The real daemon, but for the judgement, which answers at once: what it costs is no cost of being idle.
PROGRAM = """
import os, sys
from hostward.daemon.loop import Daemon
from hostward.daemon.sources import Sources
from hostward.host import dbus

if not os.path.exists(dbus.SYSTEM_BUS):
    Sources.connect = lambda self, now: True

def work(task):
    return {"status": "nothing wrong; judged", "severity": "ok", "again_s": None,
            "watch": {"trees": ["/lib/modules"], "directories": ["/etc", "/boot"], "files": ["/etc/adjtime"],
                      "units": ["chrony.service"], "kinds": {}}}

sys.exit(Daemon({}, work).run())
"""


def figures(pid: int) -> tuple[float, int, float]:
    """CPU in s, wake-ups (voluntary context switches), memory in MB of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text()
    number = {}
    for name in ("voluntary_ctxt_switches", "VmRSS"):
        found = re.search(rf"^{name}:\s+(\d+)", status, re.M)
        assert found
        number[name] = int(found.group(1))
    cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return cpu_s, number["voluntary_ctxt_switches"], number["VmRSS"] * 1024 / 1e6


def main() -> None:
    seconds = float(os.environ.get("WATCH_BENCH_S", "120"))
    with tempfile.TemporaryDirectory() as top:
        heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        heard.bind(f"{top}/notify")
        heard.settimeout(20)
        # As the unit has it: WatchdogSec=3min.
        environment = {"NOTIFY_SOCKET": f"{top}/notify", "WATCHDOG_USEC": "180000000"}
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, **environment, "PYTHONPATH": str(REPOSITORY / "agent")},
            stderr=subprocess.DEVNULL,
        )
        try:
            while b"STATUS=nothing wrong" not in heard.recv(65536):
                pass
            time.sleep(2)
            cpu, wakes, _ = figures(process.pid)
            time.sleep(seconds)
            cpu2, wakes2, memory = figures(process.pid)
        finally:
            process.terminate()
            process.wait()
    if not Path("/run/dbus/system_bus_socket").exists():
        print("no system bus here: systemd's signals are left out (tests/lab measures with them, HOSTWARD_FULL=1)")
    a_minute = (wakes2 - wakes) / seconds * 60
    print(f"the daemon at rest, {seconds:.0f} s:")
    print(f"  wake-ups     {a_minute:6.2f} a minute   target 2   {'met' if a_minute <= 2 else 'MISSED'}")
    ten = (cpu2 - cpu) / seconds * 600
    print(f"  CPU          {ten:6.2f} s in 10 min target 0.1 {'met' if ten <= 0.1 else 'MISSED'}")
    print(f"  memory       {memory:6.1f} MB         target 25  {'met' if memory <= 25 else 'MISSED'}")


if __name__ == "__main__":
    main()
