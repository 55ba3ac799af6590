"""The engine: which facts the selected checks need, each observed once; the checks run; the results collected."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import date
from typing import Any

from hostward.checks import CHECKS, Check
from hostward.config import Config
from hostward.facts import WATCHES, observer_of
from hostward.host import Host, HostError, NotLive
from hostward.model import Finding, NotApplicable, Outcome, Remedy, Result, Severity, Unavailable
from hostward.remedies import REMEDIES, NoRemedy


def parameter_types(function: Callable[..., Any]) -> list[tuple[str, str, bool]]:
    """(name, type's name, whether it takes Unavailable too) of each parameter, from the annotations' text."""
    found = []
    for name, annotation in function.__annotations__.items():
        if name == "return":
            continue
        text = annotation if isinstance(annotation, str) else annotation.__name__
        parts = [part.strip() for part in text.split("|")]
        types = [part for part in parts if part != "Unavailable"]
        if len(types) != 1:
            raise TypeError(f"{function.__module__}.{function.__name__}: parameter {name} wants one fact, not {text!r}")
        found.append((name, types[0], len(parts) > len(types)))
    return found


class Engine:
    """Judges one host.  Facts are observed on demand, each once, and kept for this engine's life."""

    def __init__(self, host: Host, config: Config, today: date | None = None) -> None:
        self.host = host
        self.config = config
        self.today = today or date.today()
        self.facts: dict[str, Any] = {"Host": host, "Config": config}

    def fact(self, name: str) -> Any:
        """The fact of this type's name, or the Unavailable that says why it can't be had."""
        if name not in self.facts:
            observer = observer_of(name)
            if observer is None:
                raise LookupError(f"no observer of the fact {name} is known: it has no line in hostward.facts.HOMES")
            self.facts[name] = Unavailable(f"the fact {name} needs itself")
            try:
                self.facts[name] = self._call(observer)
            except Unavailable as reason:
                self.facts[name] = reason
            except NotLive as error:
                self.facts[name] = NotApplicable(str(error))
            except HostError as error:
                self.facts[name] = Unavailable(str(error))
            except Exception as error:
                # One observer's fault must not take the others along; it is told, as a skip with its place.
                self.facts[name] = Unavailable(f"observing {name} failed: {describe(error)}")
        return self.facts[name]

    def forget(self) -> None:
        """Observe anew from here on: after a remedy, nothing that was seen before counts."""
        self.facts = {"Host": self.host, "Config": self.config}

    def _call(self, function: Callable[..., Any]) -> Any:
        arguments = {}
        for name, kind, takes_unavailable in parameter_types(function):
            value = self.fact(kind)
            if isinstance(value, Unavailable) and not takes_unavailable:
                raise value
            arguments[name] = value
        return function(**arguments)

    def run(self, check: Check) -> Result:
        """Runs one check: passed, findings, skipped with the reason, disabled with the reason, or failed."""
        return replace(self._run(check), references=check.references)

    def _run(self, check: Check) -> Result:
        off = self.config.disabled_checks.get(check.id)
        if off is not None and self.today <= off.until:
            return Result(check.id, check.title, Outcome.DISABLED, (), f"{off.reason} (until {off.until})")
        found: list[Finding] = []
        reason, applicable = "", True
        try:
            for finding in self._call(check.function) or ():
                found.append(finding)
        except Unavailable as why:
            reason, applicable = why.reason, not isinstance(why, NotApplicable)
        except Exception as error:
            return Result(check.id, check.title, Outcome.FAILED, (), describe(error))
        if off is not None:
            found.append(expired(check, off.until))
        outcome = Outcome.FINDINGS if found else Outcome.SKIPPED if reason else Outcome.PASSED
        return Result(check.id, check.title, outcome, _ordered(check, found), reason, applicable)

    def check(self, selected: Iterable[Check]) -> list[Result]:
        return [self.run(check) for check in selected]

    def plan(self, remedy_id: str) -> Remedy:
        """The steps of a remedy on this host.  Raises NoRemedy(reason) where it does not fit."""
        try:
            remedy = self._call(REMEDIES[remedy_id].plan)
        except Unavailable as reason:
            raise NoRemedy(reason.reason) from None
        assert isinstance(remedy, Remedy)
        return remedy


def expired(check: Check, until: date) -> Finding:
    return Finding(
        Severity.WARNING,
        f"the switch-off of this check ran out on {until}",
        subject="configuration",
        advice=f"Remove checks.disabled.{check.id} from the configuration, or give it a new date and reason.",
    )


def _ordered(check: Check, findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Worst first, otherwise as the check gave them; each carries the check's references if it has none."""
    whole = [f if f.references else replace(f, references=check.references) for f in findings]
    return tuple(sorted(whole, key=lambda f: -f.severity))


def describe(error: BaseException) -> str:
    """An exception in a line: what, and where in the code it was raised."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    where = ""
    if frame is not None:
        file = frame.tb_frame.f_code.co_filename.rpartition("/hostward/")[2]
        where = f" at {file}:{frame.tb_lineno}"
    return f"{type(error).__name__}: {error}{where} (a fault of hostward: please report it)"


def exit_status(results: Iterable[Result]) -> int:
    """The monitoring-plugin convention: 0 all passed, 1 warnings, 2 errors, 3 could not tell.

    An error outranks what could not be told (a check that failed, or was skipped though it applies
    here), which outranks a warning: who watches the status must not take a blind check for a good one.
    """
    results = list(results)
    worst = max((r.severity for r in results if r.severity is not None), default=Severity.INFO)
    if worst is Severity.ERROR:
        return 2
    if any(r.outcome is Outcome.FAILED or r.blind for r in results):
        return 3
    return 1 if worst is Severity.WARNING else 0


def facts_of(function: Callable[..., Any], seen: set[str] | None = None) -> set[str]:
    """The facts that a check or an observer is given, and those that are needed for them."""
    seen = set() if seen is None else seen
    for _, name, _ in parameter_types(function):
        if name not in seen:
            seen.add(name)
            observer = observer_of(name)
            if observer is not None:
                facts_of(observer, seen)
    return seen


def events_of(function: Callable[..., Any]) -> set[str]:
    """The kinds of events that may change what a check or an observer is given."""
    return {kind for name in facts_of(function) for kind in WATCHES.get(name, ())}


def checks_for(events: Iterable[str]) -> list[Check]:
    """The checks whose facts these kinds of events may have changed; every check after "all" and "config", since the
    configuration also says which checks are switched off."""
    events = set(events)
    if events & {"all", "config"}:
        return list(CHECKS.values())
    return [check for check in CHECKS.values() if events & events_of(check.function)]


def select(patterns: Iterable[str]) -> list[Check]:
    """The checks that ids or globs name, all of them for none.  Raises LookupError naming the nearest ids."""
    import fnmatch

    patterns = list(patterns)
    if not patterns:
        return list(CHECKS.values())
    chosen: dict[str, Check] = {}
    for pattern in patterns:
        hits = [c for c in CHECKS.values() if fnmatch.fnmatchcase(c.id, pattern)]
        if not hits:
            import difflib

            near = difflib.get_close_matches(pattern, CHECKS, 3, 0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else "`hostward explain` lists them"
            raise LookupError(f"no check is called {pattern}: {hint}")
        chosen.update((c.id, c) for c in hits)
    return [c for c in CHECKS.values() if c.id in chosen]
