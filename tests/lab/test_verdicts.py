"""What the agent foretells of a module on a kernel, from the kernel's files alone, is what that kernel answers.

Each case is loaded in a machine that runs the kernel. Compared are finit_module's errno, every line of the
kernel's log about the refusal, in order, every symbol named, and the taint letters of what loads.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hostward.config import Config
from hostward.engine import Engine
from hostward.facts.kernel_profiles import KernelProfiles
from hostward.facts.module_trees import ModuleTree, TreeModule
from hostward.facts.verdicts import Judge
from hostward.host import Host
from hostward.kmod.search import SearchOrder
from hostward.kmod.verdict import Verdict
from tests.lab import cases, debs, initramfs, modlab
from tests.lab.cases import Modules
from tests.lab.modlab import Load, Loaded

#: Lines that tell of taints (once a boot) or of the module itself, not of a refusal.
_ASIDE = re.compile(
    r"\S+: (loading out-of-tree module taints kernel\.|module license ('.*' )?taints kernel\.|.*: kernel tainted\.|"
    r"module verification failed: signature and/or required key missing - tainting kernel|"
    r"module uses symbols \S+ from proprietary module \S+, inheriting taint\.)|"
    r"Disabling lock debugging due to kernel taint"
)


class Foreteller:
    """A host tree with one kernel, and the agent's verdicts on what is put into it."""

    def __init__(self, kernel: debs.Kernel, root: Path, words: str = "") -> None:
        self.kernel, self.root = kernel, root
        initramfs.kernel_tree(kernel, root, {})
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
        for load in loads:
            path = f"extra/{name}/{load.name}"
            file = self.root / self.tree[1:] / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(load.data)
            module = load.name.partition(".ko")[0].replace("-", "_")
            outside.append(TreeModule(self.kernel.release, f"{self.tree}/{path}", module, "extra"))
            dep[module] = (path, ())
        tree = ModuleTree(self.kernel.release, self.tree, tuple(outside), None)
        judge = Judge(self.host, tree, replace(self.files, modules_dep=dep), SearchOrder())
        return [judge.module(module.path, module.file).verdict for module in outside]


def compare(name: str, load: Load, verdict: Verdict, real: Loaded) -> list[str]:
    """What differs between the verdict and what the kernel did, in words; nothing when they agree."""
    where = f"{name}: {load.name}"
    answer = errno.errorcode[real.errno] if real.errno else ""
    log = [line for line in real.log if not _ASIDE.fullmatch(line)]
    wrong = []
    if verdict.outcome != ("fails" if real.errno else "loads"):
        wrong.append(
            f"{where}: foretold {verdict.outcome} {verdict.cannot_tell}, the kernel answers {answer or 'success'}"
        )
    if verdict.errno != answer:
        wrong.append(f"{where}: foretold {verdict.errno!r}, the kernel answers {answer!r}")
    foretold = [line for reason in verdict.reasons for line in reason.message.splitlines() if line]
    if foretold != log:
        wrong.append(
            f"{where}: foretold the lines {foretold[:6]}, the kernel writes {log[:6]} ({len(foretold)}, {len(log)})"
        )
    named = [match.group(1) for line in log for match in [re.search(r"Unknown symbol (\S+) \(err", line)] if match]
    if named and list(verdict.symbols) != named:
        wrong.append(f"{where}: foretold the symbols {verdict.symbols[:6]}, the kernel names {named[:6]}")
    if not real.errno and not verdict.reasons and verdict.taints != real.taints:
        wrong.append(f"{where}: foretold the taints {verdict.taints!r}, the kernel shows {real.taints!r}")
    return wrong


@pytest.mark.parametrize("role", ["A"])
def test_foretold_as_the_kernel_answers(role: str, tmp_path: Path) -> None:
    kernel = debs.kernel(role)
    chosen = dict(cases.symbols(Modules(kernel)))
    foreteller = Foreteller(kernel, tmp_path / "host")
    foretold = {name: foreteller.case(name, loads) for name, loads in chosen.items()}
    real = modlab.run(kernel, chosen)
    wrong = []
    for name, loads in chosen.items():
        for load, verdict, answer in zip(loads, foretold[name], real[name], strict=True):
            wrong += compare(name, load, verdict, answer)
    assert not wrong, "\n" + "\n".join(wrong)
