"""A short, always equal run of the fuzzer (tests/fuzz/fuzz_kmod.py is the long one), and proof that it can fail."""

from __future__ import annotations

import os
import signal

import pytest

from hostward.kmod.image import read_image
from tests.fuzz import runner
from tests.fuzz.kmod_inputs import maker
from tests.fuzz.kmod_seeds import seeds
from tests.fuzz.kmod_targets import TARGETS
from tests.fuzz.runner import Maker, Reader

INPUTS = 12_000


@pytest.fixture(scope="module")
def make() -> Maker:
    return maker(seeds())


def test_mutated_files_give_a_documented_reason(make: Maker) -> None:
    tally = runner.in_processes(20260601, INPUTS, 2, make, TARGETS)
    assert not tally.failures, "\n".join(tally.failures)
    assert tally.inputs == INPUTS
    assert tally.by_reader.keys() >= {"module", "symvers", "map", "initramfs", "config", "packed"}
    # Neither all broken beyond reading nor all untouched in what matters.
    assert INPUTS // 10 < tally.accepted < INPUTS * 9 // 10


def test_unmutated_each_of_them_is_read() -> None:
    found = seeds()
    for seed in found:
        TARGETS[seed.kind][0](seed.data)
    for seed in found:
        if seed.kind == "vmlinux":
            exports = read_image(seed.data, seed.name).exports.exports
            assert len(exports) > 100 and all(export.crc for export in exports.values())


def test_an_input_is_made_again_by_its_number(make: Maker) -> None:
    for number in (0, 1, 999, 1 << 30):
        assert make(runner.draw(7, number)) == make(runner.draw(7, number))
    assert make(runner.draw(7, 0)) != make(runner.draw(8, 0))


def _fails(data: bytes) -> None:
    if data[3]:
        raise ZeroDivisionError("as a reader might")


def _hangs(data: bytes) -> None:
    while True:
        try:
            sum(range(1000))
        except Exception:
            pass


def _dies(data: bytes) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _eats(data: bytes) -> None:
    _held.append(bytearray(64 << 20))


def _asks_for_all(data: bytes) -> None:
    bytearray(8 << 30)


_held: list[bytearray] = []


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (_fails, "ZeroDivisionError"),
        (_hangs, "Hang: more than 0.5 s"),
        (_dies, "died with status -9"),
        (_eats, "MB held, more than"),
        (_asks_for_all, "MemoryError"),
    ],
)
def test_what_it_is_there_to_find(read: object, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert callable(read)
    monkeypatch.setattr(runner, "TIME_MAX_S", 0.5)
    readers: dict[str, Reader] = {"reader": (read, (ValueError,))}
    tally = runner.in_processes(
        1, 4 if read is _hangs else 12, 2, lambda draw: ("seed", "reader", draw.randbytes(8)), readers
    )
    assert tally.failures and said in tally.failures[0]
