"""Which of several files of one name depmod takes: told by the real depmod on trees of real files."""

from __future__ import annotations

import itertools
import random
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from hostward.kmod.search import (
    SearchOrder,
    parse_depmod_conf,
    parse_modules_dep,
    parse_modules_symbols,
    shadowed,
)
from tests.hosts import elfwriter
from tests.lab.debs import NotAtHand

RELEASE = "6.1.0-9-amd64"
DIRECTORIES = ("kernel/drivers", "extra", "extra-more", "extra/deep", "updates", "updates/dkms", "weak-updates/x")
RHEL = "search updates extra built-in weak-updates\n"


def depmod(root: Path, paths: Sequence[str], *configuration: str) -> str:
    """The one of these paths (below the tree) that depmod writes to modules.dep."""
    if shutil.which("depmod", path="/usr/sbin:/sbin:/usr/bin:/bin") is None:
        raise NotAtHand("depmod is not installed")
    shutil.rmtree(root, ignore_errors=True)
    tree = root / "lib" / "modules" / RELEASE
    for path in paths:
        file = tree / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(elfwriter.Module(Path(path).name.split(".ko")[0].replace("-", "_")).build())
    (root / "d").mkdir()
    for number, text in enumerate(configuration):
        (root / "d" / f"{number}.conf").write_text(text)
    path = "/usr/sbin:/sbin:/usr/bin:/bin"
    argv = ["depmod", "-b", str(root), "-C", str(root / "d"), RELEASE]
    subprocess.run(argv, check=True, capture_output=True, env={"PATH": path})
    lines = (tree / "modules.dep").read_text().splitlines()
    (chosen,) = [line.split(":")[0] for line in lines]
    return chosen


def agree(root: Path, paths: Sequence[str], *configuration: str) -> bool:
    """Checks the choice against depmod's; False where the agent leaves it open."""
    name = paths[0].rpartition("/")[2].partition(".ko")[0].replace("-", "_")
    chosen, certain = parse_depmod_conf(configuration).choose(name, RELEASE, paths)
    real = depmod(root, paths, *configuration)
    assert not certain or chosen == real, (paths, configuration)
    return certain


@pytest.mark.parametrize("configuration", ["", RHEL, "search extra-more built-in extra\n", "search built-in\n"])
def test_every_pair_of_directories(configuration: str, tmp_path: Path) -> None:
    for pair in itertools.combinations(DIRECTORIES, 2):
        agree(tmp_path / "t", [f"{directory}/m.ko" for directory in pair], configuration)


@pytest.mark.parametrize(
    "configuration",
    [
        ("override m * extra\n",),
        (f"override m {RELEASE} kernel/drivers\n", RHEL),
        ("override m 6.1 weak-updates/x\n",),
        ("override m 1.0-9 weak-updates/x\n",),
        ("override m 6.1.0-9-amd6 extra\n",),
        ("override m 5.10.0-1 weak-updates/x\n", RHEL),
        ("override m ^6[.]1[.]0-.*$ weak-updates/x\n", RHEL),
        ("override m [ extra\n", RHEL),
        ("override other * weak-updates/x\n", RHEL),
        ("override m * extra\n", "override m * weak-updates/x\n"),
        ("override m * weak-updates\n", RHEL),
        ("override m *\n", RHEL),
        ("search extra\n", "search updates built-in\n"),
        ("search extra \\\n built-in\n",),
        ("search extra # updates\n",),
        ("# search extra\nsearch weak-updates built-in\n",),
        ("search\n",),
        ("make_map_files no\nsearch weak-updates/x\n",),
    ],
)
def test_overrides_and_orders(configuration: tuple[str, ...], tmp_path: Path) -> None:
    for paths in (
        ["kernel/drivers/m.ko", "extra/m.ko"],
        ["extra/m.ko", "weak-updates/x/m.ko"],
        ["extra/m.ko", "updates/m.ko", "weak-updates/x/m.ko"],
        ["kernel/drivers/m.ko", "updates/dkms/m.ko", "extra/deep/m.ko"],
    ):
        agree(tmp_path / "t", paths, *configuration)


def test_names_with_dashes(tmp_path: Path) -> None:
    paths = ["extra/a-b.ko", "updates/a-b.ko"]
    for name in ("a-b", "a_b"):
        agree(tmp_path / "t", paths, f"override {name} * extra\n")


def test_any_order_and_overrides_at_all(tmp_path: Path) -> None:
    rng = random.Random(20240501)
    certain = 0
    for _ in range(60):
        words = rng.sample([*DIRECTORIES, "built-in", "weak-updates", "kernel"], rng.randrange(1, 6))
        lines = [f"search {' '.join(words)}"]
        for _ in range(rng.randrange(3)):
            lines.append(f"override m {rng.choice(['*', RELEASE, '6.1', '5.10'])} {rng.choice(DIRECTORIES)}")
        rng.shuffle(lines)
        paths = [f"{directory}/m.ko" for directory in rng.sample(DIRECTORIES, rng.randrange(2, 5))]
        certain += agree(tmp_path / "t", paths, *(f"{line}\n" for line in lines))
    assert certain > 30


def test_of_equals_the_choice_is_not_certain() -> None:
    assert SearchOrder().choose("m", RELEASE, ["extra/m.ko", "weak-updates/m.ko"])[1] is False
    assert SearchOrder().choose("m", RELEASE, ["extra/m.ko"]) == ("extra/m.ko", True)


def test_modules_dep_of_today_and_of_el5() -> None:
    new = "kernel/a-b.ko.xz: kernel/c.ko.xz kernel/d.ko.xz\nkernel/c.ko.xz:\n"
    assert parse_modules_dep(new, "/lib/modules/6.1")["a_b"] == (
        "kernel/a-b.ko.xz",
        ("kernel/c.ko.xz", "kernel/d.ko.xz"),
    )
    old = "/lib/modules/2.6.18/kernel/a.ko: /lib/modules/2.6.18/kernel/c.ko\n"
    assert parse_modules_dep(old, "/lib/modules/2.6.18") == {"a": ("kernel/a.ko", ("kernel/c.ko",))}
    assert parse_modules_dep(old, "/usr/lib/modules/2.6.18") == {"a": ("kernel/a.ko", ("kernel/c.ko",))}
    assert parse_modules_dep("no colon\n\0\n", "/lib/modules/1") == {}


def test_modules_symbols() -> None:
    text = "# Aliases for symbols, used by symbol_request().\nalias symbol:x a\nalias symbol:y b\nalias z c\nbroken\n"
    assert parse_modules_symbols(text) == {"x": "a", "y": "b"}


def test_a_file_hides_those_of_its_name_in_later_directories() -> None:
    etc = [("b.conf", "/etc/b.conf"), ("a.conf", "/etc/a.conf")]
    lib = [("b.conf", "/lib/b.conf"), ("c.conf", "/lib/c.conf")]
    assert shadowed([etc, lib]) == [("a.conf", "/etc/a.conf"), ("b.conf", "/etc/b.conf"), ("c.conf", "/lib/c.conf")]


@pytest.mark.parametrize("pattern", ["(a+)+$", "(.*)*x", ".*" * 30 + "x", "((((a?)?)?)?){9}", "a" * 500])
def test_a_pattern_that_would_never_end_fits_nothing(pattern: str) -> None:
    order = parse_depmod_conf([f"override m {pattern} extra\n"])
    begun = time.process_time()
    order.choose("m", "a" * 64, ["extra/m.ko", "kernel/m.ko"])
    assert time.process_time() - begun < 1
