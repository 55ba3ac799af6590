"""The unit of the daemon: systemd takes it, it is as closed as it says, and the drop-in closes it further."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.lab.debs import NotAtHand

PACKAGING = Path(__file__).parents[2] / "packaging" / "rpm"


def lay_out(tmp_path: Path, *dropins: str) -> Path:
    """The unit and its drop-ins where systemd-analyze finds them, with a program that is there."""
    if shutil.which("systemd-analyze") is None:
        raise NotAtHand("systemd-analyze is not installed")
    unit = tmp_path / "hostward.service"
    unit.write_text((PACKAGING / "hostward.service").read_text().replace("/usr/bin/hostward", "/bin/true"))
    if dropins:
        (tmp_path / "hostward.service.d").mkdir()
        for name in dropins:
            text = (PACKAGING / name).read_text().replace("/usr/bin/hostward", "/bin/true")
            (tmp_path / "hostward.service.d" / name).write_text(text)
    return unit


def analyze(*arguments: str) -> str:
    done = subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True)
    return done.stdout + done.stderr


def exposure(unit: Path) -> float:
    said = analyze("security", "--offline=true", "--no-pager", str(unit))
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert found, said
    return float(found.group(1))


def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    said = [line for line in analyze("verify", "--man=no", str(lay_out(tmp_path))).splitlines() if "hostward" in line]
    assert said == []


def test_it_is_closed_and_the_drop_in_closes_it_further(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with_repairs = exposure(lay_out(tmp_path / "a"))
    # Offline, systemd-analyze reads one file: the drop-in as it would be merged, behind the unit.
    both = lay_out(tmp_path / "b")
    dropin = (PACKAGING / "check-only.conf").read_text().replace("/usr/bin/hostward", "/bin/true")
    both.write_text(both.read_text().partition("[Install]")[0] + dropin)
    assert with_repairs <= 3.0
    assert exposure(both) < with_repairs


@pytest.mark.parametrize(
    "needed", ["Type=notify", "WatchdogSec=", "ExecReload=", "CAP_SYS_MODULE", "StateDirectory=hostward"]
)
def test_what_the_daemon_relies_on(needed: str) -> None:
    assert needed in (PACKAGING / "hostward.service").read_text()
