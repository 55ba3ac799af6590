"""hostward known-issues, and a site's own file, from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from hostward import cli
from hostward.facts import known_issues as module
from tests.hosts.domains import Case, rhel56
from tests.hosts.tree import Tree

REPOSITORY = Path(__file__).parents[2]
SITE_FILE = """
product: Our house
release: "1"
section: virtualization
issues:
  - id: our.no-vnc
    bugs: [17, RHEL-23]
    references: [https://example.com/kb/17]
    title: A guest shows its screen by VNC
    happens: Anyone on the network sees it.
    advice: Take the display out.
    severity: error
    applies: { distribution: [rhel, debian], release: ">= 5" }
    match:
      domain: "devices/graphics[@type='vnc'][@listen='0.0.0.0']"
"""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """A RHEL 5.6 tree with two guests, and a site's file beside the shipped ones."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "ours.yaml").write_text(SITE_FILE)
    (site / "ours.yaml.rpmsave").write_text("nonsense")
    monkeypatch.setattr(module, "SITE", str(site))
    open_to_all = Case("open", "<graphics type='vnc' port='-1' listen='0.0.0.0'/>")
    closed = Case("closed", "<graphics type='vnc' port='-1' listen='127.0.0.1'/>")
    return rhel56(tmp_path / "host", {case.name: case.xml() for case in (open_to_all, closed)})


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = cli.main(list(arguments))
    said = capsys.readouterr()
    return status, said.out, said.err


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    status, out, _ = run(capsys, "known-issues", "--format", "json", *arguments)
    assert status == 0
    made: dict[str, Any] = json.loads(out)
    schema = json.loads((REPOSITORY / "config/schema/known-issues.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(made, schema)
    return made


def test_a_site_s_issue_is_listed_and_judged(host: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(host.root)
    status, out, _ = run(capsys, "known-issues", "--root", root)
    assert status == 0
    (line,) = [line for line in out.splitlines() if "our.no-vnc" in line]
    assert line.split()[0] == "met" and "(open)" in line and "BZ#17" in line
    assert "rhel-9" not in out and "rhel-5.6.kvm.qcow2-preview" in out

    status, out, _ = run(capsys, "check", "--root", root, "--format", "json", "known-issues.met")
    (result,) = json.loads(out)["results"]
    (finding,) = result["findings"]
    assert (status, finding["severity"], finding["subject"]) == (2, "error", "our.no-vnc open")
    assert finding["summary"] == "open: A guest shows its screen by VNC"
    assert [r["text"] for r in finding["references"]] == ["BZ#17", "RHEL-23", "https://example.com/kb/17"]
    assert "<graphics type='vnc' port='-1' listen='0.0.0.0'/>" in finding["evidence"][0]


def test_json_says_the_state_of_each(host: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(host.root)
    states = {i["id"]: (i["state"], i["why"]) for i in document(capsys, "--root", root, "--all")["issues"]}
    assert states["our.no-vnc"] == ("met", "open")
    assert states["rhel-9.cirrus"] == ("elsewhere", "this is rhel 5.6")
    assert states["rhel-5.6.kvm.qcow2-preview"] == ("applies", "judged by guests.qcow2-preview")
    assert set(states) >= {issue["id"] for issue in document(capsys, "--root", root)["issues"]}


@pytest.mark.parametrize(
    ("release", "has", "has_not"),
    [
        ("5.6", "rhel-5.6.kvm.qcow2-preview", "rhel-5.9.kvm.host-cdrom"),
        ("rhel 5.10", "rhel-5.9.kvm.host-cdrom", "rhel-6.scsi-emulation"),
        ("RHEL-9.4", "rhel-9.intel-vgpu", "rhel-8.cirrus-deprecated"),
        ("rhel9.2", "rhel-9.cirrus", "rhel-9.intel-vgpu"),
        ("10", "rhel-10.numa-migration", "rhel-9.cirrus"),
    ],
)
def test_those_of_a_release(release: str, has: str, has_not: str, capsys: pytest.CaptureFixture[str]) -> None:
    made = document(capsys, "--release", release)
    ids = {issue["id"] for issue in made["issues"]}
    assert has in ids and has_not not in ids
    assert {issue["state"] for issue in made["issues"]} == {"listed"}


def test_one_of_them_whole_by_either_command(host: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(host.root)
    _, told, _ = run(capsys, "known-issues", "--root", root, "rhel-5.6.kvm.nx-on-both-ends")
    _, explained, _ = run(capsys, "explain", "--root", root, "rhel-5.6.kvm.nx-on-both-ends")
    assert told == explained
    assert "BZ#516029" in told and "judged by guests.nx" in told
    _, check, _ = run(capsys, "explain", "guests.nx")
    assert "Known issue of Red Hat Enterprise Linux 5.6" in check


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rhel-9.cirus"], "no known issue is called rhel-9.cirus: did you mean rhel-9.cirrus"),
        (["--release", "soon"], "not a release such as 5.6"),
        (["--release", "rhel 4.2"], "no known issue concerns release"),
    ],
)
def test_what_is_not_there(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, "known-issues", *arguments)
    assert status == 3 and said in err


def test_a_broken_file_of_a_site_is_named_with_its_line(host: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(module.SITE) / "ours.yaml"
    path.write_text(SITE_FILE.replace("severity: error", "severity: fatal"))
    status, out, err = run(capsys, "known-issues", "--root", str(host.root))
    assert status == 3 and f"{path}:12: severity: fatal is none of" in out + err
    path.write_text(SITE_FILE.replace("our.no-vnc", "rhel-9.cirrus"))
    status, out, err = run(capsys, "known-issues", "--root", str(host.root))
    assert status == 3 and f"{path}:6: rhel-9.cirrus stands in" in out + err
