"""The journal catalog is what the checks say today, systemd takes it, and it explains a message with its own fields."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hostward import checks
from hostward.daemon.messages import KINDS, message_id
from tests.unit.host.test_journald import in_a_journald_of_its_own

REPOSITORY = Path(__file__).parents[2]
CATALOG = REPOSITORY / "packaging/rpm/hostward.catalog"


def test_the_catalog_is_current() -> None:
    argv = [sys.executable, "-c", "from tools import catalog; print(catalog.text(), end='')"]
    made = subprocess.run(argv, capture_output=True, text=True, cwd=REPOSITORY, timeout=60)
    assert made.returncode == 0, made.stderr
    assert made.stdout == CATALOG.read_text(), "run tools/catalog.py"


def test_every_message_is_explained_once() -> None:
    ids = re.findall(r"^-- ([0-9a-f]{32})$", CATALOG.read_text(), re.M)
    wanted = [message_id("appeared", id) for id in checks.load_all()] + [message_id(kind) for kind in KINDS]
    assert sorted(ids) == sorted(wanted)


def test_systemd_compiles_it_and_knows_every_id(tmp_path: Path) -> None:
    if shutil.which("journalctl") is None:
        pytest.skip("journalctl is not installed")
    place = tmp_path / "usr/lib/systemd/catalog"
    place.mkdir(parents=True)
    (tmp_path / "var/lib/systemd/catalog").mkdir(parents=True)
    shutil.copy(CATALOG, place)
    made = subprocess.run(["journalctl", f"--root={tmp_path}", "--update-catalog"], capture_output=True, text=True)
    assert (made.returncode, made.stderr) == (0, "")
    for kind in ("gone", "configuration-error"):
        argv = ["journalctl", f"--root={tmp_path}", "--dump-catalog", message_id(kind)]
        shown = subprocess.run(argv, capture_output=True, text=True)
        assert shown.returncode == 0 and "Defined-By: hostward" in shown.stdout
    listed = subprocess.run(["journalctl", f"--root={tmp_path}", "--list-catalog"], capture_output=True, text=True)
    for id in checks.load_all():
        assert f"{message_id('appeared', id)} hostward: {id}: @HOSTWARD_SUMMARY@" in listed.stdout


def test_journalctl_explains_an_entry_with_its_own_words() -> None:
    """A real journald, a real entry, `journalctl -x`."""
    code = f"""
import os, subprocess
from hostward.daemon.messages import tell
from hostward.host.journald import JournalWriter
from hostward.host.moment import now
from hostward.host.state import Transition
document = {{"advice": "Enable chronyd.", "evidence": ["chrony.service: disabled", "ntp.service: masked"]}}
found = Transition(1, now(), "clock.no-keeper", "", "appeared", "error", "nothing keeps the clock here", document)
assert tell(JournalWriter(), [found], now()) == [1]
os.makedirs("/run/r/usr/lib/systemd/catalog"), os.makedirs("/run/r/var/lib/systemd/catalog")
open("/run/r/usr/lib/systemd/catalog/hostward.catalog", "w").write(open("{CATALOG}").read())
subprocess.run(["journalctl", "--root=/run/r", "--update-catalog"], check=True)
subprocess.run(["mount", "--bind", "/run/r/var/lib/systemd/catalog", "/var/lib/systemd/catalog"], check=True)
subprocess.run(["journalctl", "--sync"], check=True)
shown = subprocess.run(["journalctl", "-D", "/run/log/journal", "-x", "-o", "short", "HOSTWARD_CHECK=clock.no-keeper"],
    capture_output=True, text=True, check=True).stdout
for words in ("clock.no-keeper: nothing keeps the clock here", "What to do: Enable chronyd.",
    "ntp.service: masked", "Defined-By: hostward", "is error: nothing"):
    assert words in shown, shown
"""
    if not Path("/var/lib/systemd/catalog").is_dir():
        pytest.skip("this system has no compiled journal catalog to stand in for")
    (entry,) = in_a_journald_of_its_own(code)
    assert entry["MESSAGE_ID"] == message_id("appeared", "clock.no-keeper")
