"""Everything about one module on one kernel: which file, what it says of itself, each rule, each symbol."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hostward.facts.kernel_profiles import KernelFiles
from hostward.facts.module_matrix import Cell, Matrix, Row
from hostward.facts.packages import Owner, owners_of
from hostward.facts.verdicts import Judge, JudgedModule
from hostward.host import HostError
from hostward.kmod.modprobe import Action
from hostward.kmod.module import BadModule, ModuleFile
from hostward.kmod.search import SearchOrder, name_of
from hostward.kmod.signature import Signature
from hostward.kmod.verdict import RuleOutcome, Verdict, trace

#: What a rule that refuses a symbol says of it.
STATES = {
    "unknown-symbol": "not found",
    "provider-fails": "provider fails",
    "symbol-crc": "crc differs",
    "gpl-only": "hidden",
    "namespace": "not imported",
    "no-version": "no version",
}
_NAMESAKES_MAX = 20
_PACKED = ("", ".xz", ".zst", ".gz")


@dataclass(frozen=True)
class SymbolUse:
    """A symbol that a module needs and what this kernel has for it.

    `provider` is "vmlinux" or a module file, "" for none; CRCs are None where they are not known. `state` is found, or
    one of those in STATES, or unbound for a weak reference, which may be.
    """

    name: str
    state: str
    provider: str
    wanted_crc: int | None
    crc: int | None
    gpl: bool | None
    namespace: str | None
    weak: bool


@dataclass(frozen=True)
class Provider:
    """A module that is loaded before, `depth` steps away."""

    name: str
    path: str
    outcome: str
    errno: str
    depth: int


@dataclass(frozen=True)
class Story:
    """`candidates` are the files of the name in the kernel's directory, `why_this` why modprobe takes the one it takes.

    `actions` are what `modprobe NAME` would do with nothing loaded yet. `sources` say what the kernel's exports were
    read from, `cannot_tell` what those and the kernel's other files leave open.
    """

    name: str
    release: str
    outcome: str
    errno: str
    taints: str
    path: str
    file: str
    owner: Owner | None
    why_this: str
    candidates: tuple[str, ...]
    modinfo: dict[str, str]
    kernel_vermagic: str
    signature: Signature | None
    rules: tuple[RuleOutcome, ...]
    symbols: tuple[SymbolUse, ...]
    providers: tuple[Provider, ...]
    softdeps_pre: tuple[str, ...]
    softdeps_post: tuple[str, ...]
    softdeps_from: str
    actions: tuple[Action, ...]
    notes: tuple[str, ...]
    sources: tuple[str, ...]
    cannot_tell: tuple[str, ...]


def story_of(matrix: Matrix, files: KernelFiles, order: SearchOrder, row: Row, cell: Cell) -> Story:
    judge = matrix.judges.of(cell.release)
    judged = cell.judged
    module = _module(matrix, judge, judged)
    name = judged.name if judged is not None else row.name
    modprobe = matrix.modprobes.of(cell.release)
    soft = None if modprobe is None else modprobe.config.softdep(name)
    why, candidates = _why(matrix, files, order, name, cell)
    owner = None
    if judged is not None and judged.path not in matrix.given:
        owner = owners_of(matrix.host, [judged.file or judged.path]).owner(judged.file or judged.path)
    rules: list[RuleOutcome] = []
    symbols: list[SymbolUse] = []
    if module is not None and judge is not None and judged is not None:
        lookup = judge.lookup(name, {}, {})
        module.signature_state = judge.verified(module, judged.file)  # which may be another kernel's answer so far
        rules = trace(module, judge.profile, lookup)
        symbols = list(_symbols(module, judge, judged.verdict))
    elif judged is not None:
        verdict = judged.verdict
        rules = [RuleOutcome("file", verdict.outcome, verdict.reasons, verdict.cannot_tell)]
    verdict_ = None if judged is None else judged.verdict
    return Story(
        name,
        cell.release,
        cell.state,
        "" if verdict_ is None else verdict_.errno,
        "" if verdict_ is None else verdict_.taints,
        "" if judged is None else judged.path,
        "" if judged is None else judged.file,
        owner,
        why,
        candidates,
        {} if module is None else _modinfo(module),
        (files.profile.vermagic or "").strip(),
        None if module is None else module.signature,
        tuple(rules),
        tuple(symbols),
        tuple(_closure(judged, 1, {name})) if judged is not None else (),
        () if soft is None else soft.pre,
        () if soft is None else soft.post,
        "" if soft is None else soft.file,
        () if modprobe is None or cell.by_insmod else tuple(modprobe.actions(name)),
        cell.notes,
        files.profile.sources,
        tuple(dict.fromkeys((*(() if verdict_ is None else verdict_.cannot_tell), *files.profile.cannot_tell))),
    )


def _module(matrix: Matrix, judge: Judge | None, judged: JudgedModule | None) -> ModuleFile | None:
    if judged is None or judge is None:
        return None
    if judged.path in matrix.given and judged.file == judged.path:
        return matrix.given[judged.path]
    try:
        return judge.parse(judged.file) if judged.file else None
    except (BadModule, HostError):
        return None


def _modinfo(module: ModuleFile) -> dict[str, str]:
    """What people ask of a module, as modinfo(8) names it."""
    found = {
        "version": module.field("version") or "",
        "license": module.license + ("" if module.gpl_compatible else " (not GPL-compatible)"),
        "vermagic": module.vermagic.strip(),
        "srcversion": module.srcversion,
        "in tree": "yes" if module.intree else "no",
        "depends": ", ".join(module.depends),
        "import_ns": ", ".join(sorted(module.import_ns)),
        "symbol versions": f"{len(module.versions)}" if module.has_versions else "none",
        "exports": f"{len(module.exports)}" if module.exports else "",
        "architecture": module.architecture,
    }
    return {key: value for key, value in found.items() if value}


def _symbols(module: ModuleFile, judge: Judge, verdict: Verdict) -> Iterator[SymbolUse]:
    """Each symbol as the verdict has it; where that came to no symbols, as far as the CRC tells."""
    lookup = judge.lookup(module.name, {}, {})
    compares = judge.profile.modversions is not False and bool(module.versions)
    refused = {reason.symbol: reason for reason in verdict.reasons if reason.rule in STATES}
    for name, wanted in module.needs.items():
        found = lookup(name)
        weak = name in module.weak
        reason = refused.get(name)
        if found is None:
            state = STATES[reason.rule] if reason is not None else "unbound" if weak else "not found"
            provider = "" if reason is None else reason.provider
            yield SymbolUse(name, state, provider, wanted, None, None, None, weak)
            continue
        export = found.export
        differs = compares and None not in (wanted, export.crc) and wanted != export.crc
        state = STATES[reason.rule] if reason is not None else "crc differs" if differs else "found"
        yield SymbolUse(name, state, found.path, wanted, export.crc, export.gpl, export.namespace, weak)


def _closure(judged: JudgedModule, depth: int, seen: set[str]) -> Iterator[Provider]:
    """All modules it pulls in by its symbols, nearest first, each once."""
    for provider in judged.providers:
        if provider.name not in seen:
            seen.add(provider.name)
            verdict = provider.verdict
            yield Provider(provider.name, provider.path, verdict.outcome, verdict.errno, depth)
            yield from _closure(provider, depth + 1, seen)


def _why(matrix: Matrix, files: KernelFiles, order: SearchOrder, name: str, cell: Cell) -> tuple[str, tuple[str, ...]]:
    """(why modprobe takes the file it takes, all files of that name below the tree)."""
    tree = matrix.tree(cell.release)
    if not tree.path:
        return "", ()
    below = {m.path[len(tree.path) + 1 :] for m in tree.outside if m.name == name and not m.dangling}
    below |= set(_in_tree(matrix, tree.path, name))
    listed = files.modules_dep.get(name, ("", ()))[0]
    if listed and matrix.host.is_file(f"{tree.path}/{listed}"):
        below.add(listed)
    if cell.by_insmod:
        return "as a file given to insmod: no modprobe of this kernel would find it", tuple(sorted(below))
    if not below:
        return "", ()
    words = f"search {' '.join(order.order)}" + ("" if order.configured else ", depmod's default")
    best, sure = order.choose(name, cell.release, below)
    if listed in below:
        why = f"modules.dep lists {listed}"
        if len(below) > 1 and sure:
            why += (
                f", as depmod's configuration has it ({words})"
                if best == listed
                else f"; the next depmod run would list {best} instead ({words})"
            )
        elif len(below) > 1:
            why += f"; by depmod's configuration ({words}) several rank alike, and readdir decides"
        return why, tuple(sorted(below))
    how = f"by depmod's configuration ({words})" if len(below) > 1 else "the only file of that name"
    doubt = "" if sure else "; several rank alike, and readdir decides"
    return f"modules.dep does not list it; depmod would take {best}: {how}{doubt}", tuple(sorted(below))


def _in_tree(matrix: Matrix, tree: str, name: str) -> Iterator[str]:
    """The kernel's own module of that name, which modules.dep leaves out once another shadows it."""
    try:
        lines = matrix.host.text(f"{tree}/modules.order", 4 << 20).split()
    except HostError:
        return
    for line in sorted({line for line in lines if name_of(line) == name and line.startswith("kernel/")})[
        :_NAMESAKES_MAX
    ]:
        for suffix in _PACKED:
            if matrix.host.is_file(f"{tree}/{line}{suffix}"):
                yield line + suffix
                break
