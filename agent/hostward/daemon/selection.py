"""Which checks an event repeats, without loading all of them to find out: half of what a small judgement would cost.

The answer of the signatures is kept in the agent's cache, under a key made of every file that it was read from.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable
from typing import Any

from hostward import __version__
from hostward.checks import CHECKS, Check, load_all
from hostward.engine import checks_for, events_of
from hostward.facts import EVENTS
from hostward.host.cache import Cache
from hostward.host.data import code_stamp

#: The checks to run, and the ids of all there are.
Selected = tuple[list[Check], list[str]]


def by_signature(events: Iterable[str]) -> Selected:
    """Loads every check and every fact, and asks their signatures."""
    load_all()
    return checks_for(events), list(CHECKS)


def select(events: Iterable[str], cache: Cache | None = None) -> Selected:
    """The same from the cache, which then loads only the files of the checks that it names."""
    events = set(events)
    if not events <= set(EVENTS) or "config" in events:
        return by_signature(events)
    cache = cache or Cache.of_this_agent()
    key = f"events {__version__} {code_stamp('checks', 'facts')}"
    table = _table(cache.get(key))
    if table is None:
        load_all()
        table = [[check.id, check.function.__module__, sorted(events_of(check.function))] for check in CHECKS.values()]
        cache.put(key, json.dumps(table).encode())
    for _, module, kinds in table:
        if events & set(kinds):
            importlib.import_module(module)
    chosen = [CHECKS[id] for id, _, kinds in table if events & set(kinds)]
    return chosen, [id for id, _, _ in table]


def _table(data: bytes | None) -> list[Any] | None:
    if data is None:
        return None
    try:
        table = json.loads(data)
    except ValueError:
        return None
    return table if isinstance(table, list) else None
