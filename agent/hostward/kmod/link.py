"""A whole tree of modules linked at once: which of their symbols are missing or of another version.

What thousands of modules have in common is done once, as sets in the very form that module files keep their symbols
in; only what does not fit is looked at one by one. The answers are those of simplify_symbols() in kernel/module/main.c
for names and CRCs; who may use a symbol (GPL, namespaces) is for the verdict.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from hostward.kmod.module import Export, KnownSymbols, ModuleFile
from hostward.kmod.profile import KernelProfile
from hostward.kmod.verdict import Verdict, judge_linked


@contextmanager
def collector_paused() -> Iterator[None]:
    """For reading a tree: thousands of modules are kept and none dropped, which the garbage collector would look
    through again and again. It takes a third of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


class Trouble(NamedTuple):
    """A symbol that a module needs: `found` is the CRC that is there, None where nothing exports it (`missing`)."""

    symbol: str
    wanted: int | None
    found: int | None
    missing: bool


class Links:
    """Modules linked with vmlinux's exports and with each other's.

    `providers` maps each symbol that a module exports to that module's place in `modules`, unless vmlinux has it. Of
    several modules that export one symbol the first counts; the symbol is among `contested`.
    """

    def __init__(self, vmlinux: Mapping[str, Export], modules: Iterable[ModuleFile]) -> None:
        self.modules = list(modules)
        self.vmlinux = vmlinux
        self.providers: dict[str, int] = {}
        self.contested: set[str] = set()
        crcs: dict[str, int | None] = {name: export.crc for name, export in vmlinux.items()}
        for number, module in enumerate(self.modules):
            for row in module.exported:
                name = row[0]
                if name in crcs:
                    self.contested.add(name)
                else:
                    crcs[name] = row[1]
                    self.providers[name] = number
        self._crcs = crcs
        first = self.modules[0] if self.modules else None
        self._known = KnownSymbols(crcs, 64 if first is None else first.bits, first is not None and first.big)

    def fits(self, number: int) -> bool:
        """Whether each symbol that module `number` needs is there with the CRC it was built with; a weak one, too."""
        return self.modules[number].fits(self._known)

    def troubles(self, number: int) -> tuple[Trouble, ...]:
        """What module `number` would fail for: the layout of struct module, then its symbols in their order. Weak ones
        that are missing are no trouble."""
        module = self.modules[number]
        if self.fits(number):
            return ()
        found = []
        crcs = self._crcs
        versions = module.versions
        layout = module.layout
        for name in (*(layout[:1] if layout else ()), *module.undefined):
            wanted = versions.get(name)
            if name not in crcs:
                if name not in module.weak:
                    found.append(Trouble(name, wanted, None, True))
                continue
            there = crcs[name]
            if wanted is not None and there is not None and there != wanted:
                found.append(Trouble(name, wanted, there, False))
        return tuple(found)

    def needs(self, number: int) -> set[int]:
        """The modules that module `number` takes symbols from."""
        mine = self.providers.keys() & self.modules[number].undefined
        return {self.providers[name] for name in mine} - {number}


def settled(links: Links, kernel: KernelProfile, own: Iterable[int]) -> dict[int, tuple[Verdict, tuple[int, ...]]]:
    """The modules among `own` that surely load on `kernel`, each after those it needs: its verdict, and what it needs.

    A module is left out, for a closer look, as soon as anything about it or what it needs is not plain: a symbol that
    is missing, of another version, contested or in a namespace it does not import, another provider than `own`'s, a
    license that hides symbols, a rule that fails or can't be decided.
    """
    spaces = {name: export.namespace for name, export in links.vmlinux.items() if export.namespace}
    for module in links.modules:
        spaces.update((row[0], row[3]) for row in module.exported if row[3])
    plain: dict[int, Verdict] = {}
    for number in own:
        verdict = _plain(links, number, kernel, spaces)
        if verdict is not None:
            plain[number] = verdict
    needs = {number: links.needs(number) for number in plain}
    users: dict[int, list[int]] = {}
    for number, needed in needs.items():
        for other in needed:
            users.setdefault(other, []).append(number)
    found: dict[int, tuple[Verdict, tuple[int, ...]]] = {}
    waits = {number: len(needed) for number, needed in needs.items()}
    ready = [number for number, count in waits.items() if count == 0]
    while ready:
        number = ready.pop()
        found[number] = plain[number], tuple(sorted(needs[number]))
        for user in users.get(number, ()):
            waits[user] -= 1
            if waits[user] == 0:
                ready.append(user)
    return found


def _plain(links: Links, number: int, kernel: KernelProfile, spaces: Mapping[str, str | None]) -> Verdict | None:
    """The verdict on a module if its symbols are all as it wants them and no other rule stands against it."""
    module = links.modules[number]
    if not links.fits(number) or not module.gpl_compatible or not kernel.has_exports:
        return None
    if kernel.modversions is not False and not (module.has_versions and kernel.has_crcs):
        return None
    wanted = module.undefined
    if not links.contested.isdisjoint(wanted) or not links.contested.isdisjoint(row[0] for row in module.exported):
        return None
    held = [spaces[name] for name in wanted if name in spaces]
    if held and not module.import_ns.issuperset(space or "" for space in held):
        return None
    return judge_linked(module, kernel)
