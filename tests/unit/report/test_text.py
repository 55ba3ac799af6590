"""The report for people, as it is printed."""

from __future__ import annotations

import io

import pytest

from hostward.model import BZ, Finding, Outcome, Result, Severity
from hostward.report import text

FINDING = Finding(
    Severity.ERROR,
    "hwclock sets the clock and nothing keeps it",
    subject="clock",
    evidence=("/etc/rc3.d/S01hwclock", "ntpd: installed, off"),
    advice="Enable ntpd.",
    remedies=("clock.enable-keeper",),
    references=(BZ(523478),),
)
RESULTS = [
    Result("clock.hwclock-without-ntp", "hwclock does not set the clock alone", Outcome.FINDINGS, (FINDING,)),
    Result("clock.no-keeper", "something keeps the clock", Outcome.PASSED),
    Result("modules.kvm-not-loaded", "KVM is loaded", Outcome.SKIPPED, (), "this tree is not running", False),
    Result("modules.x", "x", Outcome.FAILED, (), "ZeroDivisionError"),
]


def plain(results: list[Result] = RESULTS, evidence_lines: int = 8) -> str:
    return "\n".join(text.lines(results, lambda words, _: words, evidence_lines))


def test_one_line_a_check_with_evidence_and_remedy_under_each_finding() -> None:
    assert plain() == (
        "ERROR  clock.hwclock-without-ntp  hwclock does not set the clock alone\n"
        "       error: hwclock sets the clock and nothing keeps it (BZ#523478)\n"
        "           /etc/rc3.d/S01hwclock\n"
        "           ntpd: installed, off\n"
        "         -> Enable ntpd.\n"
        "         -> remedy: clock.enable-keeper  (hostward fix --dry-run shows the steps)\n"
        "PASS   clock.no-keeper            something keeps the clock\n"
        "SKIP   modules.kvm-not-loaded     this tree is not running\n"
        "FAIL   modules.x                  ZeroDivisionError"
    )


def test_what_could_not_be_judged_stands_under_the_findings() -> None:
    half = Result("a.b", "t", Outcome.FINDINGS, (Finding(Severity.INFO, "s"),), "extra/: permission denied")
    assert plain([half]).splitlines()[-1] == "       not judged: extra/: permission denied"


def test_the_summary_counts_findings_and_checks() -> None:
    assert text.summary(RESULTS) == "1 error, 1 passed, 1 skipped, 1 failed"
    assert text.summary([]) == "0 passed"


@pytest.mark.parametrize(("lines", "shown"), [(8, 8), (9, 9), (10, 8)])
def test_long_evidence_is_cut_but_never_by_one_line(lines: int, shown: int) -> None:
    long = Finding(Severity.WARNING, "s", evidence=tuple(f"line {n}" for n in range(lines)))
    report = plain([Result("a.b", "t", Outcome.FINDINGS, (long,))])
    assert report.count("line ") == shown
    assert ("... and 2 more" in report) == (lines == 10)


def test_a_hostile_name_cannot_write_to_the_terminal() -> None:
    evil = Finding(Severity.WARNING, "bad \x1b[2J name \udce9\n next", evidence=("a\x07b",))
    report = plain([Result("a.b", "t", Outcome.FINDINGS, (evil,))])
    assert "\x1b" not in report and "\x07" not in report
    assert r"bad \x1b[2J name \xe9\n next" in report
    report.encode("utf-8")


def test_colours_only_on_a_terminal_and_not_under_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert text.painter(Terminal())("x", "pass") == "\x1b[32mx\x1b[0m"
    assert text.painter(io.StringIO())("x", "pass") == "x"
    assert text.painter(io.StringIO(), "always")("x", "pass") != "x"
    assert text.painter(Terminal(), "never")("x", "pass") == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert text.painter(Terminal())("x", "pass") == "x"
