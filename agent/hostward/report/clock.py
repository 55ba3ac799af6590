"""The picture of the clock, for people and for programs (config/schema/clock.schema.json)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hostward.facts.clock_boot import ClockSetAtBoot
from hostward.facts.clock_drift import ClockDrift
from hostward.facts.clock_kernel import AdjtimeFile, ClockSource, KernelClock, PtpReading, RtcReading
from hostward.facts.clock_services import ClockServices
from hostward.facts.keepers import KeeperStates
from hostward.host import Host
from hostward.model import Outcome, Result, Unavailable, as_json
from hostward.report.json import check_document, envelope
from hostward.report.text import Paint, safe, status_word

_LABEL = 13


def document(host: Host, facts: Mapping[str, Any], results: Iterable[Result], status: int) -> dict[str, Any]:
    checked = check_document(host, results, status)
    return {
        **envelope(host),
        "status": status,
        "facts": {name: as_json(value) for name, value in facts.items()},
        "results": checked["results"],
    }


def lines(facts: Mapping[str, Any], results: Iterable[Result], paint: Paint) -> Iterator[str]:
    """One line or a few for each fact; what can't be had says why, once for all that share a reason."""
    missing: dict[str, list[str]] = {}
    for name, value in facts.items():
        if isinstance(value, Unavailable):
            missing.setdefault(value.reason, []).append(_TITLES[name])
            continue
        for number, line in enumerate(_TOLD[name](value)):
            yield f"{_TITLES[name].ljust(_LABEL) if number == 0 else ' ' * _LABEL} {safe(line)}"
    for reason, titles in missing.items():
        yield paint(f"{', '.join(titles)}: can't be told: {safe(reason)}", "dim")
    found = [result for result in results if result.outcome is Outcome.FINDINGS]
    if found:
        yield ""
    for result in found:
        word = status_word(result)
        for finding in result.findings:
            yield f"{paint(word.upper(), word)}  {result.check}  {safe(finding.summary)}"


def seconds(value: float | None) -> str:
    """A time in the unit that reads best, signed: +1.700 s, -12.3 ms, +4 us."""
    if value is None:
        return "not known"
    size = abs(value)
    if size >= 1:
        return f"{value:+.3f} s"
    if size >= 1e-3:
        return f"{value * 1e3:+.3f} ms"
    return f"{value * 1e6:+.1f} us"


def _services(clock: ClockServices) -> Iterator[str]:
    for keeper in clock.keepers:
        yield keeper.state
    if not clock.keepers:
        yield "none is installed"
    for use in clock.hwclock:
        if use.in_force:
            yield f"{use.name} runs hwclock: {use.state}"


def _keepers(states: KeeperStates) -> Iterator[str]:
    for state in states.states:
        if state.synchronised:
            stratum = "" if state.stratum is None else f", stratum {state.stratum}"
            yield f"{state.keeper} follows {state.source or 'a source it does not name'}{stratum}"
        else:
            why = "; ".join(words for words in (state.why_not, state.detail) if words)
            yield f"{state.keeper} keeps nothing: {why or 'it does not say why'}"
        told = [f"offset {seconds(state.offset_s)}" if state.offset_s is not None else ""]
        told += [f"give or take {seconds(state.uncertainty_s)[1:]}" if state.uncertainty_s is not None else ""]
        told += [f"clock's own rate {state.frequency_ppm:+.3f} ppm" if state.frequency_ppm is not None else ""]
        told += [f"updated {state.last_update_age_s:.0f} s ago" if state.last_update_age_s is not None else ""]
        if any(told):
            yield ", ".join(word for word in told if word)
    if not states.states:
        yield "none runs"


def _kernel(kernel: KernelClock) -> Iterator[str]:
    sync = "synchronised" if kernel.synchronised else "not synchronised"
    yield f"{sync}, possible error {kernel.maxerror_s:.3f} s, corrects by {kernel.correction_ppm:+.3f} ppm"
    yield f"{' '.join(kernel.status_flags) or 'no status flag'}, {kernel.state}, TAI offset {kernel.tai_offset_s} s"


def _source(source: ClockSource) -> Iterator[str]:
    unstable = {True: "given up as unstable", False: "stable", None: "none on this processor"}[source.tsc_unstable]
    yield f"{source.current} (of {' '.join(source.available)}); TSC: {unstable}"


def _ptp(ptp: PtpReading) -> Iterator[str]:
    yield f"{seconds(ptp.offset_s)} from the host's, give or take {seconds(ptp.uncertainty_s)[1:]} ({ptp.clock_name})"


def _rtc(rtc: RtcReading) -> Iterator[str]:
    kind = "local time" if rtc.local else "UTC"
    bound = seconds(rtc.uncertainty_s)[1:]
    yield f"{seconds(rtc.offset_s)} from the clock, give or take {bound} ({rtc.device}, {kind})"


def _adjtime(file: AdjtimeFile) -> Iterator[str]:
    yield f"{file.mode or 'neither UTC nor LOCAL'}, the RTC loses {file.drift_s_per_day:+.6f} s a day"


def _settings(settings: ClockSetAtBoot) -> Iterator[str]:
    for setting in settings.settings[-4:]:
        step = "" if setting.step_s is None else f" by {seconds(setting.step_s)}"
        yield f"{setting.at_s:.1f} s after boot: {setting.by} from the {setting.source}{step}"
    if not settings.settings:
        yield "nothing that the journal tells"


def _drift(drift: ClockDrift) -> Iterator[str]:
    for each in drift.drifts:
        against = "its uncorrected self" if each.reference == "uncorrected" else f"the {each.reference}"
        yield (
            f"{each.rate_ppm:+.2f} ppm against {against} ({each.low_ppm:+.2f} to {each.high_ppm:+.2f}, "
            f"{each.readings} readings over {each.span_s / 60:.1f} min): {each.off_in_24h_s:+.2f} s in 24 h"
        )
    if drift.note:
        yield drift.note


_TITLES = {
    "ClockServices": "services",
    "KeeperStates": "keeper",
    "KernelClock": "kernel",
    "ClockSource": "clock source",
    "PtpReading": "hypervisor",
    "RtcReading": "RTC",
    "AdjtimeFile": "adjtime",
    "ClockSetAtBoot": "set by",
    "ClockDrift": "drift",
}
_TOLD: dict[str, Any] = {
    "ClockServices": _services,
    "KeeperStates": _keepers,
    "KernelClock": _kernel,
    "ClockSource": _source,
    "PtpReading": _ptp,
    "RtcReading": _rtc,
    "AdjtimeFile": _adjtime,
    "ClockSetAtBoot": _settings,
    "ClockDrift": _drift,
}
