"""`hostward status` and `hostward history`: from the state alone, at once, whatever the clock was set to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from hostward.host import liveness
from hostward.host.moment import Moment, now
from hostward.host.state import Run, Standing, State, Transition
from hostward.model import Finding, Outcome, Result, Severity

REPOSITORY = Path(__file__).parents[2]
FOUND = Finding(Severity.ERROR, "nothing keeps the \x1b[31mclock", "clock", advice="Enable one.")
RESULTS = (
    Result("a.good", "all is well", Outcome.PASSED),
    Result("b.bad", "something keeps the clock", Outcome.FINDINGS, (FOUND,)),
    Result("c.blind", "it is seen", Outcome.SKIPPED, (), "no answer"),
    Result("d.kept", "it is kept", Outcome.FAILED, (replace(FOUND, severity=Severity.WARNING),), "a fault"),
    Result("e.off", "it is off", Outcome.DISABLED, (), "as planned (until 2030-01-01)"),
)


def hostward(*arguments: str, python: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *python, "-m", "hostward", *arguments],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY / "agent"), "TZ": "UTC"},
        timeout=60,
    )


def written(place: Path, when: Moment, severity: str = "error", pid: int = 0, *transitions: Transition) -> State:
    state = State.at(str(place))
    standings = {r.check: Standing(r, r.check == "d.kept", when, when) for r in RESULTS}
    state.merge(lambda old: (standings, [], list(transitions)))
    document = {"reason": "units changed", "version": "0.1", "pid": 1, "daemon": pid or os.getpid(),
                "daemon_started": liveness.started(pid or os.getpid()), "summary": "1 error, 1 warning",
                "severity": severity}  # fmt: skip
    state.close_run(Run(when, 0.75, document), {})
    return state


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "state"


def ago(seconds: float) -> Moment:
    moment = now()
    return Moment(moment.at - seconds, moment.boot, moment.up - seconds)


def test_without_a_state_it_can_not_tell(place: Path) -> None:
    for command in ("status", "history"):
        done = hostward(command, "--state", str(place))
        assert done.returncode == 3 and "holds no judgement yet" in done.stderr and done.stdout == ""


@pytest.mark.parametrize(("severity", "status"), [("ok", 0), ("warning", 1), ("error", 2), ("unknown", 3), ("odd", 3)])
def test_the_exit_status_is_that_of_the_judgement(place: Path, severity: str, status: int) -> None:
    written(place, ago(60), severity)
    assert hostward("status", "--state", str(place)).returncode == status


def test_the_text(place: Path) -> None:
    written(place, ago(300))
    out = hostward("status", "--state", str(place)).stdout
    assert out.startswith("1 error, 1 warning (judged 5 min ago in 0.8 s, because of: units changed)\nthe daemon runs")
    assert "ERROR  b.bad" in out and "a.good" not in out and "e.off" not in out and "\x1b" not in out
    assert "not judged since: a fault; this is what was found before" in out
    assert out.index("b.bad") < out.index("d.kept") < out.index("c.blind")
    everything = hostward("status", "--state", str(place), "--all").stdout
    assert "PASS   a.good" in everything and "OFF    e.off" in everything


def test_whether_the_daemon_runs(place: Path) -> None:
    child = subprocess.Popen(["sleep", "100"])
    try:
        written(place, ago(1), "ok", child.pid)
        assert f"the daemon runs (process {child.pid}" in hostward("status", "--state", str(place)).stdout
    finally:
        child.kill()
        child.wait()
    assert "the daemon does not run" in hostward("status", "--state", str(place)).stdout


@pytest.mark.parametrize(
    ("when", "why"),
    [
        (ago(26 * 3600), "judged 26 h ago"),
        (Moment(now().at - 60, "another", 60.0), "another boot"),
        (Moment(4_102_444_800.0, "another", 60.0), "another boot"),
    ],
)
def test_a_stale_state_is_no_answer(place: Path, when: Moment, why: str) -> None:
    written(place, when, "ok")
    done = hostward("status", "--state", str(place))
    assert done.returncode == 3 and why in done.stdout and "stale:" in done.stdout


@pytest.mark.parametrize("at", [0.0, 4_102_444_800.0])
def test_a_clock_set_to_1970_or_2100_upsets_nothing(place: Path, at: float) -> None:
    """Judged when the clock showed something else, in this boot: the age is right all the same."""
    written(place, replace_at(ago(300), at), "ok")
    done = hostward("status", "--state", str(place))
    assert done.returncode == 0 and "judged 5 min ago" in done.stdout


def replace_at(moment: Moment, at: float) -> Moment:
    return Moment(at, moment.boot, moment.up)


def validated(name: str, *arguments: str) -> Any:
    schema = json.loads((REPOSITORY / f"config/schema/{name}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    done = hostward(name, *arguments, "--format", "json")
    document = json.loads(done.stdout)
    jsonschema.validate(document, schema)
    return document


def test_json_follows_its_schema(place: Path) -> None:
    written(place, ago(60))
    document = validated("status", "--state", str(place))
    assert document["status"] == 2 and document["daemon"]["runs"] is True and 59 < document["judged"]["age_s"] < 120
    assert [c["check"] for c in document["checks"] if c["kept"]] == ["d.kept"]
    assert [c["check"] for c in document["checks"] if c["blind"]] == ["c.blind", "d.kept"]


def transition(number: int, when: Moment, check: str = "b.bad") -> Transition:
    return Transition(0, when, check, "s", "appeared", "error", f"number {number}", {"evidence": ["x"], "why": "y"})


def test_history_selects_by_id_number_and_time(place: Path) -> None:
    boots = [Moment(ago(0).at - 9e5, "older boot", 5.0), ago(7200), ago(60)]
    written(
        place, ago(1), "ok", 0, *(transition(n, when) for n, when in enumerate(boots)), transition(3, ago(1), "a.x")
    )
    where = ("--state", str(place))
    assert [t["summary"][-1] for t in validated("history", *where)["transitions"]] == ["0", "1", "2", "3"]
    assert [t["summary"][-1] for t in validated("history", "b.*", *where)["transitions"]] == ["0", "1", "2"]
    assert [t["summary"][-1] for t in validated("history", *where, "-n", "2")["transitions"]] == ["2", "3"]
    assert [t["summary"][-1] for t in validated("history", *where, "--since", "1h")["transitions"]] == ["2", "3"]
    assert [t["summary"][-1] for t in validated("history", *where, "--since", "3h", "-n", "2")["transitions"]] == [
        "2",
        "3",
    ]
    assert len(validated("history", *where, "--since", "1999-12-31 23:59")["transitions"]) == 4
    assert validated("history", "z", *where)["transitions"] == []
    assert hostward("history", "z", *where).stdout == "Nothing is known to have changed.\n"
    bad = hostward("history", *where, "--since", "soon")
    assert bad.returncode == 3 and "neither a span such as" in bad.stderr


def test_history_tells_boots_and_a_clock_that_was_set(place: Path) -> None:
    boot = now().boot
    when = [
        Moment(1_790_000_000.0, "b1", 100.0), Moment(0.0, "b1", 160.0), Moment(4_102_444_800.0, "b1", 200.0),
        Moment(1_790_000_000.0, boot, 1.0),
    ]  # fmt: skip
    written(place, ago(1), "ok", 0, *(transition(n, at) for n, at in enumerate(when)))
    lines = hostward("history", "--state", str(place)).stdout.splitlines()
    kinds = [line if line.startswith("--") else line[:4] for line in lines]
    assert kinds[:7] == [
        "2026", "-- the clock was set back by 20717 days --", "1970", "-- the clock was set forward by 47481 days --",
        "2100", "-- boot; by the clock before what stands above --", "2026",
    ]  # fmt: skip


@pytest.mark.parametrize("command", ["status", "history"])
def test_it_starts_at_once(place: Path, command: str) -> None:
    """Neither the engine nor what is slow to load is loaded for it."""
    written(place, ago(60))
    done = hostward(command, "--state", str(place), python=("-X", "importtime"))
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    heavy = {"yaml", "psutil", "distro", "systemd", "asyncio", "subprocess", "hostward.engine", "hostward.repair"}
    assert not heavy & loaded
    assert not {name for name in loaded if name.startswith(("hostward.checks", "hostward.facts", "hostward.kmod"))}


def test_a_damaged_state_is_an_error_in_a_line(place: Path) -> None:
    state = written(place, ago(60))
    Path(state.path).write_bytes(b"rubbish" * 999)
    done = hostward("status", "--state", str(place))
    assert done.returncode == 3 and "is damaged" in done.stderr and "Traceback" not in done.stderr
