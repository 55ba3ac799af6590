"""The command line as a whole process: statuses, errors in one line, and output that programs can rely on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from hostward import __version__
from hostward.cli import COMMANDS

REPOSITORY = Path(__file__).parents[2]


def hostward(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hostward", *arguments],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY / "agent"), **env},
        stdin=subprocess.DEVNULL,
        timeout=60,
    )


def test_version() -> None:
    done = hostward("--version")
    assert (done.returncode, done.stdout) == (0, f"hostward {__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "the following arguments are required: COMMAND"),
        (("chek",), "invalid choice: 'chek'"),
        (("check", "--rot", "/"), "unrecognized arguments: --rot"),
        (("check", "clock.rtc-locl-time"), "no check is called clock.rtc-locl-time: did you mean clock.rtc-local-time"),
        (("check", "--root", "/no/such/tree"), "/no/such/tree: does not exist; --root wants the directory"),
        (("check", "--root", "/etc/passwd"), "/etc/passwd: is not a directory"),
        (("check", "--config", "/no/such.yaml"), "/no/such.yaml: does not exist"),
        (("facts", "ClockService"), "no fact is called ClockService: did you mean ClockServices"),
        (("fix", "--choose", "nothing"), "--choose nothing: no remedy is called so; known:"),
    ],
)
def test_errors_are_one_line_and_status_3(arguments: tuple[str, ...], said: str) -> None:
    done = hostward(*arguments)
    assert done.returncode == 3
    assert said in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    done = hostward(command, "--help")
    assert done.returncode == 0 and "usage: hostward" in done.stdout


def test_an_empty_tree_is_no_pass(tmp_path: Path) -> None:
    done = hostward("check", "--root", str(tmp_path))
    assert done.returncode == 3
    assert "Traceback" not in done.stdout + done.stderr and done.stderr == ""


def test_json_follows_its_schema_here_and_on_a_tree(tmp_path: Path) -> None:
    schema = json.loads((REPOSITORY / "config/schema/check.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    for more in ([], ["--root", str(tmp_path)]):
        done = hostward("check", "--format", "json", *more)
        document = json.loads(done.stdout)
        jsonschema.validate(document, schema)
        assert document["status"] == done.returncode
        assert document["host"]["live"] is (not more)


def test_the_schema_is_strict() -> None:
    schema = json.loads((REPOSITORY / "config/schema/check.schema.json").read_text())
    good = json.loads(hostward("check", "--format", "json").stdout)
    spoils: tuple[Callable[[Any], object], ...] = (
        lambda d: d.update(schema=2),
        lambda d: d.update(extra=1),
        lambda d: d["results"][0].update(outcome="fine"),
        lambda d: d["results"][0].update(outcome="findings", findings=[]),
        lambda d: d["results"][0].pop("title"),
    )
    for spoil in spoils:
        bad = json.loads(json.dumps(good))
        spoil(bad)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, schema)


def test_explain_lists_all_and_explains_one() -> None:
    listed = hostward("explain").stdout
    assert "clock.hwclock-without-ntp" in listed and "modules.load-kvm" in listed
    one = hostward("explain", "modules.kernel-floor").stdout
    assert "BZ#509361" in one and "Known issue of Red Hat Enterprise Linux 5.6 (4.15 kvm)" in one
    document = json.loads(hostward("explain", "--format", "json").stdout)
    assert all(check["facts"] for check in document["checks"])
    assert all(check["why"] for check in document["checks"]), "a check without a docstring can't be explained"


def test_facts_of_this_machine_and_of_a_tree(tmp_path: Path) -> None:
    document = json.loads(hostward("facts", "--format", "json").stdout)
    assert document["facts"]["RunningKernel"]["release"] == os.uname().release
    document = json.loads(hostward("facts", "--format", "json", "--root", str(tmp_path)).stdout)
    assert "looked at from outside" in document["facts"]["RunningKernel"]["unavailable"]


def test_a_tree_is_never_repaired(tmp_path: Path) -> None:
    assert hostward("fix", "--root", str(tmp_path), "--yes").returncode in (0, 1, 3)
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY / "agent")}
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m hostward facts --format json | true"],
        capture_output=True,
        text=True,
        env=env,
    )
    assert done.stderr == ""


def test_a_c_locale_does_not_break_on_a_foreign_name(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(name)
    done = hostward("check", "--root", os.fsdecode(name), LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert "Traceback" not in done.stderr and done.returncode == 3


def test_a_wrong_configuration_stops_everything(tmp_path: Path) -> None:
    path = tmp_path / "h.yaml"
    path.write_text("checks:\n  disabled:\n    clock.no-such: {reason: x, until: 2027-01-31}\n")
    done = hostward("check", "--config", str(path))
    assert done.returncode == 3
    assert f"{path}:3: no check is called clock.no-such; did you mean" in done.stderr
