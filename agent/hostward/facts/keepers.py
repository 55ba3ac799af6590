"""What the keepers at work say of themselves: each is asked in its own protocol."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hostward.facts import fact
from hostward.facts.clock_services import ClockServices, Keeper
from hostward.facts.keeper_state import SILENT, KeeperState, SourceState
from hostward.host import Host, HostError
from hostward.model import NotApplicable


@dataclass(frozen=True)
class KeeperStates:
    """One for each keeper that is active now, in the order of ClockServices."""

    states: tuple[KeeperState, ...]

    @property
    def synchronised(self) -> tuple[KeeperState, ...]:
        """Those that say that they keep the clock."""
        return tuple(state for state in self.states if state.synchronised)


@fact
def keeper_states(host: Host, clock: ClockServices) -> KeeperStates:
    """Raises NotApplicable under a root.  A keeper that can't be asked has `synchronised` None, and why."""
    if not host.live:
        raise NotApplicable("this tree is not running, so no keeper of its clock can be asked")
    return KeeperStates(tuple(_asked(host, keeper) for keeper in clock.keeping))


def _asked(host: Host, keeper: Keeper) -> KeeperState:
    try:
        return _ask(host, keeper)
    except HostError as error:
        return KeeperState(keeper.name, None, why_not=SILENT, detail=str(error))


def _ask(host: Host, keeper: Keeper) -> KeeperState:
    name = keeper.name
    if name == "chronyd":
        from hostward.facts import keeper_chronyd

        return keeper_chronyd.ask(host, name)
    if name == "systemd-timesyncd":
        from hostward.facts import keeper_timesyncd

        return keeper_timesyncd.ask(host, name)
    if name in ("ntpd", "ntpsec"):
        from hostward.facts import keeper_ntpd

        return keeper_ntpd.ask(name)
    if name == "openntpd":
        from hostward.facts import keeper_openntpd

        return keeper_openntpd.ask(host, name)
    if name == "ptp4l":
        from hostward.facts import keeper_ptp

        return keeper_ptp.ask(host, name)
    if name == "phc2sys":
        from hostward.facts import keeper_ptp

        state = keeper_ptp.ask_log(host, keeper.service, name)
        return _with_ptp4l(host, state)
    return KeeperState(name, None, detail=f"no protocol to ask {name} in is known here")


def _with_ptp4l(host: Host, state: KeeperState) -> KeeperState:
    """phc2sys can follow a card's clock well that itself follows nothing: ptp4l is asked where it runs."""
    from hostward.facts import keeper_ptp

    try:
        below = keeper_ptp.ask(host)
    except HostError:
        return state
    if below.why_not == SILENT:
        return state  # no ptp4l on its usual socket: the card's clock may be kept by another
    if not below.synchronised and state.synchronised:
        return replace(state, synchronised=False, why_not=below.why_not, detail=f"ptp4l: {below.detail}")
    return replace(state, source=below.source or state.source, leap=below.leap)


__all__ = ["KeeperState", "KeeperStates", "SourceState", "keeper_states"]
