"""Which weak-updates links lead to a module that its kernel refuses, and to which build they should lead instead.

weak-modules links a kmod package's modules into every kernel that its symbols fit, the newest build first.  Here a
build fits when the verdict on each of its modules, judged together as they would lie there, is that it loads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hostward.facts import fact
from hostward.facts.kernel_profiles import KernelProfiles
from hostward.facts.kernels import release_key
from hostward.facts.module_trees import ModuleTree, ModuleTrees, TreeModule
from hostward.facts.verdicts import Judge, Judges
from hostward.host import Host
from hostward.kmod.search import SearchOrder
from hostward.kmod.verdict import FAILS

WEAK = "weak-updates"
#: Directories that hold builds which weak-modules would link to.
_BUILDS = ("extra", "updates")
_CANDIDATES_MAX = 16


@dataclass(frozen=True)
class Relink:
    """One package's links on one kernel.  `links` are (path, target now, target to be); a target to be of "" means
    that the link is to go.  `source` is the kernel whose build they are to lead to, "" where none fits.

    `why` says what is wrong with the links as they are.
    """

    release: str
    package: str
    links: tuple[tuple[str, str, str], ...]
    source: str
    why: tuple[str, ...]


@dataclass(frozen=True)
class Relinks:
    relinks: tuple[Relink, ...]

    @property
    def releases(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(relink.release for relink in self.relinks))


@fact
def relinks(host: Host, trees: ModuleTrees, judges: Judges, profiles: KernelProfiles, order: SearchOrder) -> Relinks:
    """Only links in weak-updates are ever moved or taken away: what lies in extra is a package's own file."""
    found = []
    for tree in trees.trees:
        judge = judges.of(tree.release)
        if judge is None:
            continue
        for package in sorted({_package(m, tree) for m in tree.outside if m.where == WEAK and m.is_link}):
            links = [m for m in tree.outside if m.where == WEAK and m.is_link and _package(m, tree) == package]
            wrong = _wrong(judge, links)
            if not wrong:
                continue
            source, targets = "", {m.path: "" for m in wrong}
            for release, builds in _builds(trees, tree, package, links):
                if _fits(host, judge, profiles, order, tree, builds):
                    source, targets = release, {m.path: builds.get(m.path, "") for m in links}
                    break
            changed = tuple(
                (m.path, m.link, targets[m.path])
                for m in links
                if m.path in targets and (m.dangling or targets[m.path] != m.file)
            )
            if changed:
                found.append(Relink(tree.release, package, changed, source, tuple(wrong.values())))
    return Relinks(tuple(found))


def _package(module: TreeModule, tree: ModuleTree) -> str:
    """The directory below weak-updates that a link lies in: weak-modules names it after the package."""
    below = module.path[len(tree.path) + 1 :].split("/")
    return "/".join(below[1:-1])


def _wrong(judge: Judge, links: list[TreeModule]) -> dict[TreeModule, str]:
    """The links whose module does not load, or that dangle, each with why."""
    wrong = {}
    for link in links:
        if link.dangling:
            wrong[link] = f"{link.path} {link.problem}"
            continue
        judged = judge.module(link.path, link.file)
        if judged.verdict.outcome == FAILS and judged.chosen is not False:
            wrong[link] = f"{link.path} does not load: {judged.verdict.reasons[0].message or judged.verdict.errno}"
    return wrong


def _builds(
    trees: ModuleTrees, here: ModuleTree, package: str, links: list[TreeModule]
) -> list[tuple[str, dict[str, str]]]:
    """(kernel, file by the link's path) of each other kernel's own build of this package, the newest kernel first."""
    found = []
    for tree in trees.trees:
        if tree.release == here.release:
            continue
        builds = {}
        for link in links:
            below = link.path[len(here.path) + 1 + len(WEAK) + 1 :]
            for directory in _BUILDS:
                path = f"{tree.path}/{directory}/{below}"
                mine = next((m for m in tree.outside if m.path == path and not m.is_link), None)
                if mine is not None:
                    builds[link.path] = mine.path
                    break
        if builds:
            found.append((tree.release, builds))
    found.sort(key=lambda build: release_key(build[0]), reverse=True)
    return found[:_CANDIDATES_MAX]


def _fits(
    host: Host,
    judge: Judge,
    profiles: KernelProfiles,
    order: SearchOrder,
    tree: ModuleTree,
    builds: dict[str, str],
) -> bool:
    """Whether each of a build's modules loads once all of them lie there."""
    files = profiles.of(tree.release)
    if files is None:
        return False
    outside = []
    for module in tree.outside:
        if module.path in builds:
            outside.append(replace(module, link=builds[module.path], target=builds[module.path], problem=""))
        elif not (module.where == WEAK and module.dangling):
            outside.append(module)
    tried = Judge(host, replace(tree, outside=tuple(outside)), files, order)
    tried.parsed.update(judge.parsed)
    return all(tried.module(path, file).verdict.loads for path, file in builds.items())
