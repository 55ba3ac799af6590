"""Whether guests' clocks are their host's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hostward.checks import check
from hostward.model import Finding, Issue, Severity, Unavailable

if TYPE_CHECKING:
    from hostward.config import Config
    from hostward.facts.guest_clocks import GuestClock, GuestClocks
    from hostward.facts.keepers import KeeperStates


@check(
    "clock.guest-off",
    title="the clocks of running guests are their host's",
    references=[Issue("kubevirt/kubevirt", 2842)],
)
def guest_off(clocks: GuestClocks, keepers: KeeperStates | Unavailable, config: Config) -> Iterator[Finding]:
    """A guest that was paused, saved or migrated goes on from where its clock stopped, and one without a keeper stays
    behind by that for ever. The guest agent tells the guest's time; it is compared with this host's, and judged only
    where the difference is larger than what the asking itself took. Guests without an agent can't be seen.

    Both clocks can be the wrong one: the finding says whether this host's own is kept.
    """
    kept = () if isinstance(keepers, Unavailable) else keepers.synchronised
    own = f"this host's clock is kept by {kept[0].keeper}" if kept else "nothing is known to keep this host's own clock"
    unclear = []
    for clock in clocks.clocks:
        if clock.beyond(config.clock_guest_offset_s):
            way = "behind" if clock.offset_s < 0 else "ahead of"
            yield Finding(
                Severity.WARNING,
                f"the clock of {clock.guest} is {_words(abs(clock.offset_s))} {way} its host's",
                subject=clock.guest,
                evidence=(
                    f"virDomainGetTime: {clock.offset_s:+.6f} s, give or take {clock.uncertainty_s:.6f} s "
                    f"(limit {config.clock_guest_offset_s:g} s)",
                    *_began(clock),
                    own,
                ),
                advice="Have a keeper in the guest (chronyd with ptp_kvm, or NTP); set its clock now with "
                "`hostward fix`, or as this host resumes guests (virsh domtime --now).",
                remedies=("guests.set-clock",),
            )
        elif abs(clock.offset_s) + clock.uncertainty_s > config.clock_guest_offset_s:
            unclear.append(f"{clock.guest} took {2 * clock.uncertainty_s:.3f} s to answer, too long to tell")
    unclear += [f"{guest}: {why}" for guest, why in clocks.silent]
    if unclear:
        more = f" and {len(unclear) - 3} more" if len(unclear) > 3 else ""
        raise Unavailable(f"not every guest's clock could be read: {'; '.join(unclear[:3])}{more}")


def _words(seconds: float) -> str:
    return f"{seconds:.3f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes" if seconds < 7200 else _long(seconds)


def _long(seconds: float) -> str:
    return f"{seconds / 3600:.0f} hours" if seconds < 172_800 else f"{seconds / 86400:.0f} days"


def _began(clock: GuestClock) -> Iterator[str]:
    if clock.began or clock.since:
        when = f" {clock.since}" if clock.since else ""
        yield f"libvirt: it runs since it was {clock.began or 'started'}{when}"
