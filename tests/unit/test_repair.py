"""Repairs from end to end on a tree of files: planned, applied, proven, undone where they do not help."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hostward import repair
from hostward.checks import CHECKS, Check
from hostward.config import Config
from hostward.engine import Engine
from hostward.facts import HOMES, OBSERVERS
from hostward.host import Host
from hostward.host.journal import Journal
from hostward.host.lock import Lock
from hostward.model import Finding, Outcome, Remedy, RepairClass, Result, RunProgram, Severity, Step, WriteFile
from hostward.remedies import REMEDIES, NoRemedy, RemedyKind
from hostward.remedies.executor import Applied

CHECK, REMEDY = "test.good", "test.make-good"


class State:
    """What the tree holds."""

    def __init__(self, text: str) -> None:
        self.text = text


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An engine for a tree whose /state ought to say "good", and a remedy that writes what `wrote` says."""
    (tmp_path / "state").write_text("bad\n")
    host = Host(str(tmp_path), live=True)
    host.state_directory = str(tmp_path / "agent")

    def observe(host: Host) -> State:
        return State(host.text("/state").strip())

    def good(state: State) -> Iterator[Finding]:
        if state.text != "good":
            yield Finding(Severity.ERROR, f"it is {state.text}", subject="state", remedies=(REMEDY,))

    def plan(state: State) -> Remedy:
        if state.text == "hopeless":
            raise NoRemedy("there is no hope")
        return Remedy(REMEDY, "Make it good", tuple(STEPS))

    STEPS[:] = [WriteFile("/state", "good\n")]
    monkeypatch.setitem(HOMES, "State", "test")
    monkeypatch.setitem(OBSERVERS, "State", observe)
    monkeypatch.setitem(CHECKS, CHECK, Check(CHECK, "it is good", (), good))
    kind = RemedyKind(REMEDY, "make it good", "", RepairClass.UNATTENDED, RepairClass.UNATTENDED, plan)
    monkeypatch.setitem(REMEDIES, REMEDY, kind)
    return Engine(host, Config())


STEPS: list[Step] = []


def check(engine: Engine) -> list[Result]:
    engine.forget()
    return [engine.run(CHECKS[CHECK])]


def state(engine: Engine) -> str:
    return engine.host.text("/state").strip()


def outcomes(engine: Engine) -> list[str]:
    entries = Journal(f"{engine.host.state_directory}/repairs").entries()
    return [entry.of_kind("end")[-1]["outcome"] for entry in entries]


def unattended(engine: Engine) -> repair.Repaired:
    (made,) = repair.unattended(engine, check(engine), "watch")
    return made


def test_a_repair_that_helps(engine: Engine) -> None:
    seen: list[Applied] = []
    (made,) = repair.unattended(engine, check(engine), "watch", seen.append)
    assert (made.outcome, made.number, [one.done for one in seen]) == ("helped", 1, [True])
    assert made.results[0].outcome is Outcome.PASSED
    assert state(engine) == "good" and outcomes(engine) == ["helped"]
    assert repair.unattended(engine, check(engine), "watch") == []


def test_one_that_does_not_help_is_undone_and_the_finding_says_so(engine: Engine) -> None:
    STEPS[:] = [WriteFile("/state", "worse\n")]
    made = unattended(engine)
    assert made.outcome == "undone" and "its check still fails; it was undone" in made.said
    assert state(engine) == "bad" and outcomes(engine) == ["undone"]
    (finding,) = made.results[0].findings
    assert finding.summary == "it is bad"
    assert finding.evidence[-1] == "tried: Make it good (`hostward log 1`): its check still fails; it was undone"


def test_one_that_cannot_be_undone_is_left_and_says_why(engine: Engine) -> None:
    STEPS[:] = [RunProgram(("true",))]
    made = unattended(engine)
    assert made.outcome == "did-not-help" and "not undone: nothing takes back `true`" in made.said


def test_a_step_that_fails_takes_back_those_before_it(engine: Engine) -> None:
    STEPS[:] = [WriteFile("/state", "half\n"), RunProgram(("false",), undo=("true",))]
    made = unattended(engine)
    assert made.outcome == "undone" and made.said.startswith("not all steps could be done")
    assert state(engine) == "bad"


def test_it_is_not_tried_again_at_once_and_given_up_in_the_end(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    STEPS[:] = [WriteFile("/state", "worse\n")]
    assert unattended(engine).outcome == "undone"
    later = unattended(engine)
    assert later.outcome == "waiting" and 50 < later.wait_s <= 60
    monkeypatch.setattr("hostward.remedies.policy.WAIT_S", 0.0)
    for _ in range(4):
        assert unattended(engine).outcome == "undone"
    over = unattended(engine)
    assert over.outcome == "gave-up"
    gave_up = over.results[0].findings[-1]
    assert "gave up: Make it good is not tried any more" in gave_up.summary and "tried 5 times" in gave_up.evidence[0]
    assert len(outcomes(engine)) == 5
    STEPS[:] = [WriteFile("/state", "good\n")]
    assert unattended(engine).outcome == "helped", "other steps are another try"


def test_what_a_person_undid_is_left_alone(engine: Engine) -> None:
    assert unattended(engine).outcome == "helped"
    entry = Journal(f"{engine.host.state_directory}/repairs").entry(1)
    assert repair.undo(engine.host, entry, lambda _: None)
    assert state(engine) == "bad"
    assert unattended(engine).outcome == "held-back"
    (plan,) = repair.plans(engine, check(engine)).plans
    assert repair.apply(engine, plan, "fix", lambda _: None).outcome == "helped"


def test_a_plan_that_has_changed_since_it_was_shown_is_refused(engine: Engine) -> None:
    (plan,) = repair.plans(engine, check(engine)).plans
    STEPS[:] = [WriteFile("/elsewhere", "x\n")]
    made = repair.apply(engine, plan, "fix", lambda _: None)
    assert made.outcome == "refused" and "has changed since it was planned" in made.said
    assert state(engine) == "bad" and not engine.host.exists("/elsewhere")


def test_what_somebody_else_mended_meanwhile_needs_nothing(engine: Engine) -> None:
    (plan,) = repair.plans(engine, check(engine)).plans
    Path(engine.host.root, "state").write_text("good\n")
    made = repair.apply(engine, plan, "fix", lambda _: None)
    assert (made.outcome, made.number) == ("helped", 0)


@pytest.mark.parametrize("kind", [RepairClass.ON_REQUEST, RepairClass.ADVICE])
def test_only_what_may_happen_unattended_does(engine: Engine, kind: RepairClass) -> None:
    engine.config.repair_classes[REMEDY] = kind
    assert repair.unattended(engine, check(engine), "watch") == [] and state(engine) == "bad"
    planned = repair.plans(engine, check(engine))
    assert (len(planned.to_apply), len(planned.advice)) == ((1, 0) if kind is RepairClass.ON_REQUEST else (0, 1))


def test_what_may_be_meant_is_not_done_unattended(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = REMEDIES[REMEDY]
    asking = replace(kind, plan=lambda state: replace(kind.plan(state), ask="a note says so"))
    asking.plan.__annotations__.update(state="State")
    monkeypatch.setitem(REMEDIES, REMEDY, asking)
    assert repair.unattended(engine, check(engine), "watch") == []
    (plan,) = repair.plans(engine, check(engine)).to_apply
    assert plan.kind is RepairClass.ON_REQUEST and repair.apply(engine, plan, "fix", lambda _: None).outcome == "helped"


def test_while_another_holds_the_lock_nothing_is_done(engine: Engine) -> None:
    results = check(engine)
    with Lock("fix", path=f"{engine.host.state_directory}/lock"):
        (made,) = repair.unattended(engine, results, "watch")
    assert made.outcome == "waiting" and "hostward fix (process" in made.said and state(engine) == "bad"


def test_a_journal_that_cannot_be_written_means_no_repair(engine: Engine) -> None:
    Path(engine.host.state_directory).mkdir(mode=0o700)
    Path(engine.host.state_directory, "repairs").write_text("a file in the way")
    made = unattended(engine)
    assert made.outcome == "refused" and "repairs" in made.said and state(engine) == "bad"


def test_why_no_remedy_fits_is_told(engine: Engine) -> None:
    Path(engine.host.root, "state").write_text("hopeless\n")
    planned = repair.plans(engine, check(engine))
    assert planned.plans == () and planned.left == (f"{CHECK}: there is no hope",)
    assert repair.plans(engine, check(engine), only=["another"]) == repair.Planned((), ())
