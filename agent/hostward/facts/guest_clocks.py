"""The clocks of running guests as this host sees them, asked through their guest agents."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hostward.facts import fact
from hostward.facts.guests import Guest, Guests
from hostward.host import Host, HostError
from hostward.model import NotApplicable

_TICKS_HZ = 100  # USER_HZ, what /proc/PID/stat counts in on every Linux


@dataclass(frozen=True)
class GuestClock:
    """A guest's clock minus this host's; the true difference is within `uncertainty_s` of `offset_s`, which is half the
    time that the agent took to answer.

    `began` is why it runs, in libvirt's words: booted, migrated, restored, unpaused, wakeup, ...; `since` is when that
    was by this host's clock (local time), "" where nothing tells. Then its clock was set, or went on from where
    it had stopped.
    """

    guest: str
    uuid: str
    uri: str
    offset_s: float
    uncertainty_s: float
    began: str = ""
    since: str = ""

    def beyond(self, limit_s: float) -> bool:
        """Whether it is off by more than this, whatever the uncertainty."""
        return abs(self.offset_s) - self.uncertainty_s > limit_s


@dataclass(frozen=True)
class GuestClocks:
    """`silent` are (guest, why) of those with an agent's channel that gave no reading; `without` the names of running
    guests whose clocks can't be seen from here, as no agent is there."""

    clocks: tuple[GuestClock, ...] = ()
    silent: tuple[tuple[str, str], ...] = ()
    without: tuple[str, ...] = ()


@fact
def guest_clocks(host: Host, guests: Guests) -> GuestClocks:
    """Raises NotApplicable under a root, and where no guest runs.  A read-write connection is needed, as libvirt does
    not let others ask a guest its time (CVE-2019-3886); all that is done with it is to ask."""
    if not host.live:
        raise NotApplicable("this tree is not running, so none of its guests is")
    running = [guest for guest in guests.guests if guest.running]
    if not running:
        raise NotApplicable("no guest is running")
    asked = [guest for guest in running if guest.uri and guest.live is not None and guest.live.agent]
    without = [guest.name for guest in running if guest not in asked]
    clocks: list[GuestClock] = []
    silent: list[tuple[str, str]] = []
    for uri in dict.fromkeys(guest.uri for guest in asked):
        mine = [guest for guest in asked if guest.uri == uri]
        try:
            found = _ask(host, uri, mine)
        except HostError as error:
            silent += [(guest.name, str(error)) for guest in mine]
            continue
        for guest, reading in found:
            if isinstance(reading, GuestClock):
                clocks.append(reading)
            elif reading:
                silent.append((guest.name, reading))
            else:
                without.append(guest.name)
    return GuestClocks(tuple(clocks), tuple(silent), tuple(without))


def _ask(host: Host, uri: str, guests: list[Guest]) -> list[tuple[Guest, GuestClock | str]]:
    """Each guest with its clock, or why there is no reading, "" where no agent is at the other end."""
    from hostward.host import libvirt

    times = libvirt.times(uri, [guest.uuid for guest in guests], host.program_timeout_s)
    found: list[tuple[Guest, GuestClock | str]] = []
    for guest in guests:
        told = times[guest.uuid]
        if told.problem:
            found.append((guest, told.problem if told.connected else ""))
            continue
        middle = (told.before_ns + told.after_ns) / 2
        clock = GuestClock(
            guest.name,
            guest.uuid,
            uri,
            round((told.guest_ns - middle) / 1e9, 9),
            round((told.after_ns - told.before_ns) / 2e9, 9),
            told.began,
            _since(host, guest, told.began),
        )
        found.append((guest, clock))
    return found


def _since(host: Host, guest: Guest, began: str) -> str:
    """When the guest began to run as it does. Its QEMU's start is that of a boot, of a migration in, of a restore; of
    what came later libvirt's status document was written then, or after."""
    from hostward.host.moment import date_words, now

    try:
        if began in ("unpaused", "wakeup", "save canceled", "migration canceled"):
            return date_words(host.stat(f"/run/libvirt/qemu/{guest.name}.xml").st_mtime)
        stat = host.text(f"/proc/{guest.pid}/stat", 4096)
    except HostError:
        return ""
    fields = re.sub(r"^.*\) ", "", stat, flags=re.S).split()  # the program's name may hold anything
    if len(fields) < 20 or not fields[19].isdigit():
        return ""
    here = now()
    return date_words(here.at - (here.up - int(fields[19]) / _TICKS_HZ))


__all__ = ["GuestClock", "GuestClocks"]
