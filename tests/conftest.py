"""What every test run has: the slow tests last, and at the end a list of what was left out, with the reason."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.lab.debs import NotAtHand


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that boot a machine come last: what fails quickly is seen first."""
    items.sort(key=lambda item: item.get_closest_marker("lab") is not None)


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
