"""Modules against kernels: what each kernel would answer to each module, as rows and cells."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from hostward.facts.kernel_profiles import read_module
from hostward.facts.modprobe import Modprobes
from hostward.facts.module_trees import ModuleTree, ModuleTrees, TreeModule
from hostward.facts.tree_verdicts import judge_tree
from hostward.facts.verdicts import JudgedModule, Judges, refusal
from hostward.host import Host, HostError, Missing
from hostward.kmod.module import BadModule, ModuleFile
from hostward.kmod.search import name_of
from hostward.kmod.verdict import FAILS, LOADS, UNKNOWN, Reason, Verdict

#: States of a cell beside those of a verdict: no such module there; the kernel has it built in.
ABSENT, BUILT_IN = "absent", "built-in"


@dataclass(frozen=True)
class Cell:
    """What one kernel answers to one module.

    `state` is loads, fails, unknown, built-in or absent. `others` are files of the same name that modprobe passes over
    there. `by_insmod`: the file lies where modprobe would not find it on this kernel. `notes` say what besides the
    kernel's own rules decides whether the module is ever loaded.
    """

    release: str
    state: str
    judged: JudgedModule | None = None
    others: tuple[JudgedModule, ...] = ()
    by_insmod: bool = False
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
    file that was given instead of a name, `how` what the word was taken for."""

    name: str
    cells: tuple[Cell, ...]
    asked: str = ""
    file: str = ""
    how: str = ""

    @property
    def title(self) -> str:
        return self.file or self.name

    @property
    def bad(self) -> bool:
        """Whether a kernel refuses it, or it can't be told."""
        return any(cell.state in (FAILS, UNKNOWN) for cell in self.cells)


class Matrix:
    """Makes rows for these kernels, by name or by file."""

    def __init__(
        self, host: Host, releases: Sequence[str], trees: ModuleTrees, judges: Judges, modprobes: Modprobes
    ) -> None:
        self.host = host
        self.releases = tuple(releases)
        self.judges = judges
        self.modprobes = modprobes
        #: Module files that were named, by path, as they were read: they may lie outside the host.
        self.given: dict[str, ModuleFile] = {}
        self._trees = {release: trees.get(release) or ModuleTree(release, "", (), None) for release in releases}
        self._outside: dict[str, dict[str, list[TreeModule]]] = {}
        for release, tree in self._trees.items():
            names = self._outside[release] = {}
            for module in tree.outside:
                names.setdefault(module.name, []).append(module)

    def outside_names(self) -> list[str]:
        """The names of all modules outside kernel/."""
        return sorted({name for names in self._outside.values() for name in names})

    def all_names(self) -> list[str]:
        """The names of all modules, those that modules.dep lists and those outside kernel/."""
        listed = {name for release in self.releases for name in self._listed(release)}
        return sorted({*listed, *self.outside_names()})

    def _listed(self, release: str) -> Collection[str]:
        modprobe = self.modprobes.of(release)
        return () if modprobe is None else modprobe.index.dep

    def read_all(self, progress: Callable[[str], None] | None = None) -> None:
        """Makes asking for every module there is cheap: each kernel's own tree is read and linked in one go."""
        for number, release in enumerate(self.releases):
            if progress is not None:
                progress(f"judging modules: reading those of {release} ({number + 1} of {len(self.releases)})")
            judge = self.judges.of(release)
            if judge is not None:
                judge_tree(self.host, judge)

    def problems(self, release: str, own: bool) -> list[str]:
        """What could not be looked at of a kernel's modules; with `own` of those in kernel/ as well."""
        problems = list(self._trees[release].problems)
        if own and not self._listed(release):
            problems.append(
                f"{self._trees[release].path}/modules.dep, which would list the modules of {release} itself"
            )
        return problems

    def tree(self, release: str) -> ModuleTree:
        return self._trees[release]

    def outside(self, release: str) -> tuple[TreeModule, ...]:
        return self._trees[release].outside

    def rows(self, names: Sequence[str], progress: Callable[[str], None] | None = None) -> list[Row]:
        """A row for each name. Kernel by kernel, which reads each kernel's files once and in a go.

        `progress` is told how far it is, and "" at the end.
        """
        cells: list[list[Cell]] = [[] for _ in names]
        total = len(names) * len(self.releases)
        for number, release in enumerate(self.releases):
            for n, name in enumerate(names):
                if progress is not None:
                    progress(f"judging modules: {number * len(names) + n} of {total}")
                cells[n].append(self._cell(name, release))
        if progress is not None:
            progress("")
        return [Row(name, tuple(of)) for name, of in zip(names, cells)]

    def _cell(self, name: str, release: str) -> Cell:
        judge = self.judges.of(release)
        mine = self._outside[release].get(name, [])
        dangling = [_dangling(m) for m in mine if m.dangling]
        if judge is None:
            return Cell(release, ABSENT)
        judged = [judge.module(m.path, m.file) for m in mine if not m.dangling]
        found = judge.file_of(name)
        if found is not None:
            chosen = judge.module(*found)
            others = tuple(other for other in (*judged, *dangling) if other.path != chosen.path)
            return Cell(release, chosen.verdict.outcome, chosen, others, notes=tuple(self._notes(name, release)))
        if name in judge.profile.builtin:
            return Cell(release, BUILT_IN, None, tuple(dangling))
        if dangling:
            return Cell(release, FAILS, dangling[0], tuple(dangling[1:]))
        listed = judge.files.modules_dep.get(name)
        if listed is not None:
            return Cell(release, FAILS, _gone(name, release, f"{self._trees[release].path}/{listed[0]}"))
        return Cell(release, ABSENT)

    def _notes(self, name: str, release: str) -> Iterable[str]:
        modprobe = self.modprobes.of(release)
        if modprobe is None:
            return
        if name not in modprobe.index.dep:
            yield (
                f"modules.dep of {release} does not list it: until `depmod {release}` has run, modprobe says "
                f"`Module {name} not found`"
            )
        command = modprobe.config.command(name)
        if command:
            soft = modprobe.config.softdep(name)
            if soft is not None and (soft.pre or soft.post):
                yield f"modprobe.d: `install {name} {command}` is passed over, as a softdep line names the module too"
            else:
                yield f"modprobe.d: `install {name} {command}`: modprobe runs that instead of loading it"
        if name in modprobe.config.blacklist:
            line = f"modprobe.d: `blacklist {name}`"
            if name in modprobe.config.cmdline_blacklist:
                line = f"modprobe.blacklist={name} on the kernel's command line"
            yield f"{line}: not loaded by an alias, only by its own name or as a dependency"

    def file_row(self, path: str, source: Host) -> Row:
        """A row for a module file of `source`: this host, or the running machine for a file that lies elsewhere.

        Where a kernel's modprobe would find this very file it is judged so, else as if it were loaded by insmod.
        """
        ours = source is self.host
        module: ModuleFile | Verdict
        try:
            real = source.resolve(path)
            module = self.given[path] = read_module(source, real)
        except BadModule as error:
            module = refusal(error)
        except Missing:
            real, module = "", _leads_nowhere(f"leads to {source.readlink(path)}, which does not exist")
        name = name_of(path) if isinstance(module, Verdict) else module.name
        cells = [self._file_cell(path, real if ours else "", module, name, release) for release in self.releases]
        return Row(name, tuple(cells), file=path)

    def _file_cell(self, path: str, real: str, module: ModuleFile | Verdict, name: str, release: str) -> Cell:
        judge = self.judges.of(release)
        if judge is None:
            why = Verdict(UNKNOWN, cannot_tell=(f"no files of kernel {release} to judge by",))
            return Cell(release, UNKNOWN, JudgedModule(release, name, path, path, why), by_insmod=True)
        mine = [(m.path, m.file) for m in self.outside(release) if real and (m.path == path or m.file == real)]
        own = self._own_path(real, release) if real else ""
        if own:
            mine.append((own, real))
        if mine:
            judged = judge.module(*mine[0])
            return Cell(release, judged.verdict.outcome, judged, notes=tuple(self._notes(judged.name, release)))
        if isinstance(module, ModuleFile):
            judged = judge.insmod(module, path)
        elif real:
            judged = replace(judge.module(path, real), chosen=None, instead="")
        else:
            judged = JudgedModule(release, name, path, path, module)
        return Cell(release, judged.verdict.outcome, judged, by_insmod=True)

    def _own_path(self, real: str, release: str) -> str:
        """The path by which modprobe knows a file of the kernel's own; "" for any other file."""
        tree = self._trees[release].path
        try:
            base = self.host.resolve(tree) if tree else ""
        except HostError:
            base = ""
        return tree + real[len(base) :] if base and real.startswith(f"{base}/kernel/") else ""


def _dangling(module: TreeModule) -> JudgedModule:
    """What becomes of a link that leads nowhere: modprobe can't open it."""
    return JudgedModule(module.release, module.name, module.path, module.target, _leads_nowhere(module.problem))


def _gone(name: str, release: str, path: str) -> JudgedModule:
    """What becomes of a module that modules.dep lists and that is not there."""
    said = "modules.dep lists it, and there is no such file"
    return JudgedModule(
        release, name, path, "", Verdict(FAILS, "ENOENT", (Reason("no-file", "ENOENT", "", found=said),))
    )


def _leads_nowhere(problem: str) -> Verdict:
    return Verdict(FAILS, "ENOENT", (Reason("dangling-link", "ENOENT", "", found=problem),))


__all__ = ["ABSENT", "BUILT_IN", "FAILS", "LOADS", "UNKNOWN", "Cell", "Matrix", "Row"]
