"""What every test run has: an order, and at the end the machines that were booted and what was left out, with why."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

from tests.lab.debs import NotAtHand

#: For what is a variation: `make test` is to end within a quarter of an hour on two cores.
FULL = pytest.mark.skipif(
    not os.environ.get("HOSTWARD_FULL"),
    reason="HOSTWARD_FULL=1 runs it too: it is a variation of another, or takes long",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that boot a machine come last, as what fails quickly is to be seen first; among parallel workers first."""
    parallel = hasattr(config, "workerinput")
    items.sort(key=lambda item: (item.get_closest_marker("lab") is None) is parallel)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    try:
        yield
    except NotAtHand as lacking:
        pytest.skip(str(lacking))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    try:
        yield
    except NotAtHand as lacking:
        pytest.skip(str(lacking))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for group in terminalreporter.stats.values() for report in group]
    boots = [value for report in reports for key, value in getattr(report, "user_properties", ()) if key == "boot"]
    if boots:
        terminalreporter.section("boots")
        for line in dict.fromkeys(str(boot) for boot in boots):
            terminalreporter.write_line(line)
    left_out: dict[str, list[str]] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        left_out.setdefault(reason.removeprefix("Skipped: "), []).append(report.nodeid)
    if not left_out:
        return
    terminalreporter.section("left out")
    for reason, names in left_out.items():
        terminalreporter.write_line(f"{reason}:")
        for name in names:
            terminalreporter.write_line(f"    {name}")
