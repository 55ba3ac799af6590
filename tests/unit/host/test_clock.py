"""The doors to the clocks: what they read is what is there, asleep while they wait, and none of them sets anything."""

from __future__ import annotations

import calendar
import ctypes
import errno
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hostward.host import HostError, Missing, NotRegular, clock, ioctl, ptp, rtc
from tests.lab.debs import NotAtHand

AGENT = Path(__file__).parents[3] / "agent"


def test_a_pair_of_clocks_is_of_one_instant() -> None:
    first, second = clock.now(), clock.now()
    assert 0 <= first.bound_ns < 1_000_000
    # Both clocks went on by the same, to 500 ppm and the bounds.
    real, raw = second.realtime_ns - first.realtime_ns, second.raw_ns - first.raw_ns
    assert abs(real - raw) <= 0.0005 * raw + first.bound_ns + second.bound_ns
    assert first.realtime_at(first.raw_ns - 1000) == first.realtime_ns - 1000


def test_adjtimex_as_another_program_reads_it() -> None:
    """ntp_gettime(3) tells some of the same fields by another way of the C library."""

    class Ntp(ctypes.Structure):
        _fields_ = [
            *((name, ctypes.c_long) for name in ("sec", "usec", "maxerror", "esterror", "tai")),
            ("reserved", ctypes.c_long * 4),
        ]

    theirs = Ntp()
    ours = clock.adjtimex()
    state = ctypes.CDLL(None).ntp_gettimex(ctypes.byref(theirs))
    assert (ours.state, ours.esterror, ours.tai) == (state, theirs.esterror, theirs.tai)
    assert 0 <= theirs.maxerror - ours.maxerror < 1000  # it grows by 500 ppm
    assert 9000 <= ours.tick * clock.user_hz() / 100 <= 11000
    assert abs(ours.freq) <= 500 << 16


def test_struct_timex_is_as_long_as_the_kernel_has_it() -> None:
    assert ctypes.sizeof(clock._door()[1]) == (208 if ctypes.sizeof(ctypes.c_long) == 8 else 128)


def test_looking_leaves_the_frequency_and_the_offset() -> None:
    before = clock.adjtimex()
    for _ in range(100):
        clock.adjtimex()
    after = clock.adjtimex()
    assert (before.freq, before.tick, before.status, before.tai) == (after.freq, after.tick, after.status, after.tai)


EVERY_DOOR = """
import sys
sys.path.insert(0, sys.argv[1])
from hostward.host import HostError, clock, ptp, rtc
clock.now(); clock.adjtimex()
try: ptp.read("/dev/null")
except HostError: pass
with rtc.Rtc(sys.argv[2], "/dev/null") as sysfs: sysfs.glance(); sysfs.turn()
with rtc.Rtc("/none", "/dev/null") as device:
    try: device.turn()
    except HostError: pass
"""


def test_no_door_sets_a_clock(turning: Callable[..., str]) -> None:
    """As the kernel sees it: strace shows adjtimex with no mode, ioctls that read, and none of the calls that set."""
    if shutil.which("strace") is None:
        raise NotAtHand("strace is not installed: it shows which system calls the doors to the clocks make")
    watched = "open,openat,ioctl,adjtimex,clock_adjtime,clock_settime,settimeofday"
    argv = [
        "strace",
        "-f",
        "--seccomp-bpf",
        "-e",
        f"trace={watched}",
        sys.executable,
        "-I",
        "-c",
        EVERY_DOOR,
        str(AGENT),
        turning(0.0),
    ]
    done = subprocess.run(argv, capture_output=True, text=True)
    if "ptrace" in done.stderr and done.returncode:
        raise NotAtHand("strace may not trace here")
    assert done.returncode == 0, done.stderr[-2000:]
    calls = re.findall(r"^(?:\[pid +\d+\] )?(\w+)\((.*)", done.stderr, re.M)
    names = {name for name, _ in calls}
    assert not names & {"clock_settime", "settimeofday"}
    told = [words for name, words in calls if name in ("adjtimex", "clock_adjtime")]
    assert told and all("modes=0" in words for words in told)
    asked = [words for name, words in calls if name == "ioctl" and "/dev/null" not in words]
    assert any("PTP_SYS_OFFSET" in words for words in asked) and any("RTC_RD_TIME" in words for words in asked)
    assert not [
        words for words in asked if re.search(r"RTC_(SET|ALM_SET|WKALM_SET|EPOCH_SET|PLL_SET|PARAM_SET)", words)
    ]
    opened = [words for name, words in calls if name in ("open", "openat") and re.search(r"null|since_epoch", words)]
    assert opened and all("O_RDONLY" in words for words in opened)


@pytest.fixture
def turning(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """turning(ahead_s): a directory whose since_epoch shows whole seconds of a clock that is so far ahead."""
    end = threading.Event()
    threads = []

    def start(ahead_s: float, rate: float = 1.0, jump_after_s: float | None = None, jump_s: int = 0) -> str:
        fd = os.open(tmp_path / "since_epoch", os.O_CREAT | os.O_RDWR)
        begun = time.time()

        def shown() -> float:
            now = time.time()
            jumped = jump_s if jump_after_s is not None and now - begun > jump_after_s else 0
            return begun + (now - begun) * rate + ahead_s + jumped

        os.pwrite(fd, b"%d\n" % shown(), 0)

        def run() -> None:
            while not end.is_set():
                now = shown()
                end.wait(max(0.0, (int(now) + 1 - now) / rate) if rate else 0.1)
                os.pwrite(fd, b"%d\n" % shown(), 0)

        thread = threading.Thread(target=run)
        thread.start()
        threads.append(thread)
        return str(tmp_path)

    yield start
    end.set()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("ahead_s", [0.0, 1.7, 3600.25, -28800.9])
def test_an_rtc_is_read_at_the_turn_of_its_second(turning: Callable[..., str], ahead_s: float) -> None:
    with rtc.Rtc(turning(ahead_s), "/dev/null") as clockwork:
        wall, cpu = time.monotonic(), time.process_time()
        read = clockwork.turn()
        wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    measured = read.shown_s - read.at.realtime_ns / 1e9
    assert read.bound_s < 0.02
    # The thread that plays the clock is itself late by what the scheduler takes.
    assert measured == pytest.approx(ahead_s, abs=read.bound_s + 0.01)
    assert 0.9 < wall < 5
    assert cpu < 0.03 * wall, "it sleeps"


def test_what_it_claims_holds_on_a_machine_that_sleeps_too_long(
    turning: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sleeps of a third of a second too many hide the turn; the bound grows, and holds the truth all the same."""
    sleep, calls = time.sleep, iter(range(10_000))

    def late(seconds: float) -> None:
        number = next(calls)
        sleep(seconds + (0.35 if number % 7 == 3 or seconds > 0.9 else 0.0))

    monkeypatch.setattr(time, "sleep", late)
    with rtc.Rtc(turning(1.7), "/dev/null") as clockwork:
        read = clockwork.turn()
    measured = read.shown_s - read.at.realtime_ns / 1e9
    assert abs(measured - 1.7) <= read.bound_s + 0.01


def test_a_glance_does_not_wait_and_says_so(turning: Callable[..., str]) -> None:
    with rtc.Rtc(turning(5.0), "/dev/null") as clockwork:
        begun = time.monotonic()
        read = clockwork.glance()
        assert time.monotonic() - begun < 0.1
    assert abs(read.shown_s - read.at.realtime_ns / 1e9 - 5.0) <= read.bound_s
    assert 0.5 <= read.bound_s < 0.6


def test_an_rtc_that_stands_still(turning: Callable[..., str]) -> None:
    with rtc.Rtc(turning(0.0, rate=0.0), "/dev/null") as clockwork, pytest.raises(HostError, match="stands still"):
        clockwork.turn()


def test_an_rtc_that_is_set_meanwhile(turning: Callable[..., str]) -> None:
    jumping = turning(0.0, jump_after_s=0.3, jump_s=7200)
    with rtc.Rtc(jumping, "/dev/null") as clockwork, pytest.raises(HostError, match="it was set"):
        clockwork.turn()


@pytest.mark.parametrize("content", [b"", b"garbage\n", b"\xff\xfe", b"12x"])
def test_an_rtc_with_no_time_in_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "since_epoch").write_bytes(content)
    with rtc.Rtc(str(tmp_path), "/dev/rtc9") as clockwork, pytest.raises(HostError, match="no valid date"):
        clockwork.glance()


def test_no_rtc_at_all(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="no RTC that the kernel knows"):
        rtc.Rtc(str(tmp_path / "rtc0"), str(tmp_path / "dev-rtc0"))


def test_a_fifo_where_the_device_should_be_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ptp0")
    with pytest.raises(NotRegular):
        ptp.read(str(tmp_path / "ptp0"))
    with pytest.raises(HostError):
        rtc.Rtc(str(tmp_path / "none"), str(tmp_path / "ptp0"))


def test_a_device_that_is_no_clock() -> None:
    with pytest.raises(HostError, match="no PTP clock"):
        ptp.read("/dev/null")
    with rtc.Rtc("/none", "/dev/null") as device, pytest.raises(HostError, match=os.strerror(errno.ENOTTY)):
        device.seconds()
    with pytest.raises(Missing):
        ptp.read("/dev/ptp63")


def test_numbers_of_ioctls_as_the_headers_have_them() -> None:
    """linux/rtc.h and linux/ptp_clock.h, compiled on x86_64."""
    if os.uname().machine.startswith(("ppc", "mips", "sparc", "alpha")):
        pytest.skip("another architecture's numbers")
    told = (rtc.RTC_RD_TIME, ptp.PTP_SYS_OFFSET, ptp.PTP_SYS_OFFSET_PRECISE, ptp.PTP_SYS_OFFSET_EXTENDED)
    assert told == (0x80247009, 0x43403D05, 0xC0403D08, 0xC4C03D09)


def test_numbers_of_ioctls_on_powerpc(monkeypatch: pytest.MonkeyPatch) -> None:
    class Uname:
        machine = "ppc64le"

    monkeypatch.setattr(os, "uname", Uname)
    assert ioctl.number(ioctl.READ, "p", 9, 36) == 0x40247009
    assert ioctl.number(ioctl.WRITE, "=", 5, 832) == 0x83403D05
    assert ioctl.number(ioctl.READ | ioctl.WRITE, "=", 8, 64) == 0xC0403D08


def test_the_narrowest_of_the_samples_counts() -> None:
    samples = [(0, 1500, 1000), (2000, 2600, 2100), (3000, 3900, 5000), (9000, 9500, 8000)]
    assert ptp.narrowest(samples) == (2050 - 2600, 50)


@pytest.mark.parametrize(
    ("zone", "local", "utc"),
    [
        ("Europe/Berlin", "2026-07-01 12:00:00", "2026-07-01 10:00:00"),
        ("Europe/Berlin", "2026-11-23 12:00:00", "2026-11-23 11:00:00"),
        ("Europe/Berlin", "2026-10-25 02:30:00", "2026-10-25 00:30:00"),  # comes twice; the first
        ("America/St_Johns", "2026-11-23 00:00:00", "2026-11-23 03:30:00"),
        ("UTC", "2026-11-23 00:00:00", "2026-11-23 00:00:00"),
    ],
)
def test_local_time_of_an_rtc(zone: str, local: str, utc: str) -> None:
    file = Path("/usr/share/zoneinfo") / zone
    if not file.is_file():
        raise NotAtHand("tzdata is not installed: no time zones to try")

    def seconds(text: str) -> float:
        return float(calendar.timegm(time.strptime(text, "%Y-%m-%d %H:%M:%S")))

    assert clock.as_utc(seconds(local) + 0.25, file.read_bytes()) == seconds(utc) + 0.25
    assert clock.as_utc(seconds(local), b"") == seconds(local)


@pytest.mark.parametrize("zone", [b"no tzfile", b"TZif", b"TZif2" + bytes(15) + b"\xff" * 24, bytes(100)])
def test_a_broken_time_zone_is_a_value_error(zone: bytes) -> None:
    with pytest.raises(ValueError):
        clock.as_utc(0.0, zone)
