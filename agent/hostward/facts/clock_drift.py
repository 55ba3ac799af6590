"""How fast the system clock runs away, from readings that each look at it leaves behind in a small history."""

from __future__ import annotations

from dataclasses import dataclass

from hostward.facts import fact
from hostward.facts.boot import Boot
from hostward.facts.clock_kernel import PtpReading, RtcReading, of_a_running_machine
from hostward.facts.clock_rate import Reading, rate_of
from hostward.host import Host, HostError
from hostward.host.history import ClockSample, History
from hostward.model import NotApplicable, Unavailable

DAY_S = 86400


@dataclass(frozen=True)
class Drift:
    """How the system clock runs against one `reference` ("hypervisor", "RTC", or "uncorrected" for
    CLOCK_MONOTONIC_RAW, against which what shows is the correction that is in force).

    `rate_ppm` is positive for a system clock that gains; the truth lies between `low_ppm` and `high_ppm`.
    """

    reference: str
    rate_ppm: float
    low_ppm: float
    high_ppm: float
    span_s: float
    readings: int
    steps: int

    @property
    def off_in_24h_s(self) -> float:
        return self.rate_ppm * 1e-6 * DAY_S


@dataclass(frozen=True)
class ClockDrift:
    """Best reference first.  `note` says what became of the history that was not as it should be."""

    drifts: tuple[Drift, ...]
    note: str = ""

    def against(self, reference: str) -> Drift | None:
        return next((drift for drift in self.drifts if drift.reference == reference), None)


@fact
def clock_drift(
    host: Host, boot: Boot | Unavailable, rtc: RtcReading | Unavailable, ptp: PtpReading | Unavailable
) -> ClockDrift:
    """Adds a reading to the history of this boot where that may be written, and tells the rates it shows.

    Raises NotApplicable under a root, in a container, where nothing can be read, and until there are two readings.
    """
    of_a_running_machine(host, boot)
    boot_id = host.text("/proc/sys/kernel/random/boot_id", 100).strip()
    now = _samples(boot_id, rtc, ptp)
    if not now:
        raise NotApplicable("neither an RTC nor a hypervisor's clock to compare with")
    history, notes = History.of_this_agent(), []
    try:
        samples = history.samples(boot_id)
    except HostError:
        samples = []
    try:
        notes += [said for said in (history.add(now),) if said]
    except HostError as error:
        notes.append(f"this reading is not kept: {error}")
    drifts = drifts_of([*samples, *now])
    if not drifts:
        raise NotApplicable("the first reading of this boot: a rate needs a second one, some minutes later")
    return ClockDrift(drifts, "; ".join(notes))


def _samples(boot_id: str, rtc: RtcReading | Unavailable, ptp: PtpReading | Unavailable) -> list[ClockSample]:
    found = []
    if not isinstance(ptp, Unavailable):
        found.append(ClockSample(boot_id, "hypervisor", ptp.realtime_ns, ptp.raw_ns, ptp.offset_s, ptp.uncertainty_s))
    if not isinstance(rtc, Unavailable):
        found.append(ClockSample(boot_id, "RTC", rtc.realtime_ns, rtc.raw_ns, -rtc.offset_s, rtc.uncertainty_s))
    return found


def drifts_of(samples: list[ClockSample]) -> tuple[Drift, ...]:
    """The rates that samples of one boot show."""
    found = []
    for reference in ("hypervisor", "RTC"):
        mine = [Reading(s.raw_ns / 1e9, s.ahead_s, s.bound_s) for s in samples if s.reference == reference]
        found += _drift(reference, mine)
    if samples:
        first = samples[0]
        between_s = 1e-6  # two clocks read one after the other
        found += _drift(
            "uncorrected",
            [
                Reading(
                    (s.raw_ns - first.raw_ns) / 1e9,
                    ((s.realtime_ns - first.realtime_ns) - (s.raw_ns - first.raw_ns)) / 1e9,
                    between_s,
                )
                for s in samples
            ],
        )
    return tuple(found)


def _drift(reference: str, readings: list[Reading]) -> list[Drift]:
    rate = rate_of(readings) if len(readings) > 1 else None
    if rate is None:
        return []
    return [Drift(reference, rate.rate_ppm, rate.low_ppm, rate.high_ppm, rate.span_s, rate.readings, rate.steps)]
