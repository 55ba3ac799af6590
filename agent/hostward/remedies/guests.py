"""Remedies for guests: only on request, as only a person knows what a guest bears."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostward.facts.guest_os import slow_cards
from hostward.model import Remedy, RepairClass, SetGuestClock, SetNicModel, Unavailable
from hostward.remedies import NoRemedy, remedy

if TYPE_CHECKING:
    from hostward.config import Config
    from hostward.facts.guest_clocks import GuestClocks
    from hostward.facts.guests import Guests
    from hostward.facts.keepers import KeeperStates


@remedy(
    "guests.nic-model",
    title="give guests a better network card in their stored definitions",
    at_most=RepairClass.ON_REQUEST,
)
def nic_model(guests: Guests) -> Remedy:
    """virtio where the guest's system has the driver, else e1000 or e1000e; never for a system without any of them."""
    steps: list[SetNicModel] = []
    why: dict[str, str] = {}
    running: list[str] = []
    for guest in guests.guests:
        cards = slow_cards(guest)
        for mac, model, reason in cards:
            steps.append(SetNicModel(guest.uri, guest.name, guest.uuid, mac, model))
            why[guest.name] = f"{guest.name} gets {model} ({reason})"
        if cards and guest.running:
            running.append(guest.name)
    if not steps:
        raise NoRemedy("no guest's stored definition has an rtl8139 that could be another card")
    notes = [f"{name} runs on with the card it has; the change waits for its next start" for name in running]
    notes.append("the guest's system sees a new card, and may want its network set up anew")
    return Remedy(
        "guests.nic-model", "Give guests a better network card", tuple(steps), "; ".join(why.values()), tuple(notes)
    )


@remedy("guests.set-clock", title="set guests' clocks to this host's", at_most=RepairClass.ON_REQUEST)
def set_clock(clocks: GuestClocks, keepers: KeeperStates | Unavailable, config: Config) -> Remedy:
    """Through the guest agent, and only while a keeper says that this host's own clock is right.

    A step is felt by whatever runs in the guest, so it is never done unasked; a guest with a keeper of its own would
    come back by itself.
    """
    if isinstance(keepers, Unavailable) or not keepers.synchronised:
        why = f" ({keepers.reason})" if isinstance(keepers, Unavailable) else ""
        raise NoRemedy(
            f"nothing is known to keep this host's own clock{why}, so a guest's may be the one that is right"
        )
    off = [clock for clock in clocks.clocks if clock.beyond(config.clock_guest_offset_s)]
    if not off:
        raise NoRemedy("no guest's clock is off")
    steps = tuple(SetGuestClock(clock.uri, clock.guest, clock.uuid) for clock in off)
    why = f"{keepers.synchronised[0].keeper} keeps this host's clock"
    return Remedy("guests.set-clock", "Set the clocks of guests", steps, why)
