"""The state: what was written is there after a kill, a damaged file and a clock that was set; and it stays bounded."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hostward.host import HostError, Missing, Untrusted
from hostward.host import state as state_module
from hostward.host.database import MIGRATIONS, SCHEMA
from hostward.host.history import ClockSample, History
from hostward.host.moment import Moment
from hostward.host.state import FINDINGS_MAX, Merged, Run, Standing, State, Transition, bounded
from hostward.model import BZ, Finding, Outcome, Result, Severity

AGENT = Path(__file__).parents[3] / "agent"
WHEN = Moment(1_790_000_000.25, "boot-a", 12.5)
FOUND = Finding(Severity.ERROR, "it is broken", "/etc/x", ("line 1", "line 2"), "mend it", ("a.remedy",), (BZ(1),))
RESULT = Result("a.check", "it works", Outcome.FINDINGS, (FOUND,), "half of it", True, (BZ(2),))


def transition(number: int = 1, when: Moment = WHEN) -> Transition:
    return Transition(0, when, "a.check", f"/etc/{number}", "appeared", "error", f"number {number}", {"advice": "mend"})


def write(state: State, *transitions: Transition, result: Result = RESULT) -> str:
    return state.merge(lambda old: ({result.check: Standing(result, False, WHEN, WHEN)}, [], list(transitions)))


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State.at(str(tmp_path / "state"))


def test_what_was_written_is_there(state: State) -> None:
    with pytest.raises(Missing, match="the daemon, writes it"):
        state.picture()
    assert write(state, transition()) == ""
    run = Run(WHEN, 0.8, {"reason": "start", "pid": 7})
    assert state.close_run(run, {"clock": {"offset_s": 0.25}}) == ""
    picture = state.picture()
    assert picture.standings == {"a.check": Standing(RESULT, False, WHEN, WHEN)}
    assert picture.run == run and picture.measures == {"clock": {"offset_s": 0.25}}
    assert state.transitions() == [replace(transition(), id=1)]
    assert state.transitions("b.*") == [] and len(state.transitions("a.*")) == 1
    assert Path(state.path).stat().st_mode & 0o777 == 0o600


def test_merging_is_given_what_stands_and_may_forget_it(state: State) -> None:
    write(state)
    seen = []

    def work(old: dict[str, Standing]) -> Merged:
        seen.append(old)
        return {}, ["a.check"], [transition()]

    state.merge(work)
    assert seen == [{"a.check": Standing(RESULT, False, WHEN, WHEN)}]
    assert state.picture().standings == {}


def test_a_merge_that_fails_writes_nothing(state: State) -> None:
    write(state, transition(1))

    def work(old: dict[str, Standing]) -> Merged:
        raise RuntimeError("a fault")

    with pytest.raises(RuntimeError):
        state.merge(work)
    assert len(state.transitions()) == 1 and set(state.picture().standings) == {"a.check"}


def test_untold_ones_are_told_later_in_their_order(state: State) -> None:
    write(state, transition(1), transition(2))
    state.add([transition(3)])
    untold = state.untold()
    assert [t.summary for t in untold] == ["number 1", "number 2", "number 3"]
    state.told([t.id for t in untold[:2]])
    assert [t.summary for t in state.untold()] == ["number 3"]
    assert len(state.transitions()) == 3


def test_transitions_are_bounded_by_number_whatever_their_dates(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "TRANSITIONS_MAX", 100)
    dates = [0.0, 4_102_444_800.0, 1_790_000_000.0, -5.0]
    for start in range(0, 250, 50):
        moment = [Moment(dates[n % 4], "boot", float(n)) for n in range(start, start + 50)]
        state.add(transition(start + n, moment[n]) for n in range(50))
    kept = state.transitions(limit=1000)
    assert [t.summary for t in kept] == [f"number {n}" for n in range(150, 250)]
    assert [t.summary for t in state.transitions(limit=3)] == ["number 247", "number 248", "number 249"]


def test_documents_are_bounded(state: State) -> None:
    huge = Finding(Severity.ERROR, "s" * 9999, "p" * 9999, ("e" * 9999,) * 500, "a" * 99_999)
    many = replace(RESULT, findings=tuple(replace(huge, subject=f"{n}") for n in range(1000)), reason="r" * 99_999)
    small = bounded(many)
    assert len(small.findings) == FINDINGS_MAX + 1
    assert "800 more findings" in small.findings[-1].summary and small.findings[-1].severity is Severity.ERROR
    assert bounded(small).findings[:FINDINGS_MAX] == small.findings[:FINDINGS_MAX], (
        "cutting what is cut changes nothing"
    )
    write(state, replace(transition(), document={"advice": "a" * 9999, "evidence": ["e" * 300] * 100, "n": [0] * 9999}))
    with sqlite3.connect(state.path) as database:
        (text,) = database.execute("SELECT document FROM transition").fetchone()
    assert len(text) <= 2_000 and json.loads(text)["advice"].startswith("aaa")


def test_undecodable_names_are_kept_as_escapes(state: State) -> None:
    odd = bounded(replace(RESULT, findings=(replace(FOUND, subject="/caf\udce9"),)))
    write(
        state, replace(transition(), subject="/caf\udce9", document={"why": "\udcff", "evidence": ["\0"]}), result=odd
    )
    assert state.transitions()[0].document == {"why": "\\xff", "evidence": ["\0"]}
    state.close_run(Run(WHEN, 1.0, {"reason": "/caf\udce9"}), {"x": ["\udce9"]})
    assert state.transitions()[0].subject == "/caf\\xe9"
    assert state.picture().standings["a.check"].result.findings[0].subject == "/caf\\xe9"


def test_a_file_of_the_first_schema_is_brought_up_to_date_and_loses_nothing(tmp_path: Path) -> None:
    place = tmp_path / "state"
    place.mkdir(0o700)
    path = place / "hostward.db"
    with sqlite3.connect(path) as database:
        for statement in MIGRATIONS[0]:
            database.execute(statement)
        database.execute("INSERT INTO clock_sample VALUES (1, 'boot-a', 'rtc0', 1, 2, 0.5, 0.1)")
        database.execute("PRAGMA user_version = 1")
    path.chmod(0o600)
    state, history = State(str(path)), History(str(path))
    with pytest.raises(Missing):
        state.picture()
    assert history.samples("boot-a") == [ClockSample("boot-a", "rtc0", 1, 2, 0.5, 0.1)]
    assert write(state, transition()) == ""
    assert history.samples("boot-a") == [ClockSample("boot-a", "rtc0", 1, 2, 0.5, 0.1)]
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (SCHEMA,)
    assert len(state.transitions()) == 1


def test_a_damaged_file_is_put_aside_with_words(state: State) -> None:
    write(state, transition())
    Path(state.path).write_bytes(b"no database " * 1000)
    with pytest.raises(HostError, match="damaged"):
        state.picture()
    assert "it was moved to" in write(state, transition(2))
    assert [t.summary for t in state.transitions()] == ["number 2"]
    assert Path(state.path + ".damaged").read_bytes().startswith(b"no database")


@pytest.mark.parametrize(
    "spoil",
    [
        "UPDATE result SET document = '{\"check\": 1}'",
        "UPDATE result SET document = 'no json'",
        "UPDATE result SET since_at = 'yesterday'",
        "DROP TABLE result",
        "PRAGMA user_version = 0",
        "PRAGMA user_version = -3",
    ],
)
def test_rows_that_hostward_did_not_write_so_count_as_damage(state: State, spoil: str) -> None:
    write(state)
    database = sqlite3.connect(state.path)
    database.execute(spoil)
    database.commit()
    database.close()
    assert "it was moved to" in write(state)
    assert set(state.picture().standings) == {"a.check"}


def test_an_error_of_ours_never_costs_the_file(state: State) -> None:
    write(state, transition())
    with pytest.raises(HostError, match="NOT NULL"):
        state.add([replace(transition(), check=None)])  # type: ignore[arg-type]
    assert not Path(state.path + ".damaged").exists()
    assert len(state.transitions()) == 1


def test_killed_in_the_middle_again_and_again(state: State) -> None:
    writer = (
        "import sys; from hostward.host.state import *; from hostward.host.moment import now\n"
        "from hostward.model import *\n"
        "s = State(sys.argv[1]); n = int(sys.argv[2])\n"
        "while True:\n"
        "    r = Result('a.check', 't', Outcome.FINDINGS, (Finding(Severity.ERROR, str(n)),))\n"
        "    t = Transition(0, now(), 'a.check', str(n), 'changed', 'error', str(n), {})\n"
        "    s.merge(lambda old: ({'a.check': Standing(r, False, now(), now())}, [], [t]))\n"
        "    print(n, flush=True); n += 1\n"
    )
    done = 0
    for round_number in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", writer, state.path, str(done + 1)],
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": str(AGENT)},
            text=True,
        )
        assert process.stdout is not None
        for _ in range(4 + 3 * round_number):
            done = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        done = max([done, *(int(line) for line in process.stdout)])
        process.wait()
        numbers = [int(t.subject) for t in state.transitions(limit=100_000)]
        assert set(range(1, done + 1)) <= set(numbers)
        done = max(numbers)
        # the result and its transition are one: never the one without the other
        assert state.picture().standings["a.check"].result.findings[0].summary == str(done)
    assert len(numbers) == len(set(numbers))


def test_a_place_that_others_may_write_is_refused(state: State) -> None:
    write(state)
    Path(state.path).parent.chmod(0o777)
    for call in (lambda: write(state), lambda: state.picture()):
        with pytest.raises(Untrusted):
            call()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")
def test_a_full_disk_is_said_and_costs_nothing(tmp_path: Path) -> None:
    script = 'mount -t tmpfs -o size=256k,mode=0700 none $1 && exec "$2" -c "$3" $1'
    code = (
        "import sys; from hostward.host.state import *; from hostward.host import HostError\n"
        "from hostward.host.moment import now\n"
        "s = State.at(sys.argv[1]); t = Transition(0, now(), 'a.b', '', 'appeared', 'error', 'x' * 300, {})\n"
        "n = 0\n"
        "try:\n"
        "    while n < 100: s.add([t] * 20); n += 1\n"
        "except HostError as e: print(e)\n"
        "assert 0 < n < 100 and len(s.transitions(limit=10**6)) == 20 * n, n\n"
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", str(tmp_path), sys.executable, code],
        env={**os.environ, "PYTHONPATH": str(AGENT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "full" in done.stdout or "disk I/O error" in done.stdout


def test_taking_over_what_was_kept_elsewhere(state: State, tmp_path: Path) -> None:
    other = State.at(str(tmp_path / "run"), keep_open=True)
    write(state, transition(1))
    write(other, transition(2), transition(3), result=replace(RESULT, check="b.check"))
    state.told([1])
    other.told([1])
    state.take_over(other)
    assert [t.summary for t in state.transitions()] == ["number 1", "number 2", "number 3"]
    assert [t.summary for t in state.untold()] == ["number 3"]
    assert set(state.picture().standings) == {"a.check", "b.check"}
    assert list((tmp_path / "run").iterdir()) == []
