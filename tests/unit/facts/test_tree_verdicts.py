"""A tree judged in one go: every verdict is the one that judging module by module gives."""

from __future__ import annotations

from pathlib import Path

from hostward.config import Config
from hostward.engine import Engine
from hostward.facts.tree_verdicts import judge_tree
from hostward.facts.verdicts import Judge
from hostward.host import Host
from tests.hosts import debian
from tests.hosts.tree import Tree
from tests.lab import edits
from tests.lab.debs import Kernel, kernel

#: What one module of the tree is made to need.
LACKING = {"alloc_netdev_mqs": "alloc_netdev_mqz"}


def judge(tree: Tree, of: Kernel) -> Judge:
    found = Engine(Host.at(str(tree.root)), Config()).fact("Judges").of(of.release)
    assert isinstance(found, Judge)
    return found


def test_in_one_go_and_one_by_one(tmp_path: Path) -> None:
    of = kernel("A")
    tree = debian.build(tmp_path, of)
    base = f"/lib/modules/{of.release}"
    # One lacks a symbol; the other is cut short, which takes all that need it along.
    spoilt = next(str(path.relative_to(of.modules)) for path in of.modules.rglob("bonding.ko"))
    tree.file(f"{base}/{spoilt}", edits.renamed(edits.in_tree(of, "bonding"), LACKING))
    provider = next(str(path.relative_to(of.modules)) for path in of.modules.rglob("libcrc32c.ko"))
    tree.file(f"{base}/{provider}", edits.in_tree(of, "libcrc32c")[:-4000])
    slow, fast = judge(tree, of), judge(tree, of)
    judge_tree(fast._host, fast)
    plain = len(fast.verdicts)
    assert plain > 900, "nearly all of a tree is settled in one go"
    states: dict[str, int] = {}
    for name in slow.files.modules_dep:
        meant = slow.file_of(name)
        assert meant is not None and fast.file_of(name) == meant
        one, other = slow.module(*meant), fast.module(*meant)
        assert (one.verdict, one.path, one.file) == (other.verdict, other.path, other.file), name
        assert {p.path for p in other.providers} == {p.path for p in one.providers}, name
        states[one.verdict.outcome] = states.get(one.verdict.outcome, 0) + 1
    assert states["fails"] >= 3, "the spoilt two, and what needs libcrc32c"
    assert states["loads"] >= plain
