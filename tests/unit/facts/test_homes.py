"""The index of facts names every observer there is, and the file it is in."""

from __future__ import annotations

import importlib
import pkgutil

from hostward import facts


def test_every_observer_is_in_the_index() -> None:
    for module in pkgutil.walk_packages(facts.__path__, f"{facts.__name__}."):
        importlib.import_module(module.name)
    homes = {name: observer.__module__ for name, observer in facts.OBSERVERS.items()}
    ours = {name: home for name, home in homes.items() if home.startswith(f"{facts.__name__}.")}
    assert ours == {name: f"{facts.__name__}.{home}" for name, home in facts.HOMES.items()}
