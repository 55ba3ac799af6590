"""A wrong key, type or id in the configuration is an error that names file, line and the nearest right key."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from hostward import checks, config, remedies
from hostward.config import Config, SwitchedOff
from hostward.facts.known_issue_file import parse_known_issues
from hostward.facts.known_issues import KnownIssues, known_issues
from hostward.model import RepairClass
from hostward.yamldoc import ConfigError

SHIPPED = Path(__file__).parents[2] / "config"


def load(tmp_path: Path, text: str | bytes) -> Config:
    path = tmp_path / "hostward.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return config.load(str(path))


def test_the_shipped_file_says_the_defaults() -> None:
    from dataclasses import replace

    shipped = config.load(str(SHIPPED / "hostward.yaml"))
    assert replace(shipped, where={}, repair_classes={}) == Config()
    kinds = remedies.load_all()
    assert shipped.repair_classes == {id: kind.kind for id, kind in kinds.items()}
    shipped.verify_ids(checks.load_all(), {id: kind.at_most for id, kind in kinds.items()})


def test_every_key_has_its_place_in_the_shipped_file() -> None:
    import yaml

    shipped = yaml.safe_load((SHIPPED / "hostward.yaml").read_text())
    assert {section: set(keys) for section, keys in shipped.items()} == {
        section: set(keys) for section, keys in config._KEYS.items()
    }


def test_without_files_the_defaults_hold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(config, "PATH", str(tmp_path / "none.yaml"))
    monkeypatch.setattr(config, "DROPINS", str(tmp_path / "none.d"))
    assert config.load() == Config()


def test_dropins_win_in_the_order_of_their_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(config, "PATH", str(tmp_path / "hostward.yaml"))
    monkeypatch.setattr(config, "DROPINS", str(tmp_path / "d"))
    (tmp_path / "hostward.yaml").write_text("report: {evidence-lines: 3}\nlimits: {program-timeout-s: 2.5}\n")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "20.yaml").write_text("report: {evidence-lines: 20}\n")
    (tmp_path / "d" / "10.yaml").write_text("report: {evidence-lines: 10}\n")
    (tmp_path / "d" / "30.yaml.rpmnew").write_text("nonsense: true\n")
    loaded = config.load()
    assert (loaded.evidence_lines, loaded.program_timeout_s) == (20, 2.5)


def test_a_check_switched_off(tmp_path: Path) -> None:
    loaded = load(
        tmp_path, "checks:\n  disabled:\n    clock.rtc-local-time:\n      reason: dual boot\n      until: 2027-01-31\n"
    )
    where = f"{tmp_path}/hostward.yaml:3"
    assert loaded.disabled_checks == {"clock.rtc-local-time": SwitchedOff("dual boot", date(2027, 1, 31), where)}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("cheks: {}", r":1: unknown key cheks in the configuration; did you mean checks\?"),
        ("report:\n  evidence-line: 3", r":2: unknown key evidence-line in report; did you mean evidence-lines\?"),
        ("report:\n  evidence-lines: many", r":2: report.evidence-lines must be a whole number, not 'many'"),
        ("report:\n  evidence-lines: 0", r":2: report.evidence-lines must lie between 1 and 10000, not 0"),
        ("report:\n  evidence-lines: 0x10", r":2: .* in plain digits"),
        ("report:\n  evidence-lines:", r":2: report.evidence-lines has no value"),
        ("report: 3", r":1: report must be a mapping"),
        ("prometheus: {textfile: x.prom}", r":1: prometheus.textfile: x.prom is neither auto"),
        ("prometheus: {textfile: /x/y.txt}", r":1: prometheus.textfile: /x/y.txt is neither auto"),
        ("limits: {program-timeout-s: .nan}", r":1: .*program-timeout-s"),
        ("repair:\n  classes: modules.load-kvm", r":2: repair.classes must be a mapping"),
        ("repair:\n  classes:\n    a: 3", r":3: repair.classes.a must be a text"),
        (
            "repair:\n  classes:\n    modules.load-kvm: unatended",
            r":3: .* unatended is none of unattended, on-request, advice-only; did you mean unattended\?",
        ),
        ("checks:\n  disabled:\n    a.b: {reason: x}", r":3: checks.disabled.a.b needs until"),
        ("checks:\n  disabled:\n    a.b: {until: 2027-01-31}", r":3: checks.disabled.a.b needs reason"),
        ("checks:\n  disabled:\n    a.b: {reason: '', until: 2027-01-31}", r":3: .*reason is empty"),
        (
            "checks:\n  disabled:\n    a.b: {reason: x, until: soon}",
            r":3: .* must be a date such as 2027-01-31, not 'soon'",
        ),
        ("checks:\n  disabled:\n    a.b: {reason: x, until: 2027-02-31}", r":3: .*2027-02-31 is not a day"),
        ("a: 1\na: 2", r":2: a stands twice"),
        ("[1, 2]", r":1: the configuration must be a mapping"),
        ("a: [1", r":1: not valid YAML"),
        ("a: 1\n---\nb: 2", r":2: not valid YAML"),
        ("? [x]\n: 1", r":1: a key of the configuration must be a word"),
        (b"report:\n  \xff: 1", r":2: not UTF-8 text"),
        ("a: " + "[" * 5000, r"not valid YAML|nested too deeply"),
        ("!!python/object/apply:os.system [id]", r":1: the configuration must be a mapping"),
    ],
)
def test_errors_say_where_and_what(tmp_path: Path, text: str | bytes, error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        load(tmp_path, text)


def test_an_id_that_nothing_has_is_an_error_with_its_line(tmp_path: Path) -> None:
    loaded = load(tmp_path, "checks:\n  disabled:\n    clock.rtc-locl: {reason: x, until: 2027-01-31}\n")
    with pytest.raises(
        ConfigError, match=r":3: no check is called clock.rtc-locl; did you mean clock.rtc-local-time\?"
    ):
        loaded.verify_ids(
            ["clock.rtc-local-time", "modules.kernel-floor"], {"modules.load-kvm": RepairClass.UNATTENDED}
        )


def test_a_remedy_is_made_more_careful_and_never_freer_than_it_may_be(tmp_path: Path) -> None:
    at_most = {"modules.load-kvm": RepairClass.UNATTENDED, "boot.reboot": RepairClass.ADVICE}
    careful = load(tmp_path, "repair:\n  classes: {modules.load-kvm: advice-only}\n")
    careful.verify_ids([], at_most)
    assert careful.repair_classes == {"modules.load-kvm": RepairClass.ADVICE}
    free = load(tmp_path, "repair:\n  classes:\n    boot.reboot: unattended\n")
    with pytest.raises(ConfigError, match=r":3: repair.classes.boot.reboot: .* the most is advice-only"):
        free.verify_ids([], at_most)


def test_the_shipped_known_issues_name_checks_that_exist() -> None:
    from hostward import checks

    issues = known_issues()
    assert isinstance(issues, KnownIssues)
    ids = [issue.id for issue in issues.entries]
    assert len(ids) == len(set(ids))
    assert {issue.check for issue in issues.entries} - {""} <= set(checks.load_all())
    (floor,) = issues.of_check("modules.kernel-floor")
    assert (floor.package, floor.kernel, floor.references[0].text) == ("kmod-kvm", "< 2.6.18-203.el5", "BZ#509361")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("product: x\nrelease: '1'\n", r":1: the file needs section"),
        ("product: x\nrelease: 1\nsection: y\n", r":2: release must be a text, not a number"),
        ("product: x\nrelease: '1'\nsection: y\nissues: [{id: a}]", r":4: an issue needs title"),
        (
            "product: x\nrelease: '1'\nsection: y\nissues:\n- {id: a, title: t, happens: h, advice: a,\n"
            "   applies: {kernel: older}}",
            r":6: not a version condition: 'older'",
        ),
        (
            "product: x\nrelease: '1'\nsection: y\nissues:\n- {titel: a}",
            r":5: unknown key titel in an issue; did you mean title",
        ),
    ],
)
def test_errors_in_known_issues(text: str, error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        parse_known_issues("x.yaml", text.encode())


@pytest.mark.parametrize("value", ["auto", '""', "/srv/x.prom"])
def test_where_the_textfile_goes(tmp_path: Path, value: str) -> None:
    assert load(tmp_path, f"prometheus:\n  textfile: {value}\n").prometheus_textfile == value.strip('"')
