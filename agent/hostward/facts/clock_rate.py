"""How fast one clock runs away from another: a rate in ppm and its interval, from readings over time.

Each reading comes with a bound on its own error, and the interval never claims to know more than the
readings do.  Steps of the reference (an RTC that the kernel wrote, a host whose clock was set) split the
series: the rate is common to all parts, each part has its own offset.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PPM = 1e-6
#: Readings that are no better than this are an RTC's whole seconds.  Their error is not random: read at a fixed
#: phase it is the same each time, so only the bounds count and averaging proves nothing.
GRAIN_S = 0.2
#: No oscillator of a computer is worse; more than this between two readings is a step, whatever the median says.
WORST_PPM = 2000.0
#: What the rate of a good oscillator may change by between two readings (temperature), in ppm.
_WANDER_PPM = 1.0
#: No rate is claimed to be known better than this (one sigma): what a machine's warmth alone does within minutes.
_UNSTEADY_PPM = 0.03
#: What two readings of one clock may differ by for no reason, in seconds.
_JITTER_S = 20e-6
#: More readings than this are thinned before all pairs are looked at.
_PAIRS_OF = 160


@dataclass(frozen=True)
class Reading:
    """One clock against another: `x_s` is how far it is ahead, right to within `bound_s`, at `t_s`."""

    t_s: float
    x_s: float
    bound_s: float


@dataclass(frozen=True)
class Rate:
    """`rate_ppm` is positive for a clock that gains.  The interval holds the truth 19 times in 20, or for
    certain where it comes from bounds alone (`by` says "least squares" or "bounds")."""

    rate_ppm: float
    low_ppm: float
    high_ppm: float
    span_s: float
    readings: int
    steps: int
    by: str


def rate_of(readings: Sequence[Reading]) -> Rate | None:
    """The rate that a series shows, or None where no two readings of it belong together.

    The slope is weighted least squares with an offset for each part between steps.  Its interval takes each
    reading's own bound as a uniform error, or the scatter about the line where that is larger, and adds what an
    unsteady frequency does to a line.  A series of whole seconds is judged by the slopes that its bounds allow.
    """
    whole = split(sorted(readings, key=lambda r: r.t_s))
    parts = [part for part in whole if len(part) > 1]
    used = [reading for part in parts for reading in part]
    if not used:
        return None
    span_s = max(part[-1].t_s - part[0].t_s for part in parts)
    by = "least squares"
    found: tuple[float, float, float] | None = None
    if any(reading.bound_s >= GRAIN_S for reading in used):
        found, by = _by_bounds(parts), "bounds"
    if found is None:
        found, by = _least_squares(parts), "least squares"
    slope, low, high = found
    return Rate(slope / PPM, low / PPM, high / PPM, span_s, len(used), len(whole) - 1, by)


def split(ordered: Sequence[Reading]) -> list[list[Reading]]:
    """The parts of a series between its steps.  A lone wild reading becomes a part of its own."""
    parts = _cut(ordered, 0.0, 0.0, WORST_PPM * PPM)
    for _ in range(3):  # each time the slope is less spoilt by steps, and smaller ones show
        slope = _middle_slope(parts)
        if slope is None:
            break
        jumps = [
            (abs(b.x_s - a.x_s - slope * (b.t_s - a.t_s)), a.bound_s + b.bound_s)
            for part in parts
            for a, b in zip(part, part[1:])
        ]
        # Where half of all neighbours differ by more than their bounds, the bounds are not to be trusted.
        lie = _median([jump - bounds for jump, bounds in jumps]) > 0
        scatter_s = 5 * 1.4826 * _median([jump for jump, _ in jumps]) if lie else 0.0
        cut = _cut(ordered, slope, scatter_s, _WANDER_PPM * PPM)
        if len(cut) == len(parts):
            return cut
        parts = cut
    return parts


def _cut(ordered: Sequence[Reading], slope: float, scatter_s: float, slack: float) -> list[list[Reading]]:
    """Cuts where two neighbours lie further from `slope` than bounds, scatter and `slack` (a rate) explain."""
    parts: list[list[Reading]] = []
    for reading in ordered:
        if parts:
            last = parts[-1][-1]
            passed_s = reading.t_s - last.t_s
            jump_s = abs(reading.x_s - last.x_s - slope * passed_s)
            usual_s = max(last.bound_s + reading.bound_s, scatter_s)
            if passed_s > 0 and jump_s <= usual_s + _JITTER_S + slack * passed_s:
                parts[-1].append(reading)
                continue
        parts.append([reading])
    return parts


def _middle_slope(parts: Sequence[Sequence[Reading]]) -> float | None:
    """Theil and Sen's median of the slopes of pairs, each counted by how long it lasts, so that noise over short
    times does not outvote the rest.  None where no part has a pair."""
    pairs: list[tuple[float, float]] = []
    for part in parts:
        thin = _thinned(part)
        count = len(thin)
        for lag in sorted({1, 2, 3, *range(4, max(count * 3 // 4, 5), max(count // 12, 1))}):
            for a, b in zip(thin, thin[lag:]):
                passed_s = b.t_s - a.t_s
                pairs.append(((b.x_s - a.x_s) / passed_s, passed_s))
    pairs.sort()
    half = sum(weight for _, weight in pairs) / 2
    for slope, weight in pairs:
        half -= weight
        if half <= 0:
            return slope
    return None


def _by_bounds(parts: Sequence[Sequence[Reading]]) -> tuple[float, float, float] | None:
    """The slopes of all lines that pass within every reading's bound; None where there is no such line."""
    low, high = -1.0, 1.0
    for part in parts:
        thin = _thinned(part)
        for i, a in enumerate(thin):
            for b in thin[i + 1 :]:
                passed_s, risen_s, room_s = b.t_s - a.t_s, b.x_s - a.x_s, a.bound_s + b.bound_s
                low = max(low, (risen_s - room_s) / passed_s)
                high = min(high, (risen_s + room_s) / passed_s)
    return ((low + high) / 2, low, high) if low <= high else None


def _least_squares(parts: Sequence[Sequence[Reading]]) -> tuple[float, float, float]:
    """(slope, low, high): one slope, an offset for each part, weights from the bounds."""
    sxx = sxy = 0.0
    centred: list[tuple[float, float, float]] = []  # weight, t, x about their part's weighted mean
    for part in parts:
        weights = [3.0 / max(r.bound_s, 1e-9) ** 2 for r in part]  # a uniform error of +-b has variance b^2/3
        total = sum(weights)
        t0, x0 = part[0].t_s, part[0].x_s
        t_mean = sum(w * (r.t_s - t0) for w, r in zip(weights, part)) / total
        x_mean = sum(w * (r.x_s - x0) for w, r in zip(weights, part)) / total
        for w, r in zip(weights, part):
            t, x = r.t_s - t0 - t_mean, r.x_s - x0 - x_mean
            centred.append((w, t, x))
            sxx += w * t * t
            sxy += w * t * x
    slope = sxy / sxx
    free = len(centred) - len(parts) - 1
    chi2 = sum(w * (x - slope * t) ** 2 for w, t, x in centred)
    # Readings that scatter as their bounds say: their errors are known.  More: the scatter is what is known.
    known = free < 1 or chi2 / free <= 1.0
    variance = (1.0 if known else chi2 / free) / sxx + _wander(max(parts, key=len), slope)
    variance += (_UNSTEADY_PPM * PPM) ** 2
    spread = (1.96 if known else _student(free)) * variance**0.5
    return slope, slope - spread, slope + spread


def _wander(part: Sequence[Reading], slope: float) -> float:
    """What an unsteady frequency adds to the slope's variance: a random walk of the offset, told from errors of
    reading by growing with the time between two readings.  A line through a walk of q s^2/s over T s has the
    variance 6q/5T."""
    far = len(part) // 3
    if far < 2:
        return 0.0
    (near_v, near_s), (far_v, far_s) = (_growth(part, slope, lag) for lag in (1, far))
    if far_s <= near_s or far_v <= near_v * (1 + 1 / len(part) ** 0.5):
        return 0.0
    # The fitted line takes a part of the walk with it, and q is known from few walks only: thrice, for both.
    return 3 * 1.2 * (far_v - near_v) / (far_s - near_s) / (part[-1].t_s - part[0].t_s)


def _growth(part: Sequence[Reading], slope: float, lag: int) -> tuple[float, float]:
    """Mean square of what readings `lag` apart differ by beside the slope, and their mean distance in time."""
    pairs = list(zip(part, part[lag:]))
    square = sum((b.x_s - a.x_s - slope * (b.t_s - a.t_s)) ** 2 for a, b in pairs) / len(pairs)
    return square, sum(b.t_s - a.t_s for a, b in pairs) / len(pairs)


def _student(free: int) -> float:
    """The two-sided 95 % quantile of Student's t (the Cornish-Fisher expansion is good to 1 % from 3 on)."""
    if free < 3:
        return {1: 12.706, 2: 4.303}[free]
    z = 1.95996
    return z + (z**3 + z) / (4 * free) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2) + 3.4 / free**3


def _thinned(part: Sequence[Reading]) -> Sequence[Reading]:
    """At most _PAIRS_OF readings of a part, the first and the last among them."""
    count = len(part)
    if count <= _PAIRS_OF:
        return part
    return [part[i * (count - 1) // (_PAIRS_OF - 1)] for i in range(_PAIRS_OF)]


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 2] if ordered else 0.0
