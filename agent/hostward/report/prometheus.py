"""The report for Prometheus, in its text format 0.0.4: findings, what could not be judged, the clock, module verdicts.

Figures are in base units (s, and ratios where the field says ppm); https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hostward import __version__
from hostward.model import Outcome, Result, Severity, Unavailable, as_json

#: A sample: the metric's name without the prefix, its labels, its value.
Sample = tuple[str, dict[str, str], float]

#: Metric -> what its HELP line says.  All are gauges: a count of repairs is of those that the journal still has.
_HELP = {
    "build_info": "The agent's version, as a label.",
    "last_run_timestamp_seconds": "When the last judgement ended, by this machine's clock.",
    "last_run_duration_seconds": "How long the last judgement took.",
    "findings": "Findings that stand, by check and severity.",
    "check_blind": "Whether the check applies here and could not be made.",
    "check_outcome": "1 for the outcome that the check last had.",
    "clock_offset_seconds": "The system clock minus what `source` holds true.",
    "clock_offset_bound_seconds": "The bound of the error of clock_offset_seconds.",
    "clock_drift_ratio": "By how much the system clock gains against `reference`, in s a s (1e-6 is a ppm).",
    "clock_drift_low_ratio": "The least that clock_drift_ratio may be.",
    "clock_drift_high_ratio": "The most that clock_drift_ratio may be.",
    "clock_synchronised": "Whether the kernel takes its clock for synchronised (STA_UNSYNC is clear).",
    "clock_maxerror_seconds": "The kernel's own bound of its clock's error (maxerror of adjtimex).",
    "clock_keeper_synchronised": "Whether the keeper says that it follows a source.",
    "modules": "Modules outside kernel/, by kernel and by what that kernel would answer.",
    "repairs": "Repairs in the journal, by how they ended.",
}
_PPM = 1e-6
_VERDICTS = ("loads", "fails", "unknown")


def gather(facts: Mapping[str, Any]) -> dict[str, list[Sample]]:
    """The samples of those facts that were observed, by the fact's name: [] for one that can't be had."""
    found: dict[str, list[Sample]] = {}
    for name, samples in _OF.items():
        if name in facts:
            fact = facts[name]
            found[name] = [] if isinstance(fact, Unavailable) else list(samples(fact))
    return found


def _keepers(fact: Any) -> Iterable[Sample]:
    for state in fact.states:
        labels = {"source": state.keeper}
        if state.synchronised is not None:
            yield "clock_keeper_synchronised", {"keeper": state.keeper}, float(state.synchronised)
        yield from _offset(labels, state.offset_s, state.uncertainty_s)


def _offset(labels: dict[str, str], offset_s: float | None, bound_s: float | None) -> Iterable[Sample]:
    if offset_s is not None:
        yield "clock_offset_seconds", labels, offset_s
        if bound_s is not None:
            yield "clock_offset_bound_seconds", labels, bound_s


def _kernel_clock(fact: Any) -> Iterable[Sample]:
    yield "clock_synchronised", {}, float(fact.synchronised)
    yield "clock_maxerror_seconds", {}, fact.maxerror_s


def _drift(fact: Any) -> Iterable[Sample]:
    for drift in fact.drifts:
        labels = {"reference": drift.reference}
        yield "clock_drift_ratio", labels, drift.rate_ppm * _PPM
        yield "clock_drift_low_ratio", labels, drift.low_ppm * _PPM
        yield "clock_drift_high_ratio", labels, drift.high_ppm * _PPM


def _modules(fact: Any) -> Iterable[Sample]:
    counts: dict[str, dict[str, int]] = {}
    for module in fact.modules:
        of_kernel = counts.setdefault(module.release, dict.fromkeys(_VERDICTS, 0))
        of_kernel[module.verdict.outcome] = of_kernel.get(module.verdict.outcome, 0) + 1
    for release, of_kernel in counts.items():
        for verdict, count in of_kernel.items():
            yield "modules", {"kernel": release, "verdict": verdict}, float(count)


def _repairs(fact: Any) -> Iterable[Sample]:
    counts: dict[str, int] = {}
    for repair in fact.repairs:
        outcome = repair.outcome or "interrupted"
        counts[outcome] = counts.get(outcome, 0) + 1
    for outcome, count in counts.items():
        yield "repairs", {"outcome": outcome}, float(count)


_OF = {
    "KeeperStates": _keepers,
    "PtpReading": lambda fact: _offset({"source": "hypervisor"}, fact.offset_s, fact.uncertainty_s),
    "RtcReading": lambda fact: _offset({"source": "RTC"}, -fact.offset_s, fact.uncertainty_s),
    "KernelClock": _kernel_clock,
    "ClockDrift": _drift,
    "ModuleVerdicts": _modules,
    "Repairs": _repairs,
}


def text(results: Iterable[Result], measures: Mapping[str, Iterable[Any]], ended_at: float, duration_s: float) -> str:
    """The whole exposition.  `ended_at` is CLOCK_REALTIME in s; `measures` what `gather` made, perhaps over JSON."""
    samples: list[Sample] = [
        ("build_info", {"version": __version__}, 1.0),
        ("last_run_timestamp_seconds", {}, ended_at),
        ("last_run_duration_seconds", {}, duration_s),
    ]
    for result in results:
        samples += _of_check(result)
    for of_fact in measures.values():
        samples += [(str(name), dict(labels), float(value)) for name, labels, value in of_fact]
    by_metric: dict[str, list[Sample]] = {}
    for sample in samples:
        by_metric.setdefault(sample[0], []).append(sample)
    lines = []
    for metric in _HELP:
        if metric in by_metric:
            lines.append(f"# HELP hostward_{metric} {_HELP[metric]}")
            lines.append(f"# TYPE hostward_{metric} gauge")
            lines += dict.fromkeys(_line(*sample) for sample in by_metric[metric])
    return "\n".join(lines) + "\n"


def _of_check(result: Result) -> Iterable[Sample]:
    for severity in Severity:
        count = sum(1 for finding in result.findings if finding.severity is severity)
        yield "findings", {"check": result.check, "severity": severity.word}, float(count)
    blind = result.outcome is Outcome.FAILED or result.blind
    yield "check_blind", {"check": result.check}, float(blind)
    yield "check_outcome", {"check": result.check, "outcome": result.outcome.value}, 1.0


def _line(metric: str, labels: dict[str, str], value: float) -> str:
    inner = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
    number = str(int(value)) if value == int(value) and abs(value) < 1e15 else f"{value:.13g}"
    return f"hostward_{metric}{{{inner}}} {number}" if inner else f"hostward_{metric} {number}"


def _escaped(text: str) -> str:
    """A label's value: backslash, quote and newline are escaped, and what is no UTF-8 becomes backslash escapes."""
    clean: str = as_json(text)
    return clean.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
