"""What the agent foretells of a module on a kernel, from the kernel's files alone, is what that kernel answers.

Each case is loaded in a machine that runs the kernel. Compared are finit_module's errno, every line of the
kernel's log about the refusal, in order, every symbol named, and the taint letters of what loads.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hostward.config import Config
from hostward.engine import Engine
from hostward.facts.kernel_profiles import KernelProfiles
from hostward.facts.module_trees import ModuleTree, TreeModule
from hostward.facts.verdicts import Judge
from hostward.host import Host
from hostward.kmod import verdict as verdicts
from hostward.kmod.module import BadModule
from hostward.kmod.profile import KernelProfile, Symbol
from hostward.kmod.search import SearchOrder
from hostward.kmod.verdict import Verdict
from tests.lab import cases, debs, initramfs, modlab
from tests.lab.cases import Modules
from tests.lab.modlab import Load, Loaded

#: Lines that tell of taints (once a boot), of the module itself or of a slow machine, not of a refusal.
_ASIDE = re.compile(
    r"\S+: (loading out-of-tree module taints kernel\.|module license ('.*' )?taints kernel\.|.*: kernel tainted\.|"
    r"module verification failed: signature and/or required key missing - tainting kernel|"
    r"module uses symbols \S+ from proprietary module \S+, inheriting taint\.)|"
    r"\S+: (module is from the staging directory, .*|tainting kernel with TAINT_LIVEPATCH|"
    r"loading test module taints kernel\.)|BPF: .*|failed to validate module \[\S+\] BTF: -22|"
    r"module: not signed with expected PKCS#7 message|(clocksource|hrtimer|rcu|watchdog|tsc|sched|perf|workqueue): .*|"
    r"Disabling lock debugging due to kernel taint"
)


#: Said of a signature where the kernel's own key is not at hand, on a kernel that asks for it.
UNVERIFIED = "whether the kernel holds the key of its signature can't be told here"


class Foreteller:
    """A host tree with one kernel, and the agent's verdicts on what is put into it."""

    def __init__(self, kernel: debs.Kernel, root: Path, words: str = "") -> None:
        self.kernel, self.root = kernel, root
        initramfs.kernel_tree(kernel, root, {})
        (root / "boot" / "grub").mkdir()
        line = f"menuentry Linux {{\n linux /boot/vmlinuz-{kernel.release} root=/dev/vda1 {words}\n}}\n"
        (root / "boot" / "grub" / "grub.cfg").write_text(line)
        engine = Engine(Host.at(str(root)), Config())
        self.host = engine.host
        profiles = engine.fact("KernelProfiles")
        assert isinstance(profiles, KernelProfiles)
        files = profiles.of(kernel.release)
        assert files is not None
        self.files = files
        self.tree = f"/lib/modules/{kernel.release}"

    def case(self, name: str, loads: Sequence[Load]) -> list[Verdict]:
        outside: list[TreeModule] = []
        dep = dict(self.files.modules_dep)
        for number, load in enumerate(loads):
            path = f"extra/{name}/{number}/{load.name}"
            file = self.root / self.tree[1:] / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(load.packed or load.data)
            module = load.name.partition(".ko")[0].replace("-", "_")
            outside.append(TreeModule(self.kernel.release, f"{self.tree}/{path}", module, "extra"))
            dep[module] = (path, ())
        tree = ModuleTree(self.kernel.release, self.tree, tuple(outside), None)
        judge = Judge(self.host, tree, replace(self.files, modules_dep=dep), SearchOrder())
        found: list[Verdict] = []
        for entry in outside:
            verdict = judge.module(entry.path, entry.file).verdict
            before = {m.name: m.file for m, v in zip(outside, found) if v.loads}
            if before:
                verdict = self._beside(judge, entry, before) or verdict
            found.append(verdict)
        return found

    def _beside(self, judge: Judge, module: TreeModule, before: Mapping[str, str]) -> Verdict | None:
        """The verdict where modules are loaded that it does not need: one of its own name, or one that exports the
        same. None where that makes no difference."""
        try:
            parsed = judge.parse(module.file)
        except BadModule:
            return None
        there = {name: export for file in before.values() for name, export in judge.parse(file).exports.items()}
        if module.name not in before and not there.keys() & parsed.exports.keys():
            return None

        def present(symbol: str) -> Symbol | None:
            return Symbol(there[symbol], "", False) if symbol in there else None

        return verdicts.judge(parsed, judge.profile, judge.lookup(module.name, {}, {}), before, present)


def compare(name: str, load: Load, verdict: Verdict, real: Loaded) -> list[str]:
    """What differs between the verdict and what the kernel did, in words; nothing when they agree."""
    where = f"{name}: {load.name}"
    answer = errno.errorcode[real.errno] if real.errno else ""
    log = [re.sub(r"(?<=^Lockdown: )\w+", "modprobe", line) for line in real.log if not _ASIDE.fullmatch(line)]
    log = [re.sub(r"\\x([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), line) for line in log]
    wrong = []
    if UNVERIFIED in verdict.cannot_tell and verdict.outcome in ("unknown", "fails" if real.errno else "loads"):
        return []  # nothing is claimed of a signature that was not verified
    if verdict.outcome != ("fails" if real.errno else "loads"):
        wrong.append(
            f"{where}: foretold {verdict.outcome} {verdict.cannot_tell}, the kernel answers {answer or 'success'}"
        )
    if verdict.errno != answer:
        wrong.append(f"{where}: foretold {verdict.errno!r}, the kernel answers {answer!r}")
    foretold = [line for reason in verdict.reasons for line in reason.message.splitlines() if line]
    foretold = [line for line in foretold if not _ASIDE.fullmatch(line)]
    if foretold != log:
        wrong.append(
            f"{where}: foretold the lines {foretold[:6]}, the kernel writes {log[:6]} ({len(foretold)}, {len(log)})"
        )
    named = [match.group(1) for line in log for match in [re.search(r"Unknown symbol (\S+) \(err", line)] if match]
    if named and list(verdict.symbols) != named:
        wrong.append(f"{where}: foretold the symbols {verdict.symbols[:6]}, the kernel names {named[:6]}")
    shown = real.taints
    if name == "signed-by-a-stranger":
        shown = shown.replace("E", "")  # the key could be one of the firmware's, which the tree does not tell
    if not real.errno and not verdict.reasons and verdict.taints != shown:
        wrong.append(f"{where}: foretold the taints {verdict.taints!r}, the kernel shows {real.taints!r}")
    return wrong


def built_in_names(profile: KernelProfile, shown: set[str]) -> list[str]:
    """What is wrong with the names that are said to keep a module out; where only a driver could have made the
    directory nothing is claimed."""
    assert profile.builtin_shown is not None
    told = {name: profile.builtin_shown(name) for name in profile.builtin}
    wrong = [f"{name} is said to be in /sys/module" for name, said in told.items() if said and name not in shown]
    wrong += [f"{name} is said not to be in /sys/module" for name in shown if told.get(name) is False]
    unforeseen = {name for name in profile.builtin & shown if not told[name]}
    assert len(unforeseen) <= 5 and sum(map(bool, told.values())) > 20, unforeseen
    return wrong


def foretell_and_load(kernel: debs.Kernel, chosen: Mapping[str, Sequence[Load]], root: Path, words: str = "") -> None:
    foreteller = Foreteller(kernel, root, words)
    foretold = {name: foreteller.case(name, loads) for name, loads in chosen.items()}
    real = modlab.run(kernel, chosen, words)
    wrong = []
    for name, loads in chosen.items():
        assert len(real.cases[name]) == len(loads)
        for load, verdict, answer in zip(loads, foretold[name], real.cases[name]):
            wrong += compare(name, load, verdict, answer)
    if not words:
        wrong += built_in_names(foreteller.files.profile, real.shown)
    print(f"{len(chosen)} cases, {sum(map(len, chosen.values()))} loads on {kernel.release} {words}")
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("role", ["A", "B", "D", "C", "R"])
def test_foretold_as_the_kernel_answers(role: str, tmp_path: Path) -> None:
    kernel = debs.kernel(role)
    mine = Modules(kernel)
    chosen: dict[str, list[Load]] = {}
    for source in (
        cases.symbols,
        cases.versions,
        cases.identity,
        cases.files,
        cases.signatures,
        cases.keys,
        cases.packed,
    ):
        chosen.update(source(mine))
    for other in {"A": "BC", "B": "AR", "D": "AC", "C": "AR", "R": "AD"}[role]:
        for name, loads in cases.foreign(mine, Modules(debs.kernel(other))):
            chosen[f"{other}-{name}"] = loads
    foretell_and_load(kernel, chosen, tmp_path / "host")


@pytest.mark.parametrize("role", ["A", "C"])
def test_foretold_where_signatures_are_enforced_and_names_are_refused(role: str, tmp_path: Path) -> None:
    kernel = debs.kernel(role)
    names = (
        "kernel-symbols", "signed", "signed-altered", "signed-by-a-stranger", "stranger-and-cut", "signature-altered",
        "signature-stripped", "signature-garbled", "signature-other-form", "signature-alone",
        "empty", "text", "cut-in-half", "aarch64", "no-versions", "layout-changed", "vermagic-gone", "crc-changed",
    )  # fmt: skip
    chosen = dict(cases.enforced(Modules(kernel), names))
    foretell_and_load(kernel, chosen, tmp_path / "host", "module.sig_enforce=1 module_blacklist=labprov,irqbypass")


@pytest.mark.parametrize("words", ["module_blacklist=labnone module_blacklist=labgpl,lab-prov,labkernel"])
def test_foretold_where_names_are_refused(words: str, tmp_path: Path) -> None:
    kernel = debs.kernel("A")
    names = ("kernel-symbols", "no-versions", "provider-and-users", "layout-changed", "vermagic-flags", "crc-changed")
    foretell_and_load(kernel, dict(cases.enforced(Modules(kernel), names)), tmp_path / "host", words)


@pytest.mark.parametrize("role", ["A", "C"])
def test_foretold_in_lockdown(role: str, tmp_path: Path) -> None:
    kernel = debs.kernel(role)
    names = ("weak-without-provider", "signature-stripped", "aarch64", "signature-garbled", "signed", "signed-altered")
    chosen = dict(cases.enforced(Modules(kernel), names))
    foretell_and_load(kernel, chosen, tmp_path / "host", "lockdown=integrity")
