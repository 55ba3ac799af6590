"""What a call costs, measured in a process of its own: the most memory a process ever held never goes down again."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import pytest

from tests.fuzz.runner import resident


def costs(of: Callable[[], object], seconds: float, megabytes: int) -> None:
    """`of` takes no more processor time, and no more memory beyond what is held before, than that."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(of, send))
    process.start()
    send.close()
    took, grew, failed = receive.recv()
    process.join()
    assert not failed, failed
    assert took < seconds, f"{took:.1f} s of processor time"
    assert grew < megabytes << 20, f"{grew >> 20} MB"


def _measure(of: Callable[[], object], out: Connection) -> None:
    held, start = resident(), time.process_time()
    failed = ""
    try:
        of()
    except BaseException as error:
        failed = repr(error)
    out.send((time.process_time() - start, resident() - held, failed))


def refused(error: type[Exception], match: str, of: Callable[[], object]) -> Callable[[], None]:
    """A call that asserts that `of` raises `error` with such a message."""

    def judge() -> None:
        with pytest.raises(error, match=match):
            of()

    return judge
