"""One full reading of the clock beside `chronyc -n tracking`, both in one run: CPU time and wall time of each.

The reading is what an agent that runs already pays: adjtimex, the clock source, a glance at the RTC without waiting
for its second to turn, the hypervisor's clock where there is one, /etc/adjtime. Where this machine has no RTC a file
stands for it, and the line says so. chronyc is Debian's, asking a chronyd of the bench's own that sets no clock.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hostward.facts import clock_kernel
from hostward.facts.boot import Boot
from hostward.host import Host, HostError
from hostward.host.clock import now
from hostward.host.rtc import Rtc
from hostward.model import Unavailable
from tests.bench.compare import compare, run_once, show
from tests.lab import debs

RUNS = 100
TARGET_S = 0.005


def reading(sys_rtc: str) -> None:
    """A full reading without the edge; what can't be had here costs what finding that out costs."""
    host = Host.running()
    boot = Boot((), "", "", "", "", "systemd", True)
    now()
    with Rtc(sys_rtc, "/dev/rtc0") as rtc:
        rtc.glance()
    for observe in (
        clock_kernel.kernel_clock,
        clock_kernel.clock_source,
        clock_kernel.ptp_reading,
        clock_kernel.adjtime_file,
    ):
        try:
            observe(host, boot)
        except (Unavailable, HostError):
            pass


def _cpu_s() -> float:
    """This process's, its children's too: where the TSC was given up, dmesg is asked why."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def in_process(what: Callable[[], None]) -> tuple[float, float, float]:
    """(median CPU s, median wall s, CPU s of the first)."""
    cpus, walls = [], []
    for _ in range(RUNS + 1):
        cpu, wall = _cpu_s(), time.perf_counter()
        what()
        cpus.append(_cpu_s() - cpu)
        walls.append(time.perf_counter() - wall)
    return statistics.median(cpus[1:]), statistics.median(walls[1:]), cpus[0]


def main() -> None:
    tree = debs.extract("chrony", "chrony") / "usr"
    with tempfile.TemporaryDirectory() as work:
        Path(work).chmod(0o755)
        conf = Path(work) / "chrony.conf"
        conf.write_text(f"port 0\ncmdport 11323\nbindcmdaddress /\npidfile {work}/pid\nlocal stratum 8\n")
        daemon = subprocess.Popen(
            [str(tree / "sbin/chronyd"), "-x", "-d", "-U", "-u", "root", "-f", str(conf)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            chronyc = [str(tree / "bin/chronyc"), "-n", "-h", "127.0.0.1", "-p", "11323", "tracking"]
            for _ in range(50):
                if subprocess.run(chronyc, capture_output=True).returncode == 0:
                    break
                time.sleep(0.1)
            else:
                sys.exit("the bench's chronyd does not answer: there is nothing to compare with")
            if os.path.exists("/sys/class/rtc/rtc0/since_epoch"):
                sys_rtc, by = "/sys/class/rtc/rtc0", "the RTC"
            else:
                sys_rtc, by = work, "a file for the RTC, which this machine lacks"
                (Path(work) / "since_epoch").write_text(f"{int(time.time())}\n")
            cpu_s, wall_s, first_s = in_process(lambda: reading(sys_rtc))
            tracked = [run_once(chronyc, {}) for _ in range(RUNS)]
            theirs = statistics.median(cpu for _, cpu, _ in tracked)
            verdict = "met" if cpu_s <= TARGET_S else "MISSED"
            print(f"A full clock reading, {RUNS} times, with {by}")
            print(
                f"  hostward  cpu {cpu_s * 1000:6.2f} ms  wall {wall_s * 1000:6.2f} ms"
                f"  (the first {first_s * 1000:.2f} ms cpu)  target {TARGET_S * 1000:g} ms cpu: {verdict}"
            )
            wall = statistics.median(wall for wall, _, _ in tracked)
            print(f"  chronyc -n tracking  cpu {theirs * 1000:6.2f} ms  wall {wall * 1000:6.2f} ms  (a process each)")
            print(f"  ratio of CPU time {cpu_s / theirs:.2f}")
            code = "import sys; sys.path.insert(0, 'agent'); from hostward.host.clock import adjtimex; adjtimex()"
            sides = {
                "chronyc -n tracking": chronyc,
                "python3 -I -c pass": [sys.executable, "-I", "-c", "pass"],
                "adjtimex in a new process": [sys.executable, "-I", "-c", code],
            }
            show("The same as whole processes", compare(sides, runs=15), base="chronyc -n tracking")
        finally:
            daemon.terminate()
            daemon.wait()


if __name__ == "__main__":
    main()
