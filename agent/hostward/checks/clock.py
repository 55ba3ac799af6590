"""Who sets the clock and who keeps it: hwclock without NTP, keepers that do not run, keepers in each other's way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hostward.checks import check
from hostward.model import BZ, Finding, Severity

if TYPE_CHECKING:
    from hostward.facts.clock_services import ClockServices, Keeper, RtcMode
    from hostward.facts.hwclock_uses import HwclockUse


@check(
    "clock.hwclock-without-ntp",
    title="hwclock does not set a clock that nothing keeps",
    references=[BZ(523478)],
)
def hwclock_without_ntp(clock: ClockServices) -> Iterator[Finding]:
    """The RTC's clock has a grain of a second and drifts on its own: a guest whose clock is set from it at boot starts
    1.5 to 2 s away from its host (BZ#523478), and stays there unless something keeps the clock. The note's two ways
    out are to run ntpd, or to disable the hwclock service where something else keeps the clock.

    Only what really runs hwclock counts: an init script with a start link, a unit that is enabled or active and not
    masked, a udev rule, RHEL 5's rc.sysinit. Setting the clock from the RTC is an error, writing an unkept clock to
    the RTC a warning. On a running host a keeper counts when it is active, in a tree when its boot would start it.
    """
    uses = [use for use in clock.hwclock if use.in_force]
    if not uses or clock.keeping:
        return
    setting = [use for use in uses if use.sets_system_clock]
    names = ", ".join(dict.fromkeys(use.name for use in setting or uses))
    does = "sets the system clock from the RTC" if setting else "writes the system clock to the RTC"
    yield Finding(
        Severity.ERROR if setting else Severity.WARNING,
        f"hwclock {does} ({names}), and {_nothing_keeps(clock)}",
        subject=(setting or uses)[0].name,
        evidence=(*_evidence(setting or uses), *_states(clock)),
        advice=_advice(clock) + " Where something else keeps the clock, disable hwclock instead "
        "(hostward fix --choose disable-hwclock).",
        remedies=("clock.enable-keeper", "clock.disable-hwclock"),
    )


@check("clock.keeper-not-running", title="what is enabled to keep the clock also runs")
def keeper_not_running(clock: ClockServices) -> Iterator[Finding]:
    """A keeper that starts at boot and is not active now failed, was stopped, or waits for something. The clock runs
    free meanwhile. Said of a running host alone; without any other keeper at work it is an error.
    """
    if not clock.live:
        return
    for keeper in clock.at_boot:
        if keeper.active or (clock.keeping and not keeper.failed):
            continue
        how = f"it failed ({keeper.failed})" if keeper.failed else "it is not active"
        yield Finding(
            Severity.WARNING if clock.keeping else Severity.ERROR,
            f"{keeper.service} is enabled to keep the clock, but {how}",
            subject=keeper.service,
            evidence=_states(clock),
            advice=f"See `journalctl -u {keeper.service}` for why, then start it."
            if keeper.by == "systemd"
            else f"See the system's log for why {keeper.name} ended, then start it.",
            remedies=() if clock.keeping else ("clock.enable-keeper",),
        )


@check("clock.keepers-conflict", title="one program keeps the clock, not two")
def keepers_conflict(clock: ClockServices) -> Iterator[Finding]:
    """Two programs that steer one clock undo each other's corrections: its frequency swings, and each reports the
    other's steps as errors of its sources. ptp4l with phc2sys counts as one; timemaster starts chronyd itself.
    """
    pairs = (("active at once", clock.keeping, Severity.ERROR), ("started at boot", clock.at_boot, Severity.WARNING))
    for how, keepers, severity in pairs if clock.live else pairs[1:]:
        names = _names(keepers)
        if len(names) < 2:
            continue
        exclusive = any(other.service in keeper.conflicts for keeper in keepers for other in keepers)
        yield Finding(
            severity,
            f"{', '.join(names[:-1])} and {names[-1]} are {how}" + (
                "; their units exclude each other, so chance decides which one runs"
                if exclusive and severity is Severity.WARNING else ""
            ),
            subject=" ".join(sorted(keeper.service for keeper in keepers)),
            evidence=tuple(keeper.state for keeper in keepers),
            advice=f"Keep one (the distribution's own is {clock.default.keeper}) and disable the other.",
            remedies=("clock.one-keeper",),
        )  # fmt: skip
        return


@check("clock.no-keeper", title="something keeps the clock")
def no_keeper(clock: ClockServices) -> Iterator[Finding]:
    """A clock that nothing keeps drifts by 10 to 100 ppm, one to nine seconds a day, and the guests' with it: logins
    by Kerberos fail at 300 s, Ceph's monitors complain at 0.05 s. What sets the clock once at boot keeps nothing.

    Said where hwclock is not at work (clock.hwclock-without-ntp says it there) and no keeper is enabled
    (clock.keeper-not-running).
    """
    if clock.keeping or clock.at_boot or any(use.in_force for use in clock.hwclock):
        return
    yield Finding(
        Severity.WARNING,
        _nothing_keeps(clock)[:1].upper() + _nothing_keeps(clock)[1:],
        subject="clock",
        evidence=_states(clock),
        advice=_advice(clock),
        remedies=("clock.enable-keeper",),
    )


@check("clock.rtc-local-time", title="the RTC keeps UTC")
def rtc_local_time(rtc: RtcMode) -> Iterator[Finding]:
    """An RTC in local time is wrong twice a year by an hour until something notices, wrong for every guest that is
    given it, and the kernel can't write it back. It is only meant for a machine that also boots Windows.
    """
    if rtc.local:
        yield Finding(
            Severity.WARNING,
            "the RTC is kept in local time",
            subject="rtc",
            evidence=(f"{rtc.path}: {rtc.line}",),
            advice="Set it to UTC: `timedatectl set-local-rtc 0`."
            if rtc.path == "/etc/adjtime"
            else f"Say UTC in {rtc.path}, then write the RTC once: `hwclock --systohc --utc`.",
        )


def _names(keepers: tuple[Keeper, ...]) -> list[str]:
    """The keepers' names; ptp4l and phc2sys are one, and what timemaster starts is timemaster's."""
    names = list(dict.fromkeys(keeper.name for keeper in keepers))
    if "phc2sys" in names and "ptp4l" in names:
        names.remove("ptp4l")
    if "timemaster" in names:
        names = [name for name in names if name not in ("chronyd", "ntpd", "ptp4l", "phc2sys")]
    return names


def _nothing_keeps(clock: ClockServices) -> str:
    if not clock.keepers:
        return "nothing that keeps the clock is installed"
    if clock.live:
        return "nothing keeps the clock"
    return "nothing that keeps the clock is started at boot"


def _evidence(uses: list[HwclockUse]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(line for use in uses for line in use.evidence))


def _states(clock: ClockServices) -> tuple[str, ...]:
    """A line for each keeper that is installed, and for what sets the clock once."""
    return (
        *(keeper.state for keeper in clock.keepers),
        *(f"{line} (sets the clock once and keeps nothing)" for line in clock.once),
    )


def _advice(clock: ClockServices) -> str:
    keeper = next((keeper for keeper in clock.keepers if not keeper.masked), None)
    if keeper is not None:
        return f"Enable and start {keeper.service}."
    if clock.keepers:
        return f"{clock.keepers[0].service} is masked: unmask it, or install another keeper."
    if clock.default.install:
        return f"Install one: `{clock.default.install}`."
    return f"Install one, {clock.default.keeper} for instance."
