"""Plans as JSON and as a script that shellcheck passes and sh runs; the journal of repairs as a table and as JSON."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hostward.host.journal import Journal
from hostward.model import EditFile, LoadModule, MakeDirectory, MakeLink, Remedy, RemoveLink, RunProgram, WriteFile
from hostward.remedies.script import script
from hostward.remedies.steps import encode
from hostward.report import log
from tests.hosts import rhel5
from tests.lab.debs import NotAtHand

REPOSITORY = Path(__file__).parents[3]
SCHEMAS = REPOSITORY / "config" / "schema"


def hostward(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "agent"), "LC_ALL": "C.UTF-8"}
    argv = [sys.executable, "-m", "hostward", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=60)


def valid(document: object, schema: str) -> None:
    import jsonschema

    jsonschema.Draft202012Validator(json.loads((SCHEMAS / schema).read_text())).validate(document)


def checked(text: str, tmp_path: Path) -> None:
    if shutil.which("shellcheck") is None:
        raise NotAtHand("shellcheck is not installed")
    path = tmp_path / "plan.sh"
    path.write_text(text)
    done = subprocess.run(["shellcheck", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_plan_for_the_host_of_the_release_note(tmp_path: Path) -> None:
    rhel5.build(tmp_path / "tree")
    done = hostward("fix", "--root", str(tmp_path / "tree"), "--format", "json")
    document = json.loads(done.stdout)
    assert done.returncode == 1
    valid(document, "plan.schema.json")
    assert [plan["remedy"] for plan in document["plans"]] == ["clock.enable-keeper", "modules.relink"]
    assert document["plans"][1]["steps"][0] == {
        "step": "RemoveLink",
        "path": f"/lib/modules/{rhel5.OLD}/weak-updates/kmod-kvm/ksm.ko",
        "shown": f"rm -- /lib/modules/{rhel5.OLD}/weak-updates/kmod-kvm/ksm.ko",
        "undoable": True,
    }
    done = hostward("fix", "--root", str(tmp_path / "tree"), "--format", "sh")
    assert done.returncode == 1 and "#   for clock.hwclock-without-ntp: rc.sysinit" in done.stdout
    checked(done.stdout, tmp_path)
    only = hostward("fix", "--root", str(tmp_path / "tree"), "--only", "modules.relink", "--format", "json")
    assert [plan["remedy"] for plan in json.loads(only.stdout)["plans"]] == ["modules.relink"]
    wrong = hostward("fix", "--root", str(tmp_path / "tree"), "--only", "modules.relnk")
    assert wrong.returncode == 3 and "did you mean modules.relink?" in wrong.stderr


HOSTILE = "x'; touch /tmp/pwned; echo '\n$(id) `id` \\ \"quoted\""


def test_the_script_does_what_it_says_whatever_stands_in_it(tmp_path: Path) -> None:
    top = tmp_path / "with space & quote'"
    top.mkdir()
    (top / "conf").write_text("a\\b\nold = 'x' & y\nlast\n")
    (top / "conf").chmod(0o600)
    (top / "gone").symlink_to("/nowhere")
    (top / "moved").symlink_to("/nowhere")
    remedy = Remedy(
        "test.all",
        HOSTILE,
        (
            MakeDirectory(f"{top}/made"),
            WriteFile(f"{top}/made/file", HOSTILE, 0o640),
            EditFile(f"{top}/conf", "old = 'x' & y", "new = \\1 & 'z'"),
            RemoveLink(f"{top}/gone"),
            MakeLink(f"{top}/moved", "to here", replace=True),
            MakeLink(f"{top}/link", HOSTILE.replace("\n", " ")),
            RunProgram(("false",), any_status=True),
            LoadModule("no-such-module-at-all", optional=True),
        ),
        why=HOSTILE,
        notes=(HOSTILE,),
    )
    text = "\n".join(script([(remedy, [HOSTILE])], HOSTILE)) + "\n"
    checked(text, tmp_path)
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (top / "made" / "file").read_text() == HOSTILE
    assert (top / "made" / "file").stat().st_mode & 0o777 == 0o640
    assert (top / "conf").read_text() == "a\\b\nnew = \\1 & 'z'\nlast\n"
    assert (top / "conf").stat().st_mode & 0o777 == 0o600
    assert not os.path.lexists(top / "gone") and os.readlink(top / "moved") == "to here"
    assert os.readlink(top / "link") == HOSTILE.replace("\n", " ")
    assert sorted(os.listdir(top)) == ["conf", "link", "made", "moved"]
    assert not Path("/tmp/pwned").exists()


@pytest.mark.parametrize(
    "step", [RemoveLink("/etc/hostname"), EditFile("/etc/hostname", "no such line", "x"), RunProgram(("false",))]
)
def test_the_script_stops_where_a_step_does_not_fit(step: RemoveLink | EditFile | RunProgram, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    text = "\n".join(script([(Remedy("t", "T", (step, RunProgram(("touch", str(marker))))), [])], "T"))
    assert subprocess.run(["sh", "-c", text.replace("/etc/hostname", str(tmp_path / "none"))]).returncode != 0
    assert not marker.exists()


def test_the_journal_for_eyes_and_programs(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    assert list(log.table([])) == ["Nothing was ever repaired here."]
    step = RemoveLink("/lib/modules/x/weak-updates/a\udcff.ko")
    entry = journal.begin(
        remedy="modules.remove-dangling",
        title="Remove the links",
        why="they dangle",
        by="watch",
        steps=[encode(step)],
        findings=[["modules.weak-updates-dangling", "x"]],
    )
    entry.add("intent", step=0, saved={})
    interrupted = list(log.one(entry))
    assert interrupted[-1] == "  interrupted here: `hostward undo` takes back what was done"
    entry.add("outcome", step=0, done=True, said="", left={})
    entry.add("end", outcome="helped", said="")
    text = "\n".join(log.one(journal.entry(1)))
    assert "for modules.weak-updates-dangling: x" in text and "done      rm --" in text and "helped" in text
    header, row = log.table(journal.entry(n) for n in journal.numbers())
    assert header.split()[:4] == ["NUMBER", "WHEN", "BY", "OUTCOME"]
    assert "watch" in row and "helped" in row and row.endswith("Remove the links")
    document = log.document([journal.entry(1)])
    valid(json.loads(json.dumps(document)), "log.schema.json")
    (tmp_path / "1.log").write_bytes(b"garbage\n")
    valid(json.loads(json.dumps(log.document([journal.entry(1)]))), "log.schema.json")
    assert "damaged" in "\n".join(log.table([journal.entry(1)]))


def test_log_and_undo_where_nothing_was_repaired() -> None:
    missing = hostward("log", "999999")
    assert missing.returncode == 3 and "repair 999999: there is none of this number" in missing.stderr
