"""Whether the clock is right and kept, by what the kernel, the keepers and the hardware themselves say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hostward.checks import check
from hostward.config import CLOCK_USES
from hostward.model import BZ, Finding, Issue, NotApplicable, Severity, Unavailable

if TYPE_CHECKING:
    from hostward.config import Config
    from hostward.facts.boot import Boot
    from hostward.facts.clock_boot import ClockSetAtBoot
    from hostward.facts.clock_drift import ClockDrift
    from hostward.facts.clock_kernel import ClockSource, KernelClock, PtpReading, RtcReading
    from hostward.facts.keeper_config import KeeperConfigs
    from hostward.facts.keepers import KeeperState, KeeperStates, SourceState

#: Clock sources that the kernel falls back to, slow to read and coarse.
_FALLBACKS = ("hpet", "acpi_pm", "pit", "jiffies", "refined-jiffies")


@check(
    "clock.unsynchronised",
    title="the kernel knows that its clock is kept",
    references=[Issue("bottlerocket-os/bottlerocket", 1183)],
)
def unsynchronised(
    kernel: KernelClock, keepers: KeeperStates | Unavailable, configs: KeeperConfigs | Unavailable
) -> Iterator[Finding]:
    """adjtimex(2) says STA_UNSYNC until a keeper clears it, and again once the clock's possible error, which grows by
    500 ppm while nobody tells otherwise, has passed 16 s. While it is set the kernel does not write the RTC.

    chronyd without `rtcsync` keeps the clock and never clears it: that is no fault of the clock, and said as a note
    with the line that mends it.
    """
    if kernel.synchronised:
        return
    kept = () if isinstance(keepers, Unavailable) else keepers.synchronised
    said = (f"adjtimex: {' '.join(kernel.status_flags)}, maxerror {kernel.maxerror_s:.3f} s, {kernel.state}",)
    if not kept:
        yield Finding(
            Severity.WARNING,
            f"the kernel does not take its clock for synchronised (possible error {kernel.maxerror_s:.1f} s)",
            subject="kernel",
            evidence=(*said, *(() if isinstance(keepers, Unavailable) else map(_told, keepers.states))),
            advice="See the other clock checks for what keeps it, or fails to.",
        )
        return
    config = None if isinstance(configs, Unavailable) else configs.of("chronyd")
    if kept[0].keeper == "chronyd" and config is not None and config.rtcsync is False:
        yield Finding(
            Severity.INFO,
            "chronyd keeps the clock and does not tell the kernel",
            subject="chronyd",
            evidence=(*said, _told(kept[0]), f"{config.path}: no line `rtcsync`"),
            advice=f"Add the line `rtcsync` to {config.path} and restart chronyd: the kernel then also keeps the RTC.",
        )
        return
    yield Finding(
        Severity.INFO,
        f"{kept[0].keeper} says that it keeps the clock, and the kernel does not know of it yet",
        subject=kept[0].keeper,
        evidence=(*said, _told(kept[0])),
        advice="Look again in a few minutes: right after its start a keeper has not told the kernel yet.",
    )


@check("clock.keeper-idle", title="what keeps the clock has a source that it follows")
def keeper_idle(keepers: KeeperStates) -> Iterator[Finding]:
    """A keeper that runs keeps nothing while none of its sources answers, none can be chosen, or they contradict each
    other. Each is asked in its own protocol, and its own words say why.
    """
    silent = []
    for state in keepers.states:
        if state.synchronised is None:
            silent.append(f"{state.keeper}: {state.why_not or 'can not be asked'} {state.detail}".rstrip())
        elif not state.synchronised:
            waiting = state.why_not.startswith("waiting")
            yield Finding(
                Severity.WARNING if waiting or keepers.synchronised else Severity.ERROR,
                f"{state.keeper} runs and keeps nothing: {state.why_not or 'it is not synchronised'}",
                subject=state.keeper,
                evidence=tuple(line for line in (state.detail, *map(_source, state.sources)) if line),
                advice="It has just started; look again in a minute."
                if waiting
                else f"Mend its sources ({state.keeper}'s configuration, the network, the firewall: UDP port 123).",
            )
    if silent:
        raise Unavailable("; ".join(silent))


@check("clock.offset", title="the clock is as right as what depends on it needs")
def offset(config: Config, keepers: KeeperStates, ptp: PtpReading | Unavailable) -> Iterator[Finding]:
    """Kerberos refuses logins at 300 s, TLS certificates are not valid yet, etcd warns at 1 s, Ceph's monitors complain
    at 0.05 s. Which of these matter here is said by `clock.uses` in the configuration. The offset is what a keeper
    measures against its sources, or this machine's clock against its hypervisor's; it counts when it is sure,
    the uncertainty taken off.
    """
    measured = [
        (
            abs(s.offset_s) - (s.uncertainty_s or 0.0),
            s.offset_s,
            s.uncertainty_s,
            f"{s.keeper}, {s.source or 'no source'}",
        )
        for s in keepers.states
        if s.offset_s is not None
    ]
    if not isinstance(ptp, Unavailable):
        sure = abs(ptp.offset_s) - ptp.uncertainty_s
        measured.append((sure, ptp.offset_s, ptp.uncertainty_s, f"against the hypervisor ({ptp.clock_name})"))
    if not measured:
        raise NotApplicable("nothing here measures by how much the clock is off: no keeper has a source")
    sure_s, offset_s, bound_s, by = max(measured)
    broken = [use for use in sorted(config.clock_uses, key=CLOCK_USES.__getitem__) if sure_s > CLOCK_USES[use]]
    if broken:
        uses = ", ".join(f"{use} ({CLOCK_USES[use]:g} s)" for use in broken)
        yield Finding(
            Severity.ERROR,
            f"the clock is off by {offset_s:+.3f} s, more than {uses} allows",
            subject="clock",
            evidence=(f"{by}: {offset_s:+.6f} s" + ("" if bound_s is None else f", give or take {bound_s:.6f} s"),),
            advice="Let the keeper slew it, or step it at once when no guest minds: hostward fix --choose step.",
            remedies=("clock.step",),
        )  # fmt: skip


@check("clock.drift-rate", title="the clock does not run away")
def drift_rate(config: Config, drift: ClockDrift, keepers: KeeperStates | Unavailable) -> Iterator[Finding]:
    """Readings of the hypervisor's clock or of the RTC against the system clock, left behind by each run in a small
    history, show its rate with an interval. While a keeper follows a source the RTC's own drift is what would show, so
    then only the hypervisor's clock is a reference. `clock.drift-ppm` is the most that is let go (12 ppm make a
    second a day).
    """
    kept = not isinstance(keepers, Unavailable) and bool(keepers.synchronised)
    found = drift.against("hypervisor") or (None if kept else drift.against("RTC"))
    if found is None:
        raise NotApplicable("the clock is kept, and there is no hypervisor's clock to hold against it")
    if found.low_ppm <= config.clock_drift_ppm and found.high_ppm >= -config.clock_drift_ppm:
        return
    way = "gains" if found.rate_ppm > 0 else "loses"
    yield Finding(
        Severity.WARNING,
        f"the clock {way} {abs(found.rate_ppm):.1f} ppm against the {found.reference}: "
        f"at this rate it is off by {abs(found.off_in_24h_s):.1f} s in 24 h",
        subject=found.reference,
        evidence=(
            f"{found.rate_ppm:+.1f} ppm, between {found.low_ppm:+.1f} and {found.high_ppm:+.1f}, "
            f"from {found.readings} readings over {found.span_s / 60:.0f} min",
        ),
        advice="Have it kept (the other clock checks say by what).",
    )


@check(
    "clock.guest-differs-from-host",
    title="this guest's clock is its host's",
    references=[BZ(523478), Issue("kubevirt/kubevirt", 2842)],
)
def guest_differs_from_host(config: Config, ptp: PtpReading) -> Iterator[Finding]:
    """The note's number, measured: a guest whose clock hwclock set at boot is 1.5 to 2 s away from its host. The
    hypervisor's PTP clock (ptp_kvm) gives the host's time to microseconds. A resume, a restored snapshot and a
    migration leave a guest behind as well.
    """
    sure_s = abs(ptp.offset_s) - ptp.uncertainty_s
    if sure_s <= config.clock_guest_offset_s:
        return
    yield Finding(
        Severity.ERROR if sure_s > 1.0 else Severity.WARNING,
        f"this guest's clock is {ptp.offset_s:+.6f} s away from its host's",
        subject=ptp.device,
        evidence=(f"{ptp.device} ({ptp.clock_name}): {ptp.offset_s:+.6f} s, give or take {ptp.uncertainty_s:.6f} s",),
        advice=f"Let chronyd follow the host: `refclock PHC {ptp.device} poll 2` in its configuration.",
        remedies=("clock.step",),
    )  # fmt: skip


@check("clock.rtc-differs", title="the RTC agrees with the clock")
def rtc_differs(config: Config, rtc: RtcReading, keepers: KeeperStates | Unavailable) -> Iterator[Finding]:
    """The next boot begins with the RTC's time, and every log line, certificate and ticket before the keeper's first
    answer is that far off. Which of the two is wrong only a keeper can tell.
    """
    sure_s = abs(rtc.offset_s) - rtc.uncertainty_s
    if sure_s <= config.clock_rtc_offset_s:
        return
    kept = not isinstance(keepers, Unavailable) and bool(keepers.synchronised)
    yield Finding(
        Severity.WARNING,
        f"the RTC is {rtc.offset_s:+.3f} s away from the system clock"
        + ("; the next boot begins with that" if kept else ", and nothing tells which of them is right"),
        subject=rtc.device,
        evidence=(
            f"{rtc.device}, read as {'local time' if rtc.local else 'UTC'}: {rtc.offset_s:+.3f} s, "
            f"give or take {rtc.uncertainty_s:.3f} s",
        ),
        advice="Write it from the kept clock: `hwclock --systohc`." if kept else "Have the clock kept first.",
        remedies=("clock.write-rtc",) if kept else (),
    )


@check("clock.clocksource", title="the kernel counts time by a good clock source")
def clocksource(source: ClockSource, boot: Boot) -> Iterator[Finding]:
    """A KVM guest should count by kvm-clock or by a TSC that the kernel trusts; on any machine hpet, acpi_pm and the
    timer ticks are what is left when the TSC was given up, many times slower to read, and a drifting clock on a
    host under load.
    """
    fallen = source.current in _FALLBACKS
    good = source.current in ("kvm-clock", "tsc")
    if not fallen and (boot.hypervisor != "kvm" or good):
        return
    what = "this KVM guest" if boot.hypervisor == "kvm" else "the kernel"
    better = [name for name in ("kvm-clock", "tsc") if name in source.available]
    yield Finding(
        Severity.WARNING,
        f"{what} counts time by {source.current}" + (", having given up the TSC" if source.tsc_unstable else ""),
        subject=source.current,
        evidence=(f"available: {' '.join(source.available)}", source.why),
        advice=f"Boot without clocksource={source.current}, or write {better[0]} to current_clocksource."
        if better
        else "See `dmesg` for why the TSC was marked unstable: firmware, or a hypervisor without an invariant TSC.",
    )


@check(
    "clock.set-by-hwclock-at-boot",
    title="hwclock was not what last set the clock in this boot",
    references=[BZ(523478)],
)
def set_by_hwclock_at_boot(settings: ClockSetAtBoot) -> Iterator[Finding]:
    """By the journal of this boot: what set the clock, in order. hwclock sets it from the RTC to the second; unless a
    keeper set or slewed it afterwards, that is the clock the guests have.
    """
    last = settings.last
    if last is not None and last.by == "hwclock":
        yield Finding(
            Severity.WARNING,
            "hwclock set the clock of this boot from the RTC, and nothing has set it since",
            subject="hwclock",
            evidence=tuple(f"{setting.at_s:.1f} s after boot: {setting.line}" for setting in settings.settings[-8:]),
            advice="Have the clock kept; what runs hwclock is said by clock.hwclock-without-ntp.",
        )
    elif not settings.complete:
        raise Unavailable("the journal does not reach back to the start of this boot")


@check("clock.leap-smear-mix", title="the clock's sources agree on what becomes of a leap second")
def leap_smear_mix(configs: KeeperConfigs) -> Iterator[Finding]:
    """Some public services spread a leap second over a day, others insert it. A keeper with sources of both kinds takes
    half of them for falsetickers that day, and hosts with different ones differ by up to a second.
    """
    for config in configs.configs:
        if config.smearing and config.exact:
            yield Finding(
                Severity.WARNING,
                f"{config.keeper} follows sources that smear leap seconds beside such as do not",
                subject=config.keeper,
                evidence=(
                    f"smearing: {', '.join(config.smearing)}",
                    f"not known to smear: {', '.join(config.exact)}",
                    *(setting.text for setting in config.sources),
                ),
                advice="Keep sources of one kind only.",
            )


def _told(state: KeeperState) -> str:
    """A keeper's own account in a line."""
    if state.synchronised:
        return f"{state.keeper}: synchronised to {state.source or 'a source it does not name'}"
    return f"{state.keeper}: not synchronised" + (f", {state.why_not}" if state.why_not else "")


def _source(source: SourceState) -> str:
    reach = "" if source.reach is None else f", reach {source.reach:03o}"
    return f"{source.address}: {source.selection}{reach}" + (f" ({source.why_not})" if source.why_not else "")
