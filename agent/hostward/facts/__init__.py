"""Facts: what is true of a host.  Each is a frozen dataclass beside the observer that finds it out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

#: The observer of each fact, by the name of the fact's type as its annotation writes it.
OBSERVERS: dict[str, Callable[..., Any]] = {}


def fact(observer: F) -> F:
    """Registers an observer under its return type.  Its parameters are Host and other facts, injected by type.

    An observer raises Unavailable(reason) for what can't be had; a HostError that leaves it means the same.
    """
    name = observer.__annotations__["return"]
    if not isinstance(name, str):
        name = name.__name__
    known = OBSERVERS.get(name)
    if known is not None and known.__module__ != observer.__module__:
        raise ValueError(f"two observers of {name}: {known.__module__} and {observer.__module__}")
    OBSERVERS[name] = observer
    return observer
