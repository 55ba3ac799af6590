"""Fixtures of the transactions: `packages`, what there is to install, and `root`, where."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rpm import packages as built_packages
from tests.rpm.root import Root


@pytest.fixture(scope="session")
def packages() -> dict[str, Path]:
    """The packages by their short names, hostward's own among them."""
    return {**built_packages.built(), "hostward": built_packages.hostward()}


@pytest.fixture
def bare(packages: dict[str, Path]) -> Iterator[Root]:
    """A root without hostward and without a kernel."""
    with Root() as root:
        assert root.rpm("-U", packages["distribution"]).status == 0
        yield root


@pytest.fixture
def root(packages: dict[str, Path]) -> Iterator[Root]:
    """A root with hostward and the kernels A and B."""
    with Root() as root:
        done = root.rpm("-i", *(packages[name] for name in ("distribution", "hostward", "kernel-A", "kernel-B")))
        assert (done.status, done.said) == (0, [])
        yield root
