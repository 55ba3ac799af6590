"""Modules against kernels: what each kernel would answer to each module, as rows and cells."""

from __future__ import annotations

from dataclasses import dataclass

from hostward.facts.module_trees import ModuleTree, ModuleTrees, TreeModule
from hostward.facts.verdicts import JudgedModule, Judges
from hostward.kmod.verdict import FAILS, LOADS, UNKNOWN, Reason, Verdict

#: States of a cell beside those of a verdict: no such module there; the kernel has it built in.
ABSENT, BUILT_IN = "absent", "built-in"


@dataclass(frozen=True)
class Cell:
    """What one kernel answers to one module.

    `state` is loads, fails, unknown, built-in or absent. `others` are files of the same name that modprobe passes over
    there. `notes` say what besides the kernel's own rules decides whether the module is ever loaded.
    """

    release: str
    state: str
    judged: JudgedModule | None = None
    others: tuple[JudgedModule, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        """The cell in a word or two: `loads`, `fails ENOENT`, `unknown`, `built in`, `-`."""
        if self.state == FAILS and self.judged is not None:
            return f"fails {self.judged.verdict.errno}".rstrip()
        return {ABSENT: "-", BUILT_IN: "built in"}.get(self.state, self.state)


@dataclass(frozen=True)
class Row:
    """A module against the kernels, in their order. `asked` is the word that named it ("" for none), `file` the module
    file that was given instead of a name."""

    name: str
    cells: tuple[Cell, ...]
    asked: str = ""
    file: str = ""


def out_of_tree(releases: list[str], trees: ModuleTrees, judges: Judges) -> list[Row]:
    """A row for each name that a module outside kernel/ has in any of these kernels' trees."""
    names = {m.name for release in releases for m in _outside(trees, release)}
    return [by_name(name, releases, trees, judges) for name in sorted(names)]


def by_name(name: str, releases: list[str], trees: ModuleTrees, judges: Judges) -> Row:
    return Row(name, tuple(_cell(name, release, trees, judges) for release in releases))


def _outside(trees: ModuleTrees, release: str) -> tuple[TreeModule, ...]:
    tree = trees.get(release)
    return () if tree is None else tree.outside


def _cell(name: str, release: str, trees: ModuleTrees, judges: Judges) -> Cell:
    judge = judges.of(release)
    tree = trees.get(release) or ModuleTree(release, "", (), None)
    mine = [m for m in tree.outside if m.name == name]
    dangling = [_dangling(m) for m in mine if m.dangling]
    if judge is None:
        return Cell(release, UNKNOWN, dangling[0]) if dangling else Cell(release, ABSENT)
    judged = [judge.module(m.path, m.file) for m in mine if not m.dangling]
    found = judge.file_of(name)
    if found is not None:
        chosen = judge.module(*found)
        others = tuple(other for other in (*judged, *dangling) if other.path != chosen.path)
        return Cell(release, chosen.verdict.outcome, chosen, others)
    if name in judge.profile.builtin:
        return Cell(release, BUILT_IN, None, tuple(dangling))
    if dangling:
        return Cell(release, FAILS, dangling[0], tuple(dangling[1:]))
    return Cell(release, ABSENT)


def _dangling(module: TreeModule) -> JudgedModule:
    """What becomes of a link that leads nowhere: modprobe can't open it."""
    verdict = Verdict(FAILS, "ENOENT", (Reason("dangling-link", "ENOENT", "", found=module.problem),))
    return JudgedModule(module.release, module.name, module.path, module.target, verdict)


__all__ = ["ABSENT", "BUILT_IN", "FAILS", "LOADS", "UNKNOWN", "Cell", "Row", "by_name", "out_of_tree"]
