"""Guests made by copying another's definition that still share what must be unique: UUID, MAC address, disk image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from hostward.checks import check
from hostward.checks.guests import all_read
from hostward.model import Finding, Severity

if TYPE_CHECKING:
    from hostward.facts.domain import Disk, Nic
    from hostward.facts.guests import Guest, Guests


@check("guests.clones", title="no two guests share a UUID, a MAC address or a writable disk")
def clones(guests: Guests) -> Iterator[Finding]:
    """A guest made from another one's XML needs a name, a UUID, MAC addresses and disk images of its own; the release
    notes' own recipe says so. With one MAC address twice on a network neither guest is reached reliably; two guests
    that write one image destroy it. UUID and MAC lines may simply be left out of the copy: libvirt then makes new ones.

    An error when the guests run at the same time, else a warning. A note where the same MAC address is used on two
    networks, which may be meant.
    """
    yield from _uuids(guests)
    yield from _macs(guests)
    yield from _disks(guests)
    all_read(guests)


def _groups(pairs: Iterable[tuple[str, Guest]]) -> Iterator[tuple[str, list[Guest]]]:
    """(value, guests) of each value that two or more different guests have, in order."""
    found: dict[str, list[Guest]] = {}
    for value, guest in pairs:
        mine = found.setdefault(value, [])
        if not mine or mine[-1] is not guest:  # each guest's values come one after another
            mine.append(guest)
    return ((value, mine) for value, mine in sorted(found.items()) if len(mine) > 1)


def _severity(guests: list[Guest]) -> Severity:
    return Severity.ERROR if sum(guest.running for guest in guests) > 1 else Severity.WARNING


def _names(guests: list[Guest]) -> str:
    names = [guest.name for guest in guests]
    more = f" and {len(names) - 4} more" if len(names) > 4 else f" and {names.pop()}"
    return ", ".join(names[:4]) + more


def _where(guests: list[Guest]) -> list[str]:
    return [guest.definitions[0].source if guest.definitions else f"process {guest.pid}" for guest in guests]


def _uuids(guests: Guests) -> Iterator[Finding]:
    for uuid, same in _groups((guest.uuid, guest) for guest in guests.guests if guest.uuid):
        yield Finding(
            _severity(same),
            f"{_names(same)} have the same UUID {uuid}",
            subject=f"uuid {uuid}",
            evidence=tuple(f"{where}: uuid {uuid}" for where in _where(same)),
            advice="Take the <uuid> line out of all but one of them and define them again: libvirt makes a new one.",
        )


def _nics(guest: Guest) -> list[Nic]:
    return [nic for domain in guest.definitions for nic in domain.nics]


def _macs_of(guest: Guest) -> set[str]:
    found = {nic.mac for nic in _nics(guest) if nic.mac}
    if guest.command is not None and not guest.definitions:
        for option in guest.command.of("device", "net", "nic"):
            found |= {value.lower() for key, value in option.values if key in ("mac", "macaddr")}
    return found


def _macs(guests: Guests) -> Iterator[Finding]:
    for mac, same in _groups((mac, guest) for guest in guests.guests for mac in _macs_of(guest)):
        networks = {f"{nic.type} {nic.source}" for guest in same for nic in _nics(guest) if nic.mac == mac}
        apart = len(networks) > 1
        yield Finding(
            Severity.INFO if apart else _severity(same),
            f"{_names(same)} have the same MAC address {mac}" + (", on different networks" if apart else ""),
            subject=f"mac {mac}",
            evidence=tuple(f"{where}: mac {mac}" for where in _where(same)) + tuple(sorted(networks)),
            advice="Take the <mac> line out of all but one of them and define them again: libvirt makes a new one.",
        )


def _written(guest: Guest) -> dict[str, Disk]:
    """The images that a guest writes to, alone as far as it knows."""
    return {
        disk.source: disk
        for domain in guest.definitions
        for disk in domain.disks
        if disk.source and disk.device in ("disk", "lun") and not disk.readonly and not disk.shareable
    }


def _disks(guests: Guests) -> Iterator[Finding]:
    for image, same in _groups((image, guest) for guest in guests.guests for image in _written(guest)):
        yield Finding(
            _severity(same),
            f"{_names(same)} write to the same disk {image}",
            subject=f"disk {image}",
            evidence=tuple(f"{w}: disk {_written(g)[image].target}" for w, g in zip(_where(same), same)),
            advice="Give each an image of its own, or say <readonly/> or <shareable/> where that is meant; "
            "never run both at once.",
        )
