"""One judgement, in a child of the daemon: the checks that events call for, repairs, and what changed, told once.

`run` is all that the daemon knows of it. It loads the engine and everything under it, which the daemon never does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from hostward import __version__, config, remedies, repair
from hostward.config import Config
from hostward.daemon import messages, places
from hostward.daemon.memory import Memory
from hostward.daemon.messages import CONFIGURATION, STATE, TEXTFILE
from hostward.daemon.selection import Selected, by_signature, select
from hostward.engine import Engine, describe, exit_status, facts_of
from hostward.host import Host, HostError, liveness, textfile
from hostward.host.journald import JournalWriter
from hostward.host.moment import Moment, now
from hostward.host.state import Picture, Run, Standing, Transition
from hostward.model import Finding, Outcome, Result, Severity, Unavailable, as_json
from hostward.report import prometheus
from hostward.yamldoc import ConfigError

if TYPE_CHECKING:
    from hostward.checks import Check
    from hostward.repair import Repaired

_TITLES = {
    CONFIGURATION: "hostward's configuration is in order",
    STATE: "hostward's state can be written",
    TEXTFILE: "the figures for Prometheus can be written",
}
#: The longest time to the next judgement that is asked for, in seconds.
_AGAIN_MAX_S = 86400.0
#: What the wall clock and the time since boot may run apart without the clock having been set: the reading of the two,
#: and the rate by which adjtimex(2) lets a clock be slewed, twice.
_STEP_S = 0.2
_SLEW = 0.001
#: Facts whose observers wait: for the second of the RTC to turn.
_SLOW = {"RtcReading"}
_WORDS = {0: "ok", 1: "warning", 2: "error", 3: "unknown"}
#: What became of a repair -> the message that tells it.  Of the others ("waiting", "held-back") nothing is told, and
#: "gave-up" is a finding of its own.
_REPAIRS = {
    "helped": messages.REPAIRED,
    "undone": messages.UNDONE,
    "did-not-help": messages.FAILED,
    "failed": messages.FAILED,
    "refused": messages.FAILED,
}


def run(task: dict[str, Any]) -> dict[str, Any]:
    """Does one task of the daemon on the running machine.

    `task`: "events" (kinds of events, or ["all"]), "reason" (for the record), "first" (of this daemon), and, where
    they are given, "no_repair", "config" (a file instead of the installed ones) and "daemon" (the daemon's process id;
    none for a judgement that no daemon asked for).

    The answer: "status" (a line for people), "severity" (ok, warning, error, unknown), "watch" ("trees",
    "directories", "files", "units" to watch, and "kinds": path -> kind of event), "again_s" (when to judge again
    whatever happens, None for no need).
    """
    return Judgement(Host.running(), JournalWriter(), choose=select).run(task)


class Judgement:
    """What one task works with; tests hand in a host, a writer of messages, a clock and an engine of their own."""

    def __init__(
        self,
        host: Host,
        writer: JournalWriter,
        clock: Callable[[], Moment] = now,
        engine_of: Callable[[Host, Config], Engine] = Engine,
        memory: Memory | None = None,
        choose: Callable[[Iterable[str]], Selected] = by_signature,
    ) -> None:
        self.host = host
        self.writer = writer
        self.clock = clock
        self.engine_of = engine_of
        self.memory = memory or Memory.of(host)
        self.choose = choose

    def run(self, task: dict[str, Any]) -> dict[str, Any]:
        started = time.monotonic()
        if "clock" in task["events"]:
            self._tell_step()
        selected, known = self.choose(task["events"])
        settings, wrong = _configuration(str(task.get("config", "")), known)
        self.host.program_timeout_s = settings.program_timeout_s
        engine = self.engine_of(self.host, settings)
        results = self._judge(engine, selected)
        measures, units = _measures(engine), _units(engine)  # before repairs: they make the engine forget
        mend = not task.get("no_repair") and not wrong and any(f.remedies for r in results for f in r.findings)
        if mend:
            # What is found is told before anything is done about it; what is no longer found, once repairs are over.
            self._merge(results, tentative=True)
            repaired, results = self._repair(engine, results)
            measures.update(_measures(engine))
            units = _units(engine) or units
        else:
            repaired = []
        everything = [*known, *_TITLES] if len(selected) == len(known) else None
        self._merge([*results, _own(CONFIGURATION, wrong)], known=everything)
        picture = self._publish(settings, measures, started)
        return self._close(task, engine, picture, measures, units, repaired, started, wrong)

    def _judge(self, engine: Engine, selected: list[Check]) -> list[Result]:
        """Runs the checks; what those find that need not wait for the RTC's next second is told before it is waited
        for."""
        slow = [check for check in selected if _SLOW & facts_of(check.function)]
        quick = engine.check([check for check in selected if check not in slow])
        if slow and any(result.findings for result in quick):
            self._merge(quick, tentative=True)
            self.memory.tell(self.writer, self.clock())
        return [*quick, *engine.check(slow)]

    def _merge(self, results: Iterable[Result], known: list[str] | None = None, tentative: bool = False) -> None:
        said = self.memory.merge(results, known, self.clock(), tentative)
        if said:
            self._note(Transition(0, self.clock(), STATE, "", messages.DAMAGED, "warning", said, {"why": said}))

    def _tell_step(self) -> None:
        """Tells that the clock was set, before anything is judged: a look at the RTC alone takes a second."""
        moment = self.clock()
        run = self.memory.last_run(moment)
        if run is None:
            return
        passed_s = moment.up - run.when.up
        step_s = (moment.at - run.when.at) - passed_s
        if abs(step_s) > max(_STEP_S, passed_s * _SLEW):
            words = f"the clock was set {'forward' if step_s > 0 else 'back'} by {abs(step_s):.1f} s"
            self.memory.add(Transition(0, moment, "hostward", "", messages.CLOCK_SET, "warning", words, {}))
            self.memory.tell(self.writer, moment)

    def _repair(self, engine: Engine, results: list[Result]) -> tuple[list[Repaired], list[Result]]:
        """Applies what may be applied with nobody watching, and gives the results as they are after it."""
        try:
            repaired = repair.unattended(engine, results, by="watch")
        except Exception as error:
            # The results stand all the same, and a fault of a remedy must not take the judgement along.
            why = describe(error)
            self._note(
                Transition(0, self.clock(), STATE, "", messages.FAILED, "error", "repairing failed", {"why": why})
            )
            return [], results
        fresh = {result.check: result for result in results}
        for each in repaired:
            fresh.update((result.check, result) for result in each.results)
            kind = _REPAIRS.get(each.outcome)
            if kind is not None and (each.number or each.said or each.outcome != "helped"):
                self._note(_of_repair(each, kind, self.clock()))
        return repaired, list(fresh.values())

    def _note(self, transition: Transition) -> None:
        """Adds a transition of no check; one that was the last of its kind already is not told again."""
        self.memory.note(transition)

    def _publish(self, settings: Config, measures: dict[str, Any], started: float) -> Picture:
        """Writes the textfile where it is wanted; that it can't be is a finding like any other."""
        picture = self.memory.picture()
        path = textfile.target(settings.prometheus_textfile)
        trouble = ""
        if path:
            results = [standing.result for standing in picture.standings.values()]
            text = prometheus.text(
                results, {**picture.measures.get("prometheus", {}), **measures}, self.clock().at,
                time.monotonic() - started,
            )  # fmt: skip
            try:
                textfile.publish(path, text)
            except HostError as error:
                trouble = str(error)
        own = [_own(TEXTFILE, trouble), _own(STATE, self.memory.trouble)]
        if any(_stands(picture.standings.get(result.check), result) is False for result in own):
            self._merge(own)
            picture = self.memory.picture()
        return picture

    def _close(
        self,
        task: dict[str, Any],
        engine: Engine,
        picture: Picture,
        measures: dict[str, Any],
        units: list[str],
        repaired: list[Repaired],
        started: float,
        wrong: str,
    ) -> dict[str, Any]:
        results = [standing.result for standing in picture.standings.values()]
        summary = summary_of(results)
        severity = _WORDS[exit_status(results)]
        if task.get("first"):
            self._start(picture, summary)
        duration_s = round(time.monotonic() - started, 3)
        units = units or picture.measures.get("units", [])
        daemon = int(task.get("daemon", 0))
        document = {
            "reason": str(task.get("reason", ""))[:500],
            "events": sorted(str(event) for event in task["events"])[:50],
            "version": __version__,
            "pid": os.getpid(),
            "daemon": daemon,
            "daemon_started": liveness.started(daemon),
            "summary": summary,
            "severity": severity,
        }
        kept = {"prometheus": {**picture.measures.get("prometheus", {}), **measures}, "units": units}
        self.memory.close_run(Run(self.clock(), duration_s, document), kept)
        self.memory.tell(self.writer, self.clock())
        self.memory.close()
        return {
            "status": f"{summary}; judged in {duration_s:.1f} s",
            "severity": severity,
            "watch": {**places.watch(self.host), "units": units},
            "again_s": _again_s(engine, repaired, wrong),
        }

    def _start(self, picture: Picture, summary: str) -> None:
        standing = [
            f"{id}: {finding.severity.word}: {finding.summary}"
            for id, known in picture.standings.items()
            for finding in known.result.findings
        ]
        document = {"evidence": standing[:10] or ["nothing wrong"]}
        self.memory.add(
            Transition(
                0, self.clock(), "hostward", "", messages.START, "info", f"watches this host: {summary}", document
            )
        )


def _configuration(path: str, known: list[str]) -> tuple[Config, str]:
    """The configuration, or the defaults and what is wrong with it."""
    try:
        settings = config.load(path)
        if settings.where:
            freest = {id: kind.at_most for id, kind in remedies.load_all().items()}
            settings.verify_ids(known, freest)
        else:
            remedies.load_all()
        return settings, ""
    except (ConfigError, HostError) as error:
        remedies.load_all()
        return Config(), str(error.args[0] if error.args else error)


_ADVICE = {
    CONFIGURATION: "Mend it; until then hostward judges by its defaults, switched-off checks too, and repairs nothing. "
    "`hostward check` says whether it is in order.",
    STATE: "Make room, or make the file system writable again; until then the state is kept in /run and lost at the "
    "next boot.",
    TEXTFILE: 'Make the directory writable, or set prometheus.textfile to another file or to "".',
}


def _own(id: str, trouble: str) -> Result:
    """The result of something that is of the agent itself: passed, or an error with what is wrong."""
    if not trouble:
        return Result(id, _TITLES[id], Outcome.PASSED)
    severity = Severity.WARNING if id == TEXTFILE else Severity.ERROR
    finding = Finding(severity, trouble, advice=_ADVICE[id])
    return Result(id, _TITLES[id], Outcome.FINDINGS, (finding,))


def _stands(standing: Standing | None, result: Result) -> bool:
    """Whether a result of the agent's own says nothing new; that all is well without a record of it is nothing new."""
    if standing is None:
        return result.outcome is Outcome.PASSED
    before = [finding.summary for finding in standing.result.findings]
    return before == [finding.summary for finding in result.findings]


def _measures(engine: Engine) -> dict[str, Any]:
    engine.fact("Repairs")  # cheap, and no check may have asked for it this time
    found: dict[str, Any] = as_json(prometheus.gather(engine.facts))
    return found


def _units(engine: Engine) -> list[str]:
    """The units whose state matters here: those that there are, by their own names; [] where nothing asked for them."""
    units = engine.facts.get("Units")
    if units is None or isinstance(units, Unavailable):
        return []
    return sorted(unit.name for unit in units.all() if "@." not in unit.name)


def _of_repair(each: Repaired, kind: str, moment: Moment) -> Transition:
    remedy = each.plan.remedy
    document = {"repair": str(each.number or ""), "why": each.said}
    severity = "info" if kind == messages.REPAIRED else "warning"
    check = each.plan.checks[0] if each.plan.checks else STATE
    return Transition(
        0, moment, check, f"repair {remedy.id}", kind, severity, f"{check}: {remedy.title}",
        {key: value for key, value in document.items() if value},
    )  # fmt: skip


def _again_s(engine: Engine, repaired: list[Repaired], wrong: str) -> float | None:
    """When to judge again whatever happens: a back-off ends, or a switched-off check is to be made again."""
    waits = [each.wait_s for each in repaired if each.wait_s > 0]
    if not wrong:
        clock = datetime.now()
        for off in engine.config.disabled_checks.values():
            if engine.today <= off.until:
                ends = datetime.combine(off.until + timedelta(days=1), datetime.min.time())
                waits.append(max((ends - clock).total_seconds(), 1.0))
    return round(min(*waits, _AGAIN_MAX_S), 1) if waits else None


def summary_of(results: Iterable[Result]) -> str:
    """ "2 errors, 1 warning, 1 check can't be judged", or "nothing wrong"."""
    results = list(results)
    counts = {severity: sum(f.severity is severity for r in results for f in r.findings) for severity in Severity}
    blind = sum(r.outcome is Outcome.FAILED or r.blind for r in results)
    parts = [
        f"{number} {word}{'s' * (number != 1)}"
        for number, word in ((counts[Severity.ERROR], "error"), (counts[Severity.WARNING], "warning"))
        if number
    ]
    if blind:
        parts.append(f"{blind} check{'s' * (blind != 1)} can't be judged")
    return ", ".join(parts) or "nothing wrong"
