"""Fixtures of the lab: `guest`, a booted machine, and `boot`, which boots others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.lab.machine import Content, Guest

HERE = Path(__file__).parent
#: The first lab test of a fresh cache also downloads kernels and builds the image.
LIMIT_S = 1200

Boot = Callable[..., Guest]
_boots: list[str] = []


# Before the sorting of tests/conftest.py, which looks for the marker.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.lab)
            item.add_marker(pytest.mark.timeout(LIMIT_S))


@pytest.fixture(scope="module")
def boot(request: pytest.FixtureRequest) -> Iterator[Boot]:
    """boot(role, files, append): boots a machine, which runs to the end of the test's module.

    `role` is that of its kernel (see debs.py), `files` are laid over its root before systemd starts, `append` are
    words for the kernel's command line. Where that can't be had the test is left out by name.
    """
    running: list[Guest] = []

    def start(role: str = "A", files: Mapping[str, Content] | None = None, append: str = "") -> Guest:
        machine = Guest(role, files, append)
        running.append(machine)
        where = os.path.basename(str(request.node.name))
        _boots.append(f"{machine.boot_s:5.1f} s  {role} {machine.kernel.release} {append}  ({where})")
        return machine

    yield start
    for machine in running:
        machine.close()


@pytest.fixture(scope="module")
def guest(boot: Boot) -> Guest:
    """A machine with kernel A, the module's tests' own: they share it, in order."""
    return boot("A")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> None:
    """What was booted travels with the next report: under parallel workers that is the only way out."""
    while _boots:
        item.user_properties.append(("boot", _boots.pop(0)))
