"""What Prometheus is given: text that its parser takes, labels that stay labels, alerts that fire when they should."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hostward.facts.clock_drift import ClockDrift, Drift
from hostward.facts.clock_kernel import KernelClock, PtpReading, RtcReading
from hostward.facts.keeper_state import KeeperState
from hostward.facts.keepers import KeeperStates
from hostward.facts.verdicts import JudgedModule, ModuleVerdicts
from hostward.kmod.verdict import FAILS, LOADS, Verdict
from hostward.model import Finding, Outcome, Result, Severity, Unavailable
from hostward.report.prometheus import gather, text
from tests.lab.debs import extract

REPOSITORY = Path(__file__).parents[3]
PACKAGING = REPOSITORY / "packaging/prometheus"

FACTS: dict[str, Any] = {
    "KeeperStates": KeeperStates((KeeperState("chronyd", True, "10.0.0.1", 2, -0.25, 0.001),)),
    "PtpReading": PtpReading("/dev/ptp0", "KVM virtual PTP", 0.000_012, 1e-6, "precise", 1, 2),
    "RtcReading": RtcReading(1.5, 0.01, "/dev/rtc0", False, 1, 2),
    "KernelClock": KernelClock(True, (), "TIME_OK", 0.0, 0.001, 0.5, 12.5, 37, 10_000, 12.5),
    "ClockDrift": ClockDrift((Drift("RTC", 12.5, 10.0, 15.0, 3600.0, 9, 0),)),
    "ModuleVerdicts": ModuleVerdicts(
        (
            JudgedModule("6.1.0-53", "one", "/a", "/a", Verdict(LOADS)),
            JudgedModule("6.1.0-53", "two", "/b", "/b", Verdict(FAILS, "ENOENT")),
            JudgedModule("6.1.0-54", "one", "/c", "/c", Verdict(FAILS, "ENOEXEC")),
        )
    ),
    "Repairs": SimpleNamespace(repairs=[SimpleNamespace(outcome=o) for o in ("helped", "helped", "")]),
}
FOUND = Finding(Severity.ERROR, "it is broken", "/x")
RESULTS = [
    Result("a.check", "t", Outcome.FINDINGS, (FOUND, FOUND)),
    Result("b.check", "t", Outcome.SKIPPED, (FOUND,), "no answer"),
    Result("c.check", "t", Outcome.SKIPPED, (), "a container", applicable=False),
    Result("d.check", "t", Outcome.FAILED, (), "a fault"),
]


@pytest.fixture(scope="module")
def promtool() -> Callable[..., subprocess.CompletedProcess[str]]:
    """The real one, of Debian's package; left out by name where that can't be had."""
    program = extract("prometheus", "prometheus") / "usr/bin/promtool"

    def run(*arguments: str, input: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, *arguments], input=input, capture_output=True, text=True, cwd=PACKAGING)

    return run


def whole() -> str:
    # Over JSON, as the state keeps measures.
    return text(RESULTS, json.loads(json.dumps(gather(FACTS))), 1_790_000_000.25, 0.75)


def test_figures_and_their_units() -> None:
    lines = whole().splitlines()
    for line in (
        'hostward_findings{check="a.check",severity="error"} 2',
        'hostward_findings{check="a.check",severity="warning"} 0',
        'hostward_findings{check="b.check",severity="error"} 1',
        'hostward_check_blind{check="b.check"} 1',
        'hostward_check_blind{check="c.check"} 0',
        'hostward_check_blind{check="d.check"} 1',
        'hostward_check_outcome{check="d.check",outcome="failed"} 1',
        'hostward_clock_offset_seconds{source="chronyd"} -0.25',
        'hostward_clock_offset_bound_seconds{source="hypervisor"} 1e-06',
        'hostward_clock_offset_seconds{source="RTC"} -1.5',
        'hostward_clock_drift_ratio{reference="RTC"} 1.25e-05',
        'hostward_clock_synchronised 1',
        'hostward_modules{kernel="6.1.0-53",verdict="fails"} 1',
        'hostward_modules{kernel="6.1.0-54",verdict="loads"} 0',
        'hostward_repairs{outcome="interrupted"} 1',
        "hostward_last_run_timestamp_seconds 1790000000.25",
        "hostward_last_run_duration_seconds 0.75",
    ):  # fmt: skip
        assert line in lines, line


def test_what_can_not_be_had_has_no_line_and_what_was_not_asked_stays() -> None:
    assert gather({"KeeperStates": Unavailable("no")}) == {"KeeperStates": []}
    assert gather({}) == {}


@pytest.mark.parametrize("label", ['a"b\\c\nd', "café", "caf\udce9", "", "{}=,", "x" * 5000])
def test_a_label_can_not_break_out(label: str, promtool: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    state = KeeperState(label, True, offset_s=0.5)
    made = text(RESULTS, gather({"KeeperStates": KeeperStates((state,))}), 1.0, 1.0)
    assert len([line for line in made.splitlines() if line.startswith("hostward_clock_offset_seconds{")]) == 1
    done = promtool("check", "metrics", input=made)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_promtool_takes_it_without_a_word(promtool: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = promtool("check", "metrics", input=whole())
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    broken = promtool("check", "metrics", input=whole().replace('"a.check"', '"a.check'))
    assert broken.returncode != 0


def test_check_prints_it(promtool: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    for more in ([], ["--root", str(tmp_path)]):
        argv = [sys.executable, "-m", "hostward", "check", "--format", "prometheus", *more]
        made = subprocess.run(argv, capture_output=True, text=True, env={"PYTHONPATH": str(REPOSITORY / "agent")})
        assert "hostward_last_run_timestamp_seconds" in made.stdout and made.stderr == ""
        done = promtool("check", "metrics", input=made.stdout)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_rules_are_sound_and_their_own_tests_pass(
    promtool: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    for arguments in (("check", "rules", "hostward.rules.yml"), ("test", "rules", "hostward.rules.test.yml")):
        done = promtool(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr


def names_in(expressions: str) -> set[str]:
    return set(re.findall(r"\bhostward_[a-z_]+", expressions))


def test_rules_and_dashboard_ask_only_for_what_is_written() -> None:
    known = {line.split("{")[0].split(" ")[0] for line in whole().splitlines() if not line.startswith("#")}
    dashboard = json.loads((PACKAGING / "hostward.dashboard.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert names_in(" ".join(asked)) <= known
    assert names_in((PACKAGING / "hostward.rules.yml").read_text()) <= known
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_the_dashboards_expressions_are_promql(
    promtool: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    dashboard = json.loads((PACKAGING / "hostward.dashboard.json").read_text())
    rules = [
        {"record": f"panel:{panel['id']}:{number}", "expr": target["expr"].replace("$instance", ".*")}
        for panel in dashboard["panels"]
        for number, target in enumerate(panel["targets"])
    ]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = promtool("check", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
