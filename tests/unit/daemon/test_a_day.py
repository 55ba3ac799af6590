"""A day of 10,000 events in one process, by a clock that is set to and fro: memory and file stay as they are."""

from __future__ import annotations

import gc
import random
from pathlib import Path

import pytest

from hostward.daemon.memory import Memory
from hostward.host.moment import Moment
from hostward.host.state import TRANSITIONS_MAX, Run, State
from hostward.model import Finding, Outcome, Result, Severity

EVENTS = 10_000
CHECKS = [f"simulated.check-{number:02}" for number in range(25)]


class Recorder:
    """Counts what the journal gets; each message once, in the order of its number."""

    def __init__(self) -> None:
        self.count = 0
        self.away = False

    def send(self, message: str, fields: dict[str, str]) -> bool:
        if self.away:
            return False
        self.count += 1
        return True


def result(chance: random.Random, check: str) -> Result:
    """What a check may say: mostly nothing or what it said before, now and then that it can't see."""
    word = chance.choices(("passed", "found", "blind", "fault", "off"), (50, 40, 5, 3, 2))[0]
    if word == "found":
        findings = tuple(
            Finding(
                chance.choice((Severity.ERROR, Severity.WARNING)),
                f"module number {chance.randrange(3)} is off by {chance.random():.3f} s",
                subject=f"/lib/modules/{chance.randrange(4)}",
                evidence=tuple("a line that proves it " * 3 for _ in range(chance.randrange(12))),
                advice="Do what there is to be done about it. " * 5,
            )
            for _ in range(chance.randrange(1, 6))
        )
        return Result(check, "title", Outcome.FINDINGS, findings)
    outcome = {"passed": Outcome.PASSED, "blind": Outcome.SKIPPED, "fault": Outcome.FAILED, "off": Outcome.DISABLED}
    reason = "" if word == "passed" else f"reason {chance.randrange(5)}"
    return Result(check, "title", outcome[word], (), reason)


def resident_kb() -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))


@pytest.mark.slow
def test_a_day_of_events(tmp_path: Path) -> None:
    chance = random.Random(20261123)
    journal = Recorder()
    boot, up, at = 0, 10.0, 1_790_000_000.0
    size_max, resident, sizes = 0, 0, []
    place = tmp_path / "state"
    for event in range(EVENTS):
        up, at = up + 8.64, at + 8.64
        if chance.random() < 0.001:
            at = chance.choice((0.0, 4_102_444_800.0, 1_790_000_000.0))
        if chance.random() < 0.0005:
            boot, up = boot + 1, 5.0
        journal.away = 3000 < event < 3100
        moment = Moment(at, f"boot-{boot}", up)
        if event % 10 == 0:  # A child has a memory of its own; closing one waits for the disk, so not each time here.
            memory = Memory(State.at(str(place), keep_open=True), State.at(str(tmp_path / "run")))
        memory.merge([result(chance, chance.choice(CHECKS))], None, moment, tentative=chance.random() < 0.2)
        memory.close_run(Run(moment, 0.01, {"reason": f"event {event}", "summary": "x"}), {"units": ["a.service"]})
        memory.tell(journal, moment)  # type: ignore[arg-type]
        if event % 10 == 9:
            memory.close()
        if event % 500 == 0:
            sizes.append(Path(f"{place}/hostward.db").stat().st_size)
        if event == EVENTS // 5:
            gc.collect()
            resident = resident_kb()
    gc.collect()
    grown = resident_kb() - resident
    state = State.at(str(place))
    kept = state.transitions(limit=10 * EVENTS)
    size_max = max(p.stat().st_size for p in place.iterdir())
    print(f"{journal.count} messages, {len(kept)} transitions kept, {size_max / 1e6:.1f} MB, {grown} kB more resident")
    assert [t.id for t in kept] == list(range(kept[0].id, kept[0].id + len(kept)))
    assert kept[-1].id == journal.count, "each was told once"
    assert len(kept) == min(TRANSITIONS_MAX, journal.count)
    assert size_max < 24 << 20
    assert grown < 2048
    assert not (tmp_path / "run").exists(), "the other place was never needed"
    assert set(state.picture().standings) == set(CHECKS)
