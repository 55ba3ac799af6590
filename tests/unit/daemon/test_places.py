"""What is watched: module trees outside kernel/, boot entries, files that may come to be; each stands for an event."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostward.daemon.places import kind_of, watch
from hostward.facts import EVENTS
from hostward.host import Host
from tests.hosts import rhel5


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


def make(root: Path, *paths: str) -> None:
    for path in paths:
        place = root / path.lstrip("/")
        if path.endswith("/"):
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text("")


def test_module_trees_are_watched_but_for_the_distributions_own(root: Path) -> None:
    make(root, "/lib/modules/1/extra/kmod-x/", "/lib/modules/1/kernel/fs/", "/lib/modules/1/weak-updates/")
    make(root, "/lib/modules/1/modules.dep", "/lib/modules/2/updates/dkms/", "/lib/modules/1/build/")
    seen = watch(Host(str(root), live=False))
    assert seen["trees"] == ["/lib/modules/1/extra", "/lib/modules/1/weak-updates", "/lib/modules/2/updates"]
    assert {"/lib/modules", "/lib/modules/1", "/lib/modules/2"} <= set(seen["directories"])
    for path in ("/lib/modules/3", "/lib/modules/1/modules.dep", "/lib/modules/1/extra/kmod-x/x.ko"):
        assert kind_of(path, seen["kinds"]) == "modules"


def test_on_a_merged_usr_each_place_is_watched_once(root: Path) -> None:
    make(root, "/usr/lib/modules/1/extra/", "/usr/lib/depmod.d/")
    (root / "lib").symlink_to("usr/lib")
    seen = watch(Host(str(root), live=False))
    assert seen["trees"] == ["/usr/lib/modules/1/extra"]
    assert [d for d in seen["directories"] if d.endswith("depmod.d")] == ["/usr/lib/depmod.d"]


def test_what_is_not_there_yet_is_awaited_where_it_would_be_made(root: Path) -> None:
    make(root, "/etc/", "/lib/", "/boot/")
    seen = watch(Host(str(root), live=False))
    assert {"/etc/hostward", "/etc/depmod.d", "/etc/libvirt", "/lib/modules", "/boot/loader"} <= set(seen["files"])
    assert not {"/etc/hostward/hostward.d", "/etc/libvirt/qemu"} & set(seen["files"]), "only the first that is missing"
    assert kind_of("/etc/hostward", seen["kinds"]) == "config"
    assert kind_of("/etc/libvirt", seen["kinds"]) == "guests"


def test_files_are_watched_in_directories_that_are_there(root: Path) -> None:
    make(root, "/etc/adjtime", "/var/lib/dpkg/status")
    seen = watch(Host(str(root), live=False))
    assert {"/etc/adjtime", "/etc/localtime", "/var/lib/dpkg/status"} <= set(seen["files"])
    assert not any(path.startswith(("/var/lib/rpm/", "/usr/lib/sysimage/")) for path in seen["files"])
    assert kind_of("/etc/localtime", seen["kinds"]) == "clock"
    assert kind_of("/etc/passwd", seen["kinds"]) == ""


def test_kinds_are_those_that_facts_know(tmp_path: Path) -> None:
    rhel5.build(tmp_path / "h")
    seen = watch(Host(str(tmp_path / "h"), live=False))
    assert set(seen["kinds"].values()) <= set(EVENTS)
    assert set(seen["kinds"]) == {*seen["trees"], *seen["directories"], *seen["files"]}
    for path in (*seen["trees"], *seen["directories"]):
        assert Host(str(tmp_path / "h"), live=False).is_dir(path)


def test_an_empty_root_has_nothing_to_watch(root: Path) -> None:
    seen = watch(Host(str(root), live=False))
    assert (seen["trees"], seen["directories"]) == ([], [])
