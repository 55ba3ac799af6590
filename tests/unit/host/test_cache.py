"""The cache: what was put comes back, what was tampered with does not, and nothing about it ever fails a run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hostward.host.cache import ENTRIES_MAX, ENTRY_MAX, Cache


def entries(cache: Cache) -> list[Path]:
    return sorted(Path(cache.directory).iterdir())


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(str(tmp_path / "deep" / "cache"))


def test_what_was_put_comes_back(cache: Cache) -> None:
    assert cache.get("key") is None
    cache.put("key", b"body")
    cache.put("key \udce9", b"")
    assert (cache.get("key"), cache.get("key \udce9"), cache.get("other")) == (b"body", b"", None)
    cache.put("key", b"new")
    assert cache.get("key") == b"new"
    assert Path(cache.directory).stat().st_mode & 0o777 == 0o700


def test_a_changed_or_truncated_entry_is_nothing(cache: Cache) -> None:
    cache.put("key", b"body")
    (entry,) = entries(cache)
    whole = entry.read_bytes()
    for at in range(len(whole)):
        entry.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert cache.get("key") is None
        entry.write_bytes(whole[:at])
        assert cache.get("key") is None
    entry.write_bytes(whole)
    assert cache.get("key") == b"body"


def test_an_entry_that_others_could_have_written_is_nothing(cache: Cache) -> None:
    cache.put("key", b"body")
    (entry,) = entries(cache)
    entry.chmod(0o666)
    assert cache.get("key") is None
    entry.chmod(0o600)
    Path(cache.directory).chmod(0o777)
    assert cache.get("key") is None
    cache.put("more", b"x")
    assert entries(cache) == [entry]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_an_entry_of_somebody_else_is_nothing(cache: Cache) -> None:
    cache.put("key", b"body")
    os.chown(entries(cache)[0], 12345, 12345)
    assert cache.get("key") is None


def test_a_link_or_a_fifo_in_its_place_is_nothing(cache: Cache, tmp_path: Path) -> None:
    cache.put("key", b"body")
    (entry,) = entries(cache)
    whole = entry.read_bytes()
    entry.unlink()
    (tmp_path / "aside").write_bytes(whole)
    entry.symlink_to(tmp_path / "aside")
    assert cache.get("key") is None
    entry.unlink()
    os.mkfifo(entry)
    assert cache.get("key") is None


def test_it_stays_small(cache: Cache) -> None:
    cache.put("large", bytes(ENTRY_MAX))
    assert cache.get("large") is None
    for number in range(ENTRIES_MAX + 5):
        cache.put(str(number), b"x")
    assert len(entries(cache)) == ENTRIES_MAX
    assert cache.get(str(ENTRIES_MAX + 4)) == b"x"


def test_where_nothing_can_be_written_nothing_happens(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = Cache(str(tmp_path / "file" / "cache"))
    cache.put("key", b"body")
    assert cache.get("key") is None


def test_a_directory_that_is_a_link_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("real")
    cache = Cache(str(tmp_path / "link"))
    cache.put("key", b"body")
    assert cache.get("key") is None and not list((tmp_path / "real").iterdir())
