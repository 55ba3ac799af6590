"""When to judge: events are gathered until it is quiet, back-offs grow, samples of the clock grow rarer while it is
steady.  No clock is read here; every time is in seconds of one clock that never steps."""

from __future__ import annotations

from collections.abc import Iterable

#: How long after the last event of a kind it is quiet enough to judge, in seconds; 1 for all others.
QUIET_S = {"modules": 1.5, "packages": 2.0, "clock": 0.2}
_QUIET_S = 1.0
#: A stream of events that never ends is judged all the same after this long.
STREAM_S = 60.0
#: The first sample of the clock comes this long after a judgement; each that finds it steady doubles the interval.
SAMPLE_S = 900.0
UNSTEADY_S = 240.0
SAMPLE_MAX_S = 14_400.0
#: Everything is judged anew at least this often.
WHOLE_S = 86_400.0
#: How long to wait after a judgement that failed; doubled with each that follows.
FAILED_S = 10.0
_FAILED_MAX_S = 3600.0


class Schedule:
    """What is to be judged, and when next."""

    def __init__(self) -> None:
        self._pending: dict[str, None] = {}
        self._first = 0.0
        self._due = 0.0
        self._not_before = 0.0
        self._failures = 0
        self._whole_at: float | None = None
        self._sample_at: float | None = None
        self._sample_s = SAMPLE_S
        self._again_at: float | None = None

    def event(self, kind: str, now: float) -> None:
        """Something of this kind happened; "all" for what may be anything."""
        if not self._pending:
            self._first = now
            self._due = now
        self._pending[kind] = None
        self._due = max(self._due, now + QUIET_S.get(kind, _QUIET_S))
        if kind == "clock":
            self.unsteady(now)

    def unsteady(self, now: float) -> None:
        """The clock was set, or runs at another rate: look at it again soon."""
        self._sample_s = UNSTEADY_S
        if self._sample_at is not None:
            self._sample_at = min(self._sample_at, now + UNSTEADY_S)

    def next_at(self) -> float | None:
        """When there is something to do, None while nothing is planned."""
        times = [at for at in (self._whole_at, self._sample_at, self._again_at) if at is not None]
        if self._pending:
            times.append(min(self._due, self._first + STREAM_S))
        return max(min(times), self._not_before) if times else None

    def take(self, now: float) -> list[str]:
        """The kinds of events to judge now, [] for none yet.  What comes after this is for the next judgement."""
        at = self.next_at()
        if at is None or now < at:
            return []
        kinds = dict(self._pending)
        self._pending = {}
        for due, kind in ((self._whole_at, "all"), (self._again_at, "all"), (self._sample_at, "drift")):
            if due is not None and due <= now:
                kinds[kind] = None
        if "all" in kinds:
            self._again_at = None
        return ["all"] if "all" in kinds else list(kinds)

    def done(self, kinds: Iterable[str], now: float, again_s: float | None, changed: bool) -> None:
        """A judgement of these ended well.  `changed`: it found something else than the one before."""
        kinds = list(kinds)
        self._failures = 0
        self._not_before = 0.0
        if "all" in kinds:
            self._whole_at = now + WHOLE_S
        if again_s is not None:
            self._again_at = now + again_s
        if "drift" in kinds:
            self._sample_s = UNSTEADY_S if changed else min(self._sample_s * 2, SAMPLE_MAX_S)
        if "drift" in kinds or "all" in kinds or self._sample_at is None:
            self._sample_at = now + self._sample_s

    def failed(self, kinds: Iterable[str], now: float) -> float:
        """A judgement came to nothing: it is made again, later and later.  Returns in how many seconds."""
        wait_s = min(FAILED_S * (1 << self._failures), _FAILED_MAX_S)
        self._failures = min(self._failures + 1, 20)
        for kind in kinds:
            self.event(kind, now)
        self._not_before = now + wait_s
        return wait_s
