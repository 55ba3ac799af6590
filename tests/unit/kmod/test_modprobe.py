"""What modprobe would do, told by the real modprobe on the tree of a real kernel."""

from __future__ import annotations

import fnmatch
import importlib
import re
import subprocess
import time
from pathlib import Path

import pytest

from hostward.config import Config
from hostward.engine import Engine
from hostward.host import Host
from hostward.kmod.modprobe import Modprobe, ModuleIndex, fits, normalized, parse_modprobe_conf
from tests.hosts import debian
from tests.lab import debs

CONFIG = {
    "aa-first.conf": "softdep nfsd pre: crypto-sha256 post: auth_rpcgss\n",
    "kvm.conf": "options kvm-amd nested=0\noptions kvm ignore_msrs=1\n# a comment\n"
    "options kvm_amd avic=1 \\\n  npt=1\n",
    "names.conf": "alias my-nic virtio_net\nalias my-* e1000e\nalias my-fs isofs\n"
    "blacklist virtio-pci\nblacklist snd\nbad line\n",
    "stops.conf": "install dummy /bin/false\ninstall dummy /bin/true\ninstall nfsd /bin/false\n"
    "install ghost /sbin/modprobe --ignore-install loop\ninstall i2c* /bin/true\n",
    "zz-last.conf": "softdep nfsd pre: loop\nsoftdep loop pre: xxhash-generic nosuch post: fs-isofs\n",
}


class Side:
    """hostward and the real modprobe, asked the same."""

    def __init__(self, root: Path, release: str, config: Path) -> None:
        self.root, self.release, self.config = root, release, config
        self._ours: Modprobe | None = None

    def ours(self) -> Modprobe:
        if self._ours is None:
            importlib.import_module("hostward.facts.modprobe")
            self._ours = Engine(Host.at(str(self.root)), Config()).fact("Modprobes").of(self.release)
            assert self._ours is not None
        return self._ours

    def _run(self, how: str, word: str) -> list[str]:
        argv = ["modprobe", *how.split(), "-C", str(self.config), "-d", str(self.root), "-S", self.release, "--", word]
        return subprocess.run(argv, capture_output=True, text=True).stdout.splitlines()

    def resolved(self, word: str) -> list[str]:
        return list(dict.fromkeys(self._run("-R", word)))

    def shown(self, word: str) -> list[str]:
        return [line.rstrip() for line in self._run("-D", word)]

    def dry_run(self, word: str) -> list[str]:
        return [line.rstrip() for line in self._run("-n -v", word)]

    def our_actions(self, word: str) -> list[str]:
        base = f"{self.root}/lib/modules/{self.release}/"
        done = []
        for kind, module, path, options in self.ours().actions(word):
            what = {"insmod": base + path, "install": path, "builtin": module}[kind]
            done.append(f"{kind} {what} {options}".rstrip())
        return done


@pytest.fixture(scope="module")
def side(tmp_path_factory: pytest.TempPathFactory) -> Side:
    kernel = debs.kernel("A")
    tree = debian.build(tmp_path_factory.mktemp("host"), kernel)
    for name, text in CONFIG.items():
        tree.file(f"/etc/modprobe.d/{name}", text)
    return Side(tree.root, kernel.release, tree.root / "etc" / "modprobe.d")


def concrete(pattern: str, number: int) -> str:
    """A word that a pattern of modules.alias matches."""
    pattern = re.sub(r"\[(.)[^\]]*\]", r"\1", pattern)
    return pattern.replace("*", ("", "00", "0001*", "-x_")[number % 4]).replace("?", "7")


def test_aliases_resolve_as_modprobe_resolves_them(side: Side) -> None:
    text = (side.root / "lib" / "modules" / side.release / "modules.alias").read_text()
    patterns = [line.split()[1] for line in text.splitlines() if line.startswith("alias ")]
    step = max(1, len(patterns) // 350)
    words = [concrete(pattern, n) for n, pattern in enumerate(patterns[::step])]
    assert len(words) > 300
    found = 0
    for word in words:
        wanted = side.resolved(word)
        assert list(side.ours().meaning(word).modules) == wanted, word
        found += bool(wanted)
    assert found > 300


def test_built_in_modules_and_their_aliases(side: Side) -> None:
    builtin = (side.root / "lib" / "modules" / side.release / "modules.builtin.modinfo").read_bytes().decode()
    aliases = [e.partition("=")[2] for e in builtin.split("\0") if ".alias=" in e]
    for n, word in enumerate(aliases[:: max(1, len(aliases) // 60)]):
        word = concrete(word, n)
        assert list(side.ours().meaning(word).modules) == side.resolved(word), word
    for word in ("ext4", "fs-ext4", "nvme-core"):
        assert list(side.ours().meaning(word).modules) == side.resolved(word), word
        assert side.our_actions(word) == side.shown(word), word


@pytest.mark.parametrize(
    "word",
    [
        "kvm-amd", "kvm_amd", "nfsd", "loop", "cifs", "dummy", "ghost", "my-nic", "my-fs", "my_thing", "snd",
        "virtio-pci", "virtio_pci", "symbol:kvm_init", "pci:v00001AF4d00001000sv0sd0bc02sc00i00", "nosuch",
        "odd[bracket", "odd]", "fs-nfsd", "nfs", "btrfs", "xfs", "i2c-dev", "net-pf-16-proto-16-family-nfsd",
    ],
)  # fmt: skip
def test_what_would_be_done_and_in_what_order(side: Side, word: str) -> None:
    assert list(side.ours().meaning(word).modules) == side.resolved(word)
    assert side.our_actions(word) == side.shown(word)


@pytest.mark.parametrize("word", ["kvm-amd", "nfsd", "cifs", "dummy", "ghost", "my-nic", "virtio-pci", "i2c-dev"])
def test_a_dry_run_says_the_same_of_what_is_not_loaded_here(side: Side, word: str) -> None:
    """modprobe -n -v, which leaves out what this machine's own kernel has loaded and what is built in."""
    present = {path.parent.name for path in Path("/sys/module").glob("*/initstate") if path.read_text() == "live\n"}
    base = f"{side.root}/lib/modules/{side.release}/"
    wanted = []
    for kind, module, path, options in side.ours().actions(word):
        if module not in present and kind != "builtin":
            wanted.append(f"{kind} {base + path if kind == 'insmod' else path} {options}".rstrip())
    if present.isdisjoint(side.ours().meaning(word).modules):
        assert side.dry_run(word) == wanted


def test_every_module_of_the_kernel_is_loaded_in_modprobes_order(side: Side) -> None:
    names = sorted(side.ours().index.dep)
    for name in names[:: max(1, len(names) // 120)]:
        assert side.our_actions(name) == side.shown(name), name


@pytest.mark.parametrize(
    "pattern", ["a*b*c", "*", "a?c", "[abc]x*", "[!a]*", "x[0-9]y[a-f]*z", "*ab", "ab*", "a**b", "[]]"]
)
def test_patterns_are_those_of_fnmatch(pattern: str) -> None:
    words = [
        "",
        "a",
        "ab",
        "abc",
        "aXbYc",
        "abcbc",
        "ax",
        "bxx",
        "x5ya",
        "x5yaz",
        "x5yagz",
        "aab",
        "ab\nab",
        "]",
        "axb",
    ]
    for word in words:
        assert fits(pattern, word) is fnmatch.fnmatchcase(word, pattern), (pattern, word)


def test_a_pattern_that_means_harm_takes_no_time() -> None:
    start = time.monotonic()
    assert not fits("*a" * 2000 + "b", "a" * 5000)
    assert not fits("[" * 5000, "a" * 5000)
    assert time.monotonic() - start < 1


def test_brackets_keep_their_dashes() -> None:
    assert normalized("usb:v0-p[a-f]-x") == "usb:v0_p[a-f]_x"
    assert normalized("a[b") is None and normalized("a]b") is None


def test_softdeps_that_chase_each_other_come_to_an_end() -> None:
    lines = "".join(f"softdep m{n} pre: m{n + 1} m{n // 2}\n" for n in range(5000))
    config = parse_modprobe_conf([("a.conf", lines)])
    dep = {f"m{n}": (f"kernel/m{n}.ko", (f"kernel/m{n + 2}.ko",)) for n in range(5000)}
    index = ModuleIndex(dep, frozenset(), lambda name: "")
    assert len(Modprobe(index, config, lambda path: path.rpartition("/")[2][:-3]).actions("m0")) < 1000
