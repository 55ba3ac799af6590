"""`hostward clock`: the picture, for people and for programs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from hostward.facts.clock_drift import ClockDrift, Drift
from hostward.facts.clock_kernel import ClockSource, KernelClock, PtpReading, RtcReading
from hostward.facts.keepers import KeeperState, KeeperStates
from hostward.host import Host
from hostward.model import NotApplicable, Unavailable
from hostward.report import clock as report
from tests.hosts import rhel5

REPOSITORY = Path(__file__).parents[2]
SCHEMA = json.loads((REPOSITORY / "config/schema/clock.schema.json").read_text())
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY / "agent")}

KEEPER = KeeperState("chronyd", True, "ntp.example.org", 3, 0.0123, 0.002, frequency_ppm=-7.5, last_update_age_s=12.0)
FACTS: dict[str, Any] = {
    "ClockServices": Unavailable("not asked"),
    "KeeperStates": KeeperStates((KEEPER,)),
    "KernelClock": KernelClock(True, ("STA_PLL",), "TIME_OK", 0.0, 0.0, 0.0105, -7.5, 37, 10000, -7.5),
    "ClockSource": ClockSource("tsc", ("tsc", "hpet"), False, ""),
    "PtpReading": PtpReading("/dev/ptp0", "KVM virtual PTP", 1.7, 0.000_002, "PTP_SYS_OFFSET", 5, 6),
    "RtcReading": RtcReading(-0.0012, 0.0005, "/dev/rtc0", False, 7, 8),
    "AdjtimeFile": NotApplicable("not asked"),
    "ClockSetAtBoot": NotApplicable("not asked"),
    "ClockDrift": ClockDrift((Drift("RTC", 12.0, 10.0, 14.0, 7200.0, 20, 0),)),
}


def hostward(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "hostward", "clock", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, env=ENVIRONMENT, timeout=60)


def test_the_picture() -> None:
    lines = list(report.lines(FACTS, [], lambda text, _: text))
    text = "\n".join(lines)
    assert "keeper        chronyd follows ntp.example.org, stratum 3" in text
    assert "offset +12.300 ms, give or take 2.000 ms, clock's own rate -7.500 ppm, updated 12 s ago" in text
    assert "hypervisor    +1.700 s from the host's, give or take 2.0 us (KVM virtual PTP)" in text
    assert "RTC           -1.200 ms from the clock, give or take 500.0 us (/dev/rtc0, UTC)" in text
    assert "+12.00 ppm against the RTC (+10.00 to +14.00, 20 readings over 120.0 min): +1.04 s in 24 h" in text
    assert "services, adjtime, set by: can't be told: not asked" in text
    assert max(map(len, lines)) < 130


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.7, "+1.700 s"), (-0.0123, "-12.300 ms"), (4e-6, "+4.0 us"), (0.0, "+0.0 us"), (None, "not known")],
)
def test_times_in_the_unit_that_reads_best(value: float | None, text: str) -> None:
    assert report.seconds(value) == text


def test_the_document_follows_its_schema() -> None:
    document = json.loads(json.dumps(report.document(Host.running(), FACTS, [], 0)))
    jsonschema.validate(document, SCHEMA)
    for spoil in ("schema", "facts", "status"):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({key: value for key, value in document.items() if key != spoil}, SCHEMA)
    drift = replace(FACTS["ClockDrift"].drifts[0], reference="the neighbour's watch")
    bad = report.document(Host.running(), {**FACTS, "ClockDrift": ClockDrift((drift,))}, [], 0)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(json.dumps(bad)), SCHEMA)


def test_of_a_tree_only_what_its_files_say(tmp_path: Path) -> None:
    rhel5.build(tmp_path)
    done = hostward("--root", str(tmp_path), "--format", "json")
    document = json.loads(done.stdout)
    jsonschema.validate(document, SCHEMA)
    assert done.returncode == document["status"] == 2
    assert "unavailable" in document["facts"]["RtcReading"] and "keepers" in document["facts"]["ClockServices"]
    assert hostward("--root", str(tmp_path), "--watch").stdout.count("services ") == 1, "a tree does not change"


def test_this_machine_whatever_it_is() -> None:
    done = hostward("--format", "json")
    jsonschema.validate(json.loads(done.stdout), SCHEMA)
    assert done.returncode in (0, 1, 2, 3) and not done.stderr


def test_watching_ends_when_it_is_interrupted() -> None:
    argv = [sys.executable, "-m", "hostward", "clock", "--watch", "--interval", "1"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    time.sleep(6)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode in (0, 1, 2, 3, 130) and "Traceback" not in err
    assert out.count("\n\n") >= 1, "it looked more than once"


@pytest.mark.parametrize("interval", ["0", "-1", "x", "1e9"])
def test_an_interval_of_no_use_is_a_clear_error(interval: str) -> None:
    done = hostward("--watch", "--interval", interval)
    assert done.returncode == 3 and "--interval" in done.stderr
