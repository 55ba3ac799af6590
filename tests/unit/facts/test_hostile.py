"""Every fact on every hostile tree: a value or a reason, within two seconds, and nothing from outside the tree."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from hostward import facts
from hostward.config import Config
from hostward.engine import Engine
from hostward.host import Host
from hostward.model import Unavailable
from tests.hosts.hostile import STORIES


@pytest.mark.parametrize("story", sorted(STORIES))
def test_a_value_or_a_reason(story: str, tmp_path: Path) -> None:
    STORIES[story](str(tmp_path))
    engine = Engine(Host.at(str(tmp_path)), Config())
    for name in sorted(facts.load_all()):
        start = time.monotonic()
        value = engine.fact(name)
        took = time.monotonic() - start
        assert took < 2, f"{name} took {took:.1f} s"
        if isinstance(value, Unavailable):
            assert value.reason
            assert "observing" not in value.reason, value.reason  # an exception that the engine caught


def test_links_that_lead_out_show_nothing_of_this_machine(tmp_path: Path) -> None:
    STORIES["links-out"](str(tmp_path))
    engine = Engine(Host.at(str(tmp_path)), Config())
    assert isinstance(engine.fact("OperatingSystem"), Unavailable)
    trees = engine.fact("ModuleTrees")
    assert [module.target for module in trees.outside] == ["", ""]
    packages = engine.fact("Packages")
    assert (packages.manager, packages.owners) == ("", {})
