"""One judgement after another: what is told, kept and answered; real checks, real repairs, a real state file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from hostward import checks, facts, remedies
from hostward.checks import CHECKS, Check
from hostward.daemon.judge import Judgement
from hostward.daemon.memory import Memory
from hostward.facts import HOMES, OBSERVERS, WATCHES
from hostward.host import Host
from hostward.host.moment import Moment, now
from hostward.host.state import State
from hostward.model import Finding, Remedy, RepairClass, Severity, Step, Unavailable, WriteFile
from hostward.remedies import REMEDIES, RemedyKind
from tests.hosts import rhel5
from tests.unit.host.test_journald import in_a_journald_of_its_own

REPOSITORY = Path(__file__).parents[3]
CHECK, REMEDY = "test.good", "test.make-good"


class Recorder:
    """The journal, as far as the daemon sees of it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.fields: list[dict[str, str]] = []
        self.away = False

    def send(self, message: str, fields: dict[str, str]) -> bool:
        if self.away:
            return False
        self.lines.append(message)
        self.fields.append(fields)
        return True


class Daemon:
    """What the daemon's parent does, for a host in a directory: a task, its answer, and what the journal got of it."""

    def __init__(self, root: Path, live: bool = True, tmp: Path | None = None) -> None:
        self.place = (tmp or root) / "agent"
        self.fallback = (tmp or root) / "run"
        self.root = root
        self.live = live
        self.journal = Recorder()
        self.config = (tmp or root) / "hostward.yaml"
        self.config.write_text('prometheus: {textfile: ""}\n')

    @property
    def state(self) -> State:
        return State.at(str(self.place))

    def judge(self, *events: str, clock: Callable[[], Moment] = now, **more: Any) -> dict[str, Any]:
        host = Host(str(self.root), live=self.live)
        host.state_directory = str(self.place)
        memory = Memory(State.at(str(self.place)), State.at(str(self.fallback)))
        task = {"events": list(events or ["all"]), "reason": "test", "config": str(self.config), **more}
        answer = Judgement(host, self.journal, memory=memory, clock=clock).run(task)  # type: ignore[arg-type]
        json.dumps(answer)
        return answer

    def told(self, *events: str, **more: Any) -> list[str]:
        del self.journal.lines[:], self.journal.fields[:]
        self.judge(*events, **more)
        return list(self.journal.lines)


class Seen:
    def __init__(self, text: str) -> None:
        self.text = text


STEPS: list[Step] = []


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """A host whose /state ought to say good; a remedy for "bad" that writes what STEPS says."""
    checks.load_all(), facts.load_all(), remedies.load_all()
    (tmp_path / "state").write_text("good\n")

    def observe(host: Host) -> Seen:
        text = host.text("/state").strip()
        if text == "hidden":
            raise Unavailable("it is hidden")
        return Seen(text)

    def good(state: Seen) -> Iterator[Finding]:
        for word in state.text.split():
            if word != "good":
                ways = (REMEDY,) if word == "bad" else ()
                yield Finding(Severity.ERROR, f"it is {word}", subject=word, advice="Mend it.", remedies=ways)

    def plan(state: Seen) -> Remedy:
        return Remedy(REMEDY, "Make it good", tuple(STEPS))

    STEPS[:] = [WriteFile("/state", "good\n")]
    for id in list(CHECKS):
        monkeypatch.delitem(CHECKS, id)
    monkeypatch.setitem(HOMES, "Seen", "test")
    monkeypatch.setitem(WATCHES, "Seen", ("modules",))
    monkeypatch.setitem(OBSERVERS, "Seen", observe)
    monkeypatch.setitem(CHECKS, CHECK, Check(CHECK, "it is good", (), good))
    kind = RemedyKind(REMEDY, "make it good", "", RepairClass.UNATTENDED, RepairClass.UNATTENDED, plan)
    monkeypatch.setitem(REMEDIES, REMEDY, kind)
    yield Daemon(tmp_path)


def put(daemon: Daemon, text: str) -> None:
    (daemon.root / "state").write_text(text + "\n")


def test_transitions_not_repetition(daemon: Daemon) -> None:
    assert daemon.told(first=True) == ["watches this host: nothing wrong"]
    put(daemon, "worn")
    assert daemon.told() == ["test.good: it is worn"]
    assert daemon.told() == []
    put(daemon, "hidden")
    assert daemon.told() == [
        "test.good: can't be judged: it is hidden; its 1 finding of before may still be so",
    ]
    assert daemon.told() == []
    put(daemon, "good")
    assert daemon.told() == ["test.good: can be judged again", "test.good: no longer so: it is worn"]
    assert [(t.what, t.subject) for t in daemon.state.transitions()] == [
        ("start", ""), ("appeared", "worn"), ("blind", ""), ("sighted", ""), ("gone", "worn")
    ]  # fmt: skip


def test_only_what_an_event_may_change_is_judged_again(daemon: Daemon) -> None:
    daemon.judge()
    put(daemon, "worn")
    assert daemon.told("clock", "units") == []
    assert daemon.told("clock", "modules") == ["test.good: it is worn"]


def test_answers(daemon: Daemon) -> None:
    put(daemon, "worn torn")
    answer = daemon.judge()
    assert answer["status"].startswith("2 errors; judged in 0.")
    assert (answer["severity"], answer["again_s"]) == ("error", None)
    assert {"trees", "directories", "files", "units", "kinds"} == set(answer["watch"])
    put(daemon, "hidden")
    assert daemon.judge()["severity"] == "error", "what was found before may still be so"
    put(daemon, "good")
    assert daemon.judge()["severity"] == "ok"
    put(daemon, "hidden")
    answer = daemon.judge()
    assert answer["severity"] == "unknown" and "1 check can't be judged" in answer["status"]


def test_a_repair_is_told_between_what_was_found_and_that_it_is_gone(daemon: Daemon) -> None:
    put(daemon, "bad worn")
    STEPS[:] = [WriteFile("/state", "worn\n")]
    assert daemon.told() == [
        "test.good: it is bad",
        "test.good: it is worn",
        "test.good: Make it good",
        "test.good: no longer so: it is bad",
    ]
    repaired = daemon.journal.fields[2]
    assert (repaired["HOSTWARD_TRANSITION"], repaired["HOSTWARD_REMEDY"]) == ("repaired", REMEDY)
    assert repaired["HOSTWARD_REPAIR"] == "1"
    assert daemon.told() == []


def test_no_repair_when_told_so(daemon: Daemon) -> None:
    put(daemon, "bad")
    assert daemon.told(no_repair=True) == ["test.good: it is bad"]
    assert (daemon.root / "state").read_text() == "bad\n"


def test_a_repair_that_does_not_help_is_undone_told_and_tried_again_later_and_given_up(daemon: Daemon) -> None:
    put(daemon, "bad")
    STEPS[:] = [WriteFile("/state", "bad bad\n")]
    told = daemon.told()
    assert told[0] == "test.good: it is bad" and "Make it good (its check still fails" in told[1] and len(told) == 2
    assert daemon.journal.fields[1]["HOSTWARD_TRANSITION"] == "repair-undone"
    answer = daemon.judge()
    assert 50 < answer["again_s"] <= 60
    assert daemon.told() == [], "a back-off is no news"


def test_given_up_is_a_finding_told_once_with_its_own_id(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    from hostward.daemon.messages import GAVE_UP, message_id
    from hostward.remedies import policy

    monkeypatch.setattr(policy, "WAIT_S", 0.0)
    monkeypatch.setattr(policy, "TRIES_MAX", 2)
    put(daemon, "bad")
    STEPS[:] = [WriteFile("/state", "bad bad\n")]
    daemon.judge(), daemon.judge()
    (told,) = daemon.told()
    assert "gave up: Make it good" in told
    assert daemon.journal.fields[0]["MESSAGE_ID"] == message_id(GAVE_UP)
    assert daemon.journal.fields[0]["HOSTWARD_REMEDY"] == REMEDY
    assert daemon.told() == [] == daemon.told()


def test_a_fault_in_a_remedy_takes_nothing_else_along(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    def plan(state: Seen) -> Remedy:
        raise ZeroDivisionError("a fault")

    kind = RemedyKind(REMEDY, "x", "", RepairClass.UNATTENDED, RepairClass.UNATTENDED, plan)
    monkeypatch.setitem(REMEDIES, REMEDY, kind)
    put(daemon, "bad")
    told = daemon.told()
    assert told[0] == "test.good: it is bad" and "ZeroDivisionError" in told[1]
    assert daemon.told() == []


def test_a_broken_configuration_is_told_loudly_and_nothing_is_repaired(daemon: Daemon) -> None:
    put(daemon, "bad")
    daemon.config.write_text("repair: [\n")
    told = daemon.told()
    assert any("hostward.yaml:2: not valid YAML" in line for line in told) and "test.good: it is bad" in told
    assert (daemon.root / "state").read_text() == "bad\n"
    assert daemon.told() == []
    daemon.config.write_text('prometheus: {textfile: ""}\n')
    told = daemon.told("config")
    assert told[-1].startswith("hostward.configuration: no longer so:") or told[0].startswith("test.good: Make it good")
    assert (daemon.root / "state").read_text() == "good\n"
    daemon.config.unlink()
    assert any("hostward.yaml: does not exist" in line for line in daemon.told())


def test_a_switched_off_check_is_judged_again_when_that_runs_out(daemon: Daemon) -> None:
    put(daemon, "worn")
    daemon.judge()
    until = date.today() + timedelta(days=400)
    daemon.config.write_text(f'checks: {{disabled: {{{CHECK}: {{reason: "r", until: {until}}}}}}}\n')
    assert daemon.told() == [f"test.good: no longer so: it is worn (the check is switched off: r (until {until}))"]
    assert daemon.judge()["again_s"] == 86400
    daemon.config.write_text(f'checks: {{disabled: {{{CHECK}: {{reason: "r", until: {date.today()}}}}}}}\n')
    assert 0 < daemon.judge()["again_s"] <= 86400


def test_a_clock_that_was_set_is_told_first_and_a_slewed_one_is_not(daemon: Daemon) -> None:
    def at(up: float, ahead_s: float) -> Callable[[], Moment]:
        return lambda: Moment(1_790_000_000.0 + up + ahead_s, "boot-a", up)

    assert daemon.told("clock", clock=at(100, 0)) == []
    assert daemon.told("clock", clock=at(110, 0.1)) == []
    assert daemon.told("clock", clock=at(5110, 2.5)) == [], "500 ppm for an hour and more"
    put(daemon, "worn")
    assert daemon.told("modules", "clock", clock=at(5120, -9e8)) == [
        "the clock was set back by 900000002.5 s", "test.good: it is worn"
    ]  # fmt: skip
    assert daemon.told("clock", clock=at(5130, -9e8 + 12.25)) == ["the clock was set forward by 12.2 s"]
    assert daemon.told("clock", clock=lambda: Moment(5.0, "boot-b", 1.0)) == []


def test_without_a_journal_nothing_is_lost(daemon: Daemon) -> None:
    daemon.journal.away = True
    put(daemon, "worn")
    assert daemon.told() == []
    put(daemon, "good")
    assert daemon.told() == []
    daemon.journal.away = False
    assert daemon.told() == ["test.good: it is worn", "test.good: no longer so: it is worn"]
    assert daemon.told() == []


def test_a_damaged_state_is_told_and_begun_anew(daemon: Daemon) -> None:
    put(daemon, "worn")
    daemon.judge()
    Path(daemon.state.path).write_bytes(b"rubbish" * 999)
    told = daemon.told()
    assert "test.good: it is worn" in told
    assert len([line for line in told if "it was moved to" in line]) == 1
    assert daemon.told() == []


def test_where_the_state_can_not_be_written_it_is_kept_elsewhere(daemon: Daemon) -> None:
    put(daemon, "worn")
    daemon.judge()
    daemon.place.rename(daemon.root / "aside")
    daemon.place.write_text("a file stands in the way\n")
    told = daemon.told()
    assert any(line.startswith("hostward.state:") for line in told) and "test.good: it is worn" in told
    assert daemon.told() == []
    put(daemon, "good")
    assert daemon.told() == ["test.good: no longer so: it is worn"]
    daemon.place.unlink()
    (daemon.root / "aside").rename(daemon.place)
    (line,) = daemon.told()
    assert line.startswith("hostward.state: no longer so: ")
    assert daemon.told() == []
    happened = [(t.what, t.check) for t in daemon.state.transitions()]
    assert happened == [("appeared", CHECK), ("appeared", CHECK), ("appeared", "hostward.state"), ("gone", CHECK),
                        ("gone", "hostward.state")]  # fmt: skip
    assert not list(daemon.fallback.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="a directory that root may not write to needs a mount")
def test_a_read_only_place_carries_over_what_was_told(daemon: Daemon, tmp_path: Path) -> None:
    """Written, then remounted read-only: what stands is read from there and goes on in the other place."""
    code = f"""
import subprocess, sys
from pathlib import Path
sys.path.insert(0, {str(REPOSITORY)!r})
import pytest
place, run = Path({str(tmp_path / "ro")!r}), Path({str(tmp_path / "rw")!r})
place.mkdir(); subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0700", "none", place], check=True)
from hostward.daemon.memory import Memory
from hostward.host.moment import now
from hostward.host.moment import Moment, now
from hostward.host.state import State
from hostward.model import *
def merge(finding):
    memory = Memory(State.at(str(place)), State.at(str(run)))
    memory.merge([Result("a.check", "t", Outcome.FINDINGS if finding else Outcome.PASSED, finding)], None, now(), False)
    return memory
merge((Finding(Severity.ERROR, "broken"),))
subprocess.run(["mount", "-o", "remount,ro", place], check=True)
memory = merge((Finding(Severity.ERROR, "broken"),))
assert "can't be written" in memory.trouble, memory.trouble
assert State.at(str(run)).transitions() == [], "told once already"
merge(())
assert [t.what for t in State.at(str(run)).transitions()] == ["gone"]
"""
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "agent")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_the_textfile_and_that_it_can_not_be_written(daemon: Daemon) -> None:
    (daemon.root / "out").mkdir()
    daemon.config.write_text(f"prometheus: {{textfile: {daemon.root}/out/x.prom}}\n")
    put(daemon, "worn")
    daemon.judge()
    text = (daemon.root / "out/x.prom").read_text()
    assert 'hostward_findings{check="test.good",severity="error"} 1' in text
    (daemon.root / "out").rename(daemon.root / "out2")
    (told,) = daemon.told("clock")
    assert told.startswith("hostward.textfile:") and "does not exist" in told
    assert daemon.told("clock") == []
    (daemon.root / "out2").rename(daemon.root / "out")
    (told,) = daemon.told("clock")
    assert told.startswith("hostward.textfile: no longer so")
    assert 'hostward_findings{check="test.good",severity="error"} 1' in (daemon.root / "out/x.prom").read_text()


def test_a_whole_host_with_its_real_checks(tmp_path: Path) -> None:
    """A RHEL 5.6 host in a tree: everything is told once, a mended link is told as gone, module events do not ask
    for the clock."""
    tree = tmp_path / "host"
    rhel5.build(tree)
    daemon = Daemon(tree, live=False, tmp=tmp_path)
    told = daemon.told()
    assert any(line.startswith("clock.") for line in told) and any(line.startswith("modules.") for line in told)
    assert daemon.told() == [] == daemon.told("modules")
    answer = daemon.judge("modules")
    assert answer["severity"] in ("error", "unknown")
    assert any(path.endswith("/weak-updates") for path in answer["watch"]["trees"])


def test_run_in_a_process_of_its_own_tells_a_real_journald() -> None:
    """`run` as the daemon's child calls it, on this machine, with nothing of it replaced but /run and /var/lib."""
    code = """
import subprocess, os
subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "none", "/var/lib"], check=True)
from hostward.daemon.judge import run
answer = run({"events": ["all"], "reason": "test", "first": True, "no_repair": True})
assert set(answer) == {"status", "severity", "watch", "again_s"}, answer
again = run({"events": ["drift"], "reason": "test", "first": False, "no_repair": True})
assert os.stat("/var/lib/hostward/hostward.db").st_mode & 0o777 == 0o600
"""
    entries = in_a_journald_of_its_own(code)
    assert [e["HOSTWARD_TRANSITION"] for e in entries].count("start") == 1
    assert entries[-1]["MESSAGE"].startswith("watches this host: ")
