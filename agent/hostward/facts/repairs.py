"""What this agent has repaired: the journal, as far as checks have to know it."""

from __future__ import annotations

from dataclasses import dataclass

from hostward.facts import fact
from hostward.host import Host
from hostward.host.journal import Journal
from hostward.model import NotApplicable


@dataclass(frozen=True)
class Repair:
    """One repair of the journal.  `outcome` is how it ended, "" for one that a kill or a power cut interrupted.

    `findings` are the (check, subject) that it was for; `steps` how many of its steps were begun.
    """

    number: int
    remedy: str
    title: str
    outcome: str
    at: float
    boot: str
    steps: int
    findings: tuple[tuple[str, str], ...] = ()
    damage: str = ""


@dataclass(frozen=True)
class Repairs:
    """Newest first."""

    repairs: tuple[Repair, ...]
    boot: str

    @property
    def in_force(self) -> tuple[Repair, ...]:
        """Those that helped and were not undone."""
        return tuple(repair for repair in self.repairs if repair.outcome == "helped")


@fact
def repairs(host: Host) -> Repairs:
    """Raises NotApplicable under a root: its journal is not ours to judge by.  HostError where it can't be read."""
    if not host.live:
        raise NotApplicable("the journal of repairs belongs to the agent of the machine that runs")
    found = []
    for entry in Journal(f"{host.state_directory}/repairs").entries():
        first = entry.records[0] if entry.records else {}
        ends = entry.of_kind("end")
        found.append(
            Repair(
                entry.number,
                str(first.get("remedy", "")),
                str(first.get("title", "")),
                str(ends[-1].get("outcome", "")) if ends else "",
                float(first.get("at", 0.0)),
                str(first.get("boot", "")),
                len(entry.of_kind("intent")),
                tuple((str(check), str(subject)) for check, subject in first.get("findings", [])),
                entry.damage,
            )
        )
    return Repairs(tuple(found), host.text("/proc/sys/kernel/random/boot_id", 100).strip())
