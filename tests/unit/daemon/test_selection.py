"""The kept answer of the signatures is the answer of the signatures, and saves loading what is not asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hostward.daemon.selection import by_signature, select
from hostward.facts import EVENTS
from hostward.host import data
from hostward.host.cache import Cache

AGENT = Path(__file__).parents[3] / "agent"


@pytest.mark.parametrize("events", [(), *((kind,) for kind in EVENTS), ("all",), ("units", "loaded"), ("odd", "clock")])
def test_the_same_with_an_empty_a_filled_and_a_spoilt_cache(tmp_path: Path, events: tuple[str, ...]) -> None:
    wanted = by_signature(events)
    cache = Cache(str(tmp_path / "cache"))
    for _ in range(2):
        assert select(events, cache) == wanted
    for entry in (tmp_path / "cache").glob("*"):
        entry.write_bytes(b"spoilt")
    assert select(events, cache) == wanted


def test_other_code_is_another_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hostward" / "host").mkdir(parents=True)
    (tmp_path / "hostward" / "facts").mkdir()
    monkeypatch.setattr(data, "__file__", str(tmp_path / "hostward" / "host" / "data.py"))
    stamps = [data.code_stamp("facts")]
    file = tmp_path / "hostward" / "facts" / "a.py"
    for text in ("x = 1\n", "x = 12\n"):
        file.write_text(text)
        stamps.append(data.code_stamp("facts"))
    assert len(set(stamps)) == 3 and data.code_stamp("facts") == stamps[-1]


def test_for_the_clock_no_module_is_judged(tmp_path: Path) -> None:
    code = (
        "import sys, json; from hostward.daemon.selection import select; from hostward.host.cache import Cache\n"
        "ids = [c.id for c in select(['clock'], Cache(sys.argv[1]))[0]]\n"
        "print(json.dumps([ids, [n for n in sys.modules if n.startswith('hostward.kmod')]]))\n"
    )
    answers = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "cache")],
            env={"PYTHONPATH": str(AGENT)}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        answers.append(json.loads(done.stdout))
    (first, loaded), (second, less) = answers
    assert first == second and "clock.offset" in first
    assert loaded and not less
