"""Repairs: the remedies that fit what was found, applied under the lock, proven by the check, else taken back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from hostward.checks import CHECKS
from hostward.engine import Engine
from hostward.host import Host, HostError
from hostward.host.journal import Entry, Journal
from hostward.host.lock import Held, Lock
from hostward.host.moment import now
from hostward.model import Finding, Outcome, Remedy, RepairClass, Result, Severity, Unavailable
from hostward.remedies import REMEDIES, NoRemedy, RemedyKind, executor, policy
from hostward.remedies.executor import Report

#: How long a repair that nobody watches waits for another hostward, in seconds; the next judgement comes anyway.
_UNATTENDED_WAIT_S = 0.5


@dataclass(frozen=True)
class Plan:
    """A remedy for this host, who has to agree to it, and the findings it is for as (check, subject)."""

    remedy: Remedy
    kind: RepairClass
    findings: tuple[tuple[str, str], ...]

    @property
    def checks(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(check for check, _ in self.findings))


@dataclass(frozen=True)
class Planned:
    """What can be done about some results.  `left` has a line for each finding that no remedy fits, with why."""

    plans: tuple[Plan, ...]
    left: tuple[str, ...]

    @property
    def to_apply(self) -> tuple[Plan, ...]:
        return tuple(plan for plan in self.plans if plan.kind is not RepairClass.ADVICE)

    @property
    def advice(self) -> tuple[Plan, ...]:
        """What only a person does: it is shown and never applied."""
        return tuple(plan for plan in self.plans if plan.kind is RepairClass.ADVICE)


@dataclass(frozen=True)
class Repaired:
    """What became of a plan.

    `outcome`: "helped"; "undone" (it did not help and was taken back); "did-not-help" (and can't be taken back);
    "waiting" and "gave-up" (see remedies.policy), "held-back" (a person undid it), "refused" (not begun: `said` tells
    why).  `number` is its number in the journal, 0 where none was begun.  `results` are its checks' results after it.
    `wait_s` is when to try again.
    """

    plan: Plan
    outcome: str
    number: int = 0
    said: str = ""
    results: tuple[Result, ...] = ()
    wait_s: float = 0.0


def class_of(engine: Engine, kind: RemedyKind, remedy: Remedy) -> RepairClass:
    """Who has to agree to a remedy: as the configuration says, else as the remedy itself; a person where this host
    says that its state may be meant."""
    found = engine.config.repair_classes.get(kind.id, kind.kind)
    return RepairClass.ON_REQUEST if remedy.ask and found is RepairClass.UNATTENDED else found


def plans(engine: Engine, results: Iterable[Result], choose: Iterable[str] = (), only: Iterable[str] = ()) -> Planned:
    """The remedies for what was found, each once: for each finding the first that fits.

    `choose` are ways other than the default; `only` are ids of remedies, and then no other is planned.
    """
    chosen, wanted = set(choose), set(only)
    made: dict[str, Remedy] = {}
    refused: dict[str, str] = {}
    findings: dict[str, list[tuple[str, str]]] = {}
    left: list[str] = []
    for result in results:
        for finding in result.findings:
            why: list[str] = []
            for kind in _ways(finding, chosen, wanted):
                if kind.id not in made and kind.id not in refused:
                    try:
                        made[kind.id] = engine.plan(kind.id)
                    except NoRemedy as error:
                        refused[kind.id] = error.reason
                if kind.id in made:
                    findings.setdefault(kind.id, []).append((result.check, finding.subject))
                    break
                why.append(refused[kind.id])
            else:
                left += [f"{result.check}: {reason}" for reason in why]
    found = [
        Plan(remedy, class_of(engine, REMEDIES[id], remedy), tuple(findings[id]))
        for id, remedy in made.items()
        if id in findings
    ]
    return Planned(tuple(found), tuple(dict.fromkeys(left)))


def _ways(finding: Finding, choose: set[str], only: set[str]) -> Iterator[RemedyKind]:
    ways = [REMEDIES[id] for id in finding.remedies]
    if only:
        yield from (kind for kind in ways if kind.id in only)
        return
    chosen = [kind for kind in ways if kind.choice and kind.choice in choose]
    yield from chosen or [kind for kind in ways if not kind.choice]


def journal_of(host: Host) -> Journal:
    return Journal(f"{host.state_directory}/repairs")


def lock_of(host: Host, what: str, wait_s: float, waiting: Callable[[str], None] | None = None) -> Lock:
    return Lock(what, wait_s, waiting, f"{host.state_directory}/lock")


def apply(engine: Engine, plan: Plan, by: str, report: Report) -> Repaired:
    """Applies a plan, proves it by its checks, and takes it back where they still fail.  The caller holds the lock.

    Another hostward may have been at work since the plan was made, so it is made again first, and refused if it
    is not the same any more.  Raises HostError where the journal can't be written; then nothing was changed.
    """
    engine.forget()
    before = _results(engine, plan)
    again = plans(engine, before, only=(plan.remedy.id,)).plans
    if not again:
        return Repaired(
            plan, "helped", said="what it is for is not there any more; nothing was changed", results=before
        )
    if again[0].remedy.steps != plan.remedy.steps:
        return Repaired(plan, "refused", said="what it would do has changed since it was planned; plan it again")
    entry = executor.begin(
        engine.host, plan.remedy, by=by, print=_print(engine, plan), findings=[list(pair) for pair in plan.findings]
    )
    try:
        whole = executor.apply(engine.host, plan.remedy, entry, report)
    except Exception:
        executor.close(entry, "failed", "a fault of hostward stopped it")
        raise
    engine.forget()
    after = _results(engine, plan)
    if _helped(plan, after):
        executor.close(entry, "helped")
        return Repaired(plan, "helped", entry.number, results=after)
    why = "not all steps could be done" if not whole else "its check still fails"
    stays = executor.cant_undo(entry)
    if stays:
        said = f"{why}; not undone: {stays[0]}"
        executor.close(entry, "did-not-help", said)
        return Repaired(plan, "did-not-help", entry.number, said, _telling(plan, after, entry, said))
    undone = executor.undo(engine.host, entry, report)
    said = f"{why}; it was undone" if undone else f"{why}, and not all of it could be undone"
    executor.close(entry, "undone" if undone else "did-not-help", said)
    engine.forget()
    after = _telling(plan, _results(engine, plan), entry, said)
    return Repaired(plan, "undone" if undone else "did-not-help", entry.number, said, after)


def unattended(engine: Engine, results: Iterable[Result], by: str, report: Report = lambda _: None) -> list[Repaired]:
    """Applies what the configuration lets happen with nobody watching: with a back-off, and never for ever."""
    made = []
    for plan in plans(engine, results).plans:
        if plan.kind is RepairClass.UNATTENDED and engine.host.live:
            made.append(_unattended(engine, plan, by, report))
    return made


def _unattended(engine: Engine, plan: Plan, by: str, report: Report) -> Repaired:
    try:
        with lock_of(engine.host, by, _UNATTENDED_WAIT_S):
            decision = policy.decide(journal_of(engine.host).entries(), _print(engine, plan), now())
            if decision.word == "go":
                return apply(engine, plan, by, report)
            results = _gave_up(plan, _results(engine, plan), decision) if decision.word == "gave-up" else ()
            return Repaired(plan, decision.word, said=decision.reason, results=results, wait_s=decision.wait_s)
    except Held as error:
        return Repaired(plan, "waiting", said=str(error), wait_s=5.0)
    except HostError as error:
        return Repaired(plan, "refused", said=str(error))


def undo(host: Host, entry: Entry, report: Report) -> bool:
    """Takes a repair back because a person asked for it; the caller holds the lock.  Whether all of it was."""
    try:
        entry.add("undo", by="undo")
    except HostError:
        pass  # a full disk: taking back is safe without the record
    whole = executor.undo(host, entry, report)
    executor.close(entry, "undone" if whole else "partly-undone")
    return whole


def _results(engine: Engine, plan: Plan) -> tuple[Result, ...]:
    return tuple(engine.run(CHECKS[check]) for check in plan.checks)


def _print(engine: Engine, plan: Plan) -> str:
    running = engine.fact("RunningKernel")
    release = "" if isinstance(running, Unavailable) else str(running.release)
    return policy.fingerprint(plan.remedy, plan.findings, release)


def _helped(plan: Plan, results: Iterable[Result]) -> bool:
    for result in results:
        if result.outcome is Outcome.FAILED or (result.outcome is Outcome.SKIPPED and result.applicable):
            return False
        if any((result.check, finding.subject) in plan.findings for finding in result.findings):
            return False
    return True


def _telling(plan: Plan, results: Iterable[Result], entry: Entry, said: str) -> tuple[Result, ...]:
    """The results, with the findings that the plan was for saying what was tried."""
    line = f"tried: {plan.remedy.title} (`hostward log {entry.number}`): {said}"
    return tuple(
        replace(
            result,
            findings=tuple(
                replace(finding, evidence=(*finding.evidence, line))
                if (result.check, finding.subject) in plan.findings
                else finding
                for finding in result.findings
            ),
        )
        for result in results
    )


def _gave_up(plan: Plan, results: Iterable[Result], decision: policy.Decision) -> tuple[Result, ...]:
    """The results, each with a finding that says that nothing is tried any more."""
    found = []
    for result in results:
        finding = Finding(
            Severity.WARNING,
            f"gave up: {plan.remedy.title} is not tried any more",
            subject=f"repair {plan.remedy.id}",
            evidence=(decision.reason,),
            advice="Look at `hostward log`, then repair by hand or with `hostward fix`; "
            "it is tried again by itself once the facts change.",
            references=result.references,
        )
        found.append(replace(result, outcome=Outcome.FINDINGS, findings=(*result.findings, finding)))
    return tuple(found)
