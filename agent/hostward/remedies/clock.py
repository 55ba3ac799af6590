"""Remedies for the clock, in the release note's own two ways (BZ#523478): run a keeper, or disable hwclock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostward.model import MakeLink, Remedy, RepairClass, RunProgram, Step, Unavailable, UnitAction
from hostward.remedies import NoRemedy, remedy

if TYPE_CHECKING:
    from hostward.facts.clock_services import ClockServices, Keeper
    from hostward.facts.hwclock_uses import HwclockUse
    from hostward.facts.init_system import InitSystem
    from hostward.facts.keepers import KeeperStates


#: What chkconfig(8) calls the two.
_ON = {True: "on", False: "off"}


@remedy("clock.enable-keeper", title="enable and start the installed keeper of the clock")
def enable_keeper(clock: ClockServices) -> Remedy:
    """The distribution's own keeper where it is installed, else the one that is; never one that somebody masked."""
    if clock.live and clock.keeping:
        raise NoRemedy(f"{clock.keeping[0].service} keeps the clock already")
    there = [k for k in (*clock.at_boot, *clock.keepers) if not k.masked and k.by != "process"]
    if not there:
        if clock.keepers:
            masked = clock.keepers[0].service
            raise NoRemedy(f"{masked} is masked, which somebody meant: `systemctl unmask {masked}`, then fix again")
        how = f"install one: {clock.default.install}" if clock.default.install else "install one"
        raise NoRemedy(f"no program that keeps the clock is installed; {how}")
    keeper = there[0]
    if keeper.skipped:
        raise NoRemedy(f"{keeper.service} would not start: {keeper.skipped}")
    why = f"{keeper.service} is what is installed"
    if keeper.name == clock.default.keeper:
        why = f"{keeper.name} is what this distribution keeps clocks with"
    return Remedy("clock.enable-keeper", "Make the clock kept", _started(keeper, clock.init), why)


def _started(keeper: Keeper, init: InitSystem) -> tuple[Step, ...]:
    name = keeper.service
    if keeper.by == "systemd":
        enable: tuple[Step, ...] = () if keeper.enabled else (UnitAction("enable", name),)
        return (*enable, UnitAction("restart" if keeper.failed else "start", name))
    if keeper.by == "openrc":
        return (
            RunProgram(("rc-update", "add", name, "default"), undo=("rc-update", "del", name, "default")),
            RunProgram(("rc-service", name, "start"), undo=("rc-service", name, "stop")),
        )
    script = f"/etc/init.d/{name}"
    return (*_switch(name, init, on=True), RunProgram((script, "start"), undo=(script, "stop")))


def _switch(name: str, init: InitSystem, on: bool) -> tuple[Step, ...]:
    """Switches an init script on or off for the next boots.  Raises NoRemedy without a tool for it."""
    if init.rc_tool == "chkconfig":
        return (RunProgram(("chkconfig", name, _ON[on]), undo=("chkconfig", name, _ON[not on])),)
    if init.rc_tool == "update-rc.d":
        words = {True: "enable", False: "disable"}
        return (RunProgram(("update-rc.d", name, words[on]), undo=("update-rc.d", name, words[not on])),)
    raise NoRemedy(f"no chkconfig and no update-rc.d is here to switch the init script {name} {'on' if on else 'off'}")


@remedy("clock.disable-hwclock", title="keep hwclock from setting the clock", choice="disable-hwclock")
def disable_hwclock(clock: ClockServices) -> Remedy:
    """For a host that something keeps which hostward does not know of. Whatever runs hwclock is switched off; what
    can't be switched off by itself (rc.sysinit, a line of a crontab) is left to a person, and then nothing is done.
    """
    uses = [use for use in clock.hwclock if use.in_force]
    if not uses:
        raise NoRemedy("nothing here runs hwclock")
    steps: list[Step] = []
    for use in uses:
        steps += _off(use, clock.init)
    why = f"{', '.join(dict.fromkeys(use.name for use in uses))} run{'s' * (len(uses) == 1)} hwclock"
    return Remedy("clock.disable-hwclock", "Keep hwclock from setting the clock", tuple(steps), why)


def _off(use: HwclockUse, init: InitSystem) -> tuple[Step, ...]:
    if use.kind == "systemd":
        # A unit without [Install] is pulled in by others; only a mask keeps it out.
        static = "static" in use.state.partition(": ")[2].split(",")[0]
        off = UnitAction("mask" if static else "disable", use.name)
        return (off, UnitAction("stop", use.name)) if use.active else (off,)
    if use.kind == "sysv":
        return _switch(use.name, init, on=False)
    if use.kind == "openrc":
        return (RunProgram(("rc-update", "del", use.name), undo=("rc-update", "add", use.name, "boot")),)
    if use.kind == "udev":
        name = use.path.rpartition("/")[2]
        if use.path.startswith("/etc/"):
            raise NoRemedy(f"{use.path} runs hwclock: take the rule out of it")
        return (MakeLink(f"/etc/udev/rules.d/{name}", "/dev/null"),)
    if use.kind == "rc.sysinit":
        raise NoRemedy(
            f"{use.path} itself sets the clock from the RTC at every boot and has no switch for it: enable a keeper"
        )
    raise NoRemedy(f"{use.path} runs hwclock: take that line out of it")


@remedy("clock.one-keeper", title="leave the clock to one keeper")
def one_keeper(clock: ClockServices, keepers: KeeperStates | Unavailable) -> Remedy:
    """The one that keeps stays: it says that it is synchronised, else it is the distribution's own, else the first."""
    rivals = [k for k in dict.fromkeys((*clock.keeping, *clock.at_boot)) if k.name not in ("ptp4l", "phc2sys")]
    if len({keeper.name for keeper in rivals}) < 2:
        raise NoRemedy("no two keepers stand in each other's way")
    if any(keeper.by != "systemd" for keeper in rivals):
        raise NoRemedy("not all of them are units of systemd: switch one of them off by hand")
    synchronised = set() if isinstance(keepers, Unavailable) else {state.keeper for state in keepers.synchronised}
    stays = min(rivals, key=lambda k: (k.name not in synchronised, k.name != clock.default.keeper, not k.active))
    steps: list[Step] = []
    for keeper in rivals:
        if keeper.name == stays.name:
            continue
        steps += [UnitAction("disable", keeper.service)] if keeper.enabled else []
        steps += [UnitAction("stop", keeper.service)] if keeper.active else []
    why = f"{stays.service} stays: it " + (
        "is synchronised" if stays.name in synchronised else "is this distribution's own"
    )
    return Remedy("clock.one-keeper", "Leave the clock to one keeper", tuple(steps), why)


@remedy(
    "clock.step",
    title="step the clock at once, through its keeper",
    choice="step",
    at_most=RepairClass.ON_REQUEST,
)
def step(clock: ClockServices, keepers: KeeperStates) -> Remedy:
    """The keeper alone sets the clock, never somebody behind its back; only chronyd can be told to step at once.

    A step is felt by every guest and by whatever waits for a time, so it is done only when it is asked for by name.
    """
    if not any(state.keeper == "chronyd" and state.synchronised for state in keepers.states):
        kept = ", ".join(state.keeper for state in keepers.synchronised)
        raise NoRemedy(
            f"{kept} can't be told to step the clock; it slews it, or steps when it is restarted"
            if kept
            else "no keeper that has a source runs, so nothing knows what the time is: have the clock kept first"
        )
    return Remedy("clock.step", "Step the clock", (RunProgram(("chronyc", "makestep")),), "chronyd keeps the clock")


@remedy("clock.write-rtc", title="write the RTC from the kept clock")
def write_rtc(keepers: KeeperStates) -> Remedy:
    """Only while a keeper says that the clock is right; whether the RTC keeps UTC or local time stays as it is."""
    kept = keepers.synchronised
    if not kept:
        raise NoRemedy("nothing keeps the clock, so the RTC may be the one that is right: have the clock kept first")
    why = f"{kept[0].keeper} keeps the clock"
    return Remedy("clock.write-rtc", "Write the RTC", (RunProgram(("hwclock", "--systohc")),), why)
