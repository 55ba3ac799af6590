"""The clock as the kernel and the hardware have it: adjtimex, the clock source, the RTC, the hypervisor's clock."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from hostward.facts import fact
from hostward.facts.boot import Boot
from hostward.facts.clock_services import RtcMode, not_in_a_container
from hostward.host import Host, HostError, Missing
from hostward.model import NotApplicable, Unavailable

#: Bits of timex.status, by their place (include/uapi/linux/timex.h).
_STATUS = (
    *("STA_PLL", "STA_PPSFREQ", "STA_PPSTIME", "STA_FLL", "STA_INS", "STA_DEL", "STA_UNSYNC", "STA_FREQHOLD"),
    *("STA_PPSSIGNAL", "STA_PPSJITTER", "STA_PPSWANDER", "STA_PPSERROR"),
    *("STA_CLOCKERR", "STA_NANO", "STA_MODE", "STA_CLK"),
)
_STATES = ("TIME_OK", "TIME_INS", "TIME_DEL", "TIME_OOP", "TIME_WAIT", "TIME_ERROR")
_SOURCES = "/sys/devices/system/clocksource/clocksource0"
#: How the drivers of hypervisors' clocks name them in clock_name (drivers/ptp/ptp_{kvm_common,vmw}.c,
#: drivers/hv/hv_util.c, drivers/net/ethernet/amazon/ena).
_HYPERVISORS = ("KVM virtual PTP", "hyperv", "ptp_vmw", "ena-ptp")
_DEVICES_MAX = 64
#: arch/x86/kernel/tsc.c and tsc_sync.c, kernel/time/clocksource.c.
_UNSTABLE = re.compile(r"Marking TSC unstable|Marking clocksource 'tsc[^']*' as unstable|Clocksource tsc unstable")


@dataclass(frozen=True)
class KernelClock:
    """What adjtimex(2) says.  `synchronised`: STA_UNSYNC is clear, which a keeper that stopped leaves so for hours.

    `offset_s` is what the kernel's own loop still has to slew, not how far the clock is off; `esterror_s` and
    `maxerror_s` are the keeper's word, the latter growing by 500 ppm since.  `frequency_ppm` is the correction in
    force, positive for a clock that is made to run faster, as freq has it; a keeper beyond 500 ppm turns `tick_us`
    too, and `correction_ppm` is both.  `tai_offset_s` is 0 where nobody told the kernel.
    """

    synchronised: bool
    status_flags: tuple[str, ...]
    state: str
    offset_s: float
    esterror_s: float
    maxerror_s: float
    frequency_ppm: float
    tai_offset_s: int
    tick_us: int
    correction_ppm: float


@dataclass(frozen=True)
class ClockSource:
    """What the kernel counts time by.  `tsc_unstable`: it gave the TSC up; None on a processor without one.

    `why` is the kernel's own line where its log still has it, else what shows it.
    """

    current: str
    available: tuple[str, ...]
    tsc_unstable: bool | None
    why: str


@dataclass(frozen=True)
class RtcReading:
    """`offset_s` is the RTC minus the system clock, the RTC taken as UTC or local time as RtcMode says (`local`).

    `realtime_ns` and `raw_ns` are CLOCK_REALTIME and CLOCK_MONOTONIC_RAW at the turn of the second that was read.
    """

    offset_s: float
    uncertainty_s: float
    device: str
    local: bool
    realtime_ns: int
    raw_ns: int


@dataclass(frozen=True)
class PtpReading:
    """`offset_s` is this machine's system clock minus its hypervisor's, to within `uncertainty_s`; `by` the ioctl."""

    device: str
    clock_name: str
    offset_s: float
    uncertainty_s: float
    by: str
    realtime_ns: int
    raw_ns: int


@dataclass(frozen=True)
class AdjtimeFile:
    """/etc/adjtime (hwclock(8), adjtime_config(5)): `mode` "UTC", "LOCAL" or "" where its third line is missing.

    `drift_s_per_day` is what hwclock found the RTC to lose a day (it adds that much); `last_adjusted_s` and
    `last_calibrated_s` are seconds since the epoch, 0 for never.
    """

    mode: str
    drift_s_per_day: float
    last_adjusted_s: int
    last_calibrated_s: int


def of_a_running_machine(host: Host, boot: Boot | Unavailable) -> None:
    """Raises NotApplicable under a root and in a container, neither of which has a clock."""
    if not host.live:
        raise NotApplicable("this tree is not running, so it has no clock")
    not_in_a_container(boot)


@fact
def kernel_clock(host: Host, boot: Boot | Unavailable) -> KernelClock:
    """Raises NotApplicable under a root and in a container."""
    of_a_running_machine(host, boot)
    from hostward.host.clock import adjtimex, user_hz

    timex = adjtimex()
    flags = tuple(name for place, name in enumerate(_STATUS) if timex.status >> place & 1)
    frequency = timex.freq / 65536
    nominal = 1_000_000 / user_hz()
    return KernelClock(
        "STA_UNSYNC" not in flags,
        flags,
        _STATES[timex.state] if timex.state < len(_STATES) else f"state {timex.state}",
        timex.offset / (1e9 if "STA_NANO" in flags else 1e6),
        timex.esterror / 1e6,
        timex.maxerror / 1e6,
        frequency,
        timex.tai,
        timex.tick,
        frequency + (timex.tick - nominal) / nominal * 1e6,
    )


@fact
def clock_source(host: Host, boot: Boot | Unavailable) -> ClockSource:
    """Raises NotApplicable under a root and in a container, Missing on kernels before 2.6.16."""
    of_a_running_machine(host, boot)
    current = host.text(f"{_SOURCES}/current_clocksource", 4096).strip()
    path = f"{_SOURCES}/available_clocksource"
    available = tuple(host.text(path, 4096).split())
    match = re.search(r"^flags\s*:(.*)$", host.text("/proc/cpuinfo", 16 << 20), re.M)
    flags = match.group(1).split() if match else []
    if "tsc" not in flags:
        return ClockSource(current, available, None, "/proc/cpuinfo has no flag tsc")
    shown = " ".join(flag for flag in flags if "tsc" in flag.split("_") and flag not in ("tsc_deadline_timer",))
    if "tsc" in available:
        # An unstable one loses CLOCK_SOURCE_VALID_FOR_HRES and is not listed any more (kernel/time/clocksource.c).
        return ClockSource(current, available, False, f"{path} has tsc; flags: {shown}")
    return ClockSource(current, available, True, _given_up(host) or f"{path} has no tsc; flags: {shown}")


def _given_up(host: Host) -> str:
    """The kernel's line on why it gave up the TSC; "" where its log can't be read or has lost it."""
    try:
        log = host.run(["dmesg", "--notime"], timeout_s=2.0).stdout
    except HostError:
        return ""
    lines = [line.strip() for line in log.splitlines() if _UNSTABLE.search(line)]
    reasons = [line for line in lines if "due to" in line or "because" in line]
    return (reasons or lines or [""])[0]


@fact
def rtc_reading(host: Host, boot: Boot | Unavailable, mode: RtcMode) -> RtcReading:
    """Waits for the turn of the RTC's second, asleep, for two seconds at most on a machine that isn't busy.

    Raises NotApplicable under a root, in a container and where there is no RTC; HostError where it can't be read.
    """
    of_a_running_machine(host, boot)
    from hostward.host.clock import as_utc
    from hostward.host.rtc import Rtc

    name = _rtc(host)
    try:
        rtc = Rtc(f"/sys/class/rtc/{name}", f"/dev/{name}")
    except Missing as missing:
        raise NotApplicable(str(missing)) from None
    with rtc:
        read = rtc.turn()
    shown = read.shown_s
    if mode.local:
        try:
            shown = as_utc(shown, _zone(host))
        except ValueError as error:
            raise Unavailable(f"/etc/localtime: {error}; the RTC keeps local time, and which is not known") from None
    offset = shown - read.at.realtime_ns / 1e9
    return RtcReading(offset, read.bound_s, read.device, mode.local, read.at.realtime_ns, read.at.raw_ns)


def _rtc(host: Host) -> str:
    """The RTC that the kernel set the system clock from, else rtc0; "rtc" for kernels without a class for them."""
    try:
        names = [name for name in host.names("/sys/class/rtc")[:_DEVICES_MAX] if re.fullmatch(r"rtc\d+", name)]
    except HostError:
        names = []
    for name in names:
        if _line(host, f"/sys/class/rtc/{name}/hctosys") == "1":
            return name
    if "rtc0" in names or not names:
        return "rtc0" if names or host.exists("/dev/rtc0") or not host.exists("/dev/rtc") else "rtc"
    return names[0]


def _zone(host: Host) -> bytes:
    """The time zone's tzfile(5); empty without one, which means UTC (localtime(5))."""
    try:
        return host.read("/etc/localtime", 1 << 20)
    except Missing:
        return b""


@fact
def ptp_reading(host: Host, boot: Boot | Unavailable) -> PtpReading:
    """Raises NotApplicable under a root, in a container, and where no PTP clock is a hypervisor's."""
    of_a_running_machine(host, boot)
    from hostward.host.ptp import read

    try:
        names = [name for name in host.names("/sys/class/ptp")[:_DEVICES_MAX] if re.fullmatch(r"ptp\d+", name)]
    except Missing:
        names = []
    clocks = [(name, _line(host, f"/sys/class/ptp/{name}/clock_name")) for name in names]
    ours = [(name, clock) for name, clock in clocks if clock.startswith(_HYPERVISORS)]
    if not ours:
        others = ", ".join(f"{name} is {clock!r}" for name, clock in clocks)
        raise NotApplicable(f"no PTP clock of a hypervisor: {others or '/sys/class/ptp has none'}")
    name, clock = ours[0]
    found = read(f"/dev/{name}")
    at = found.at
    return PtpReading(found.device, clock, found.offset_s, found.bound_s, found.by, at.realtime_ns, at.raw_ns)


@fact
def adjtime_file(host: Host, boot: Boot | Unavailable) -> AdjtimeFile:
    """Raises NotApplicable in a container and where there is no such file, Unavailable for one hwclock can't read."""
    not_in_a_container(boot)
    path = "/etc/adjtime"
    try:
        lines = host.text(path, 64 << 10).splitlines()
    except Missing:
        raise NotApplicable(f"{path} does not exist: hwclock never wrote the RTC's drift down") from None
    first = (lines[0] if lines else "").split()
    try:
        drift, adjusted = float(first[0]), float(first[1]) if len(first) > 1 else 0.0
        calibrated = float(lines[1]) if len(lines) > 1 and lines[1].strip() else 0.0
        if not all(math.isfinite(number) for number in (drift, adjusted, calibrated)):
            raise ValueError
    except (IndexError, ValueError):
        raise Unavailable(f"{path}: is not as hwclock(8) writes it, with drift, times and UTC or LOCAL") from None
    mode = lines[2].strip() if len(lines) > 2 else ""
    if mode not in ("UTC", "LOCAL", ""):
        raise Unavailable(f"{path}: its third line is neither UTC nor LOCAL but {mode[:40]!r}")
    return AdjtimeFile(mode, drift, int(adjusted), int(calibrated))


def _line(host: Host, path: str) -> str:
    try:
        return host.text(path, 4096).strip()
    except HostError:
        return ""
