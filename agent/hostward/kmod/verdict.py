"""The verdict: what a kernel would answer to a module, rule by rule in its own order; the first that fails decides.

Source of the rules: load_module() in kernel/module/main.c (kernel/module.c before 5.19), version.c, signing.c and
internal.h beside it. Where a rule changed, the version is noted at the rule.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from hostward.kmod import load_rules as rules
from hostward.kmod.elf_rules import elf_complaint
from hostward.kmod.module import BadModule, ModuleFile
from hostward.kmod.profile import KernelProfile, Lookup, Open, Reason, Symbol
from hostward.kmod.signature import MAGIC, read_signature

__all__ = [
    "FAILS", "LOADS", "UNKNOWN", "KernelProfile", "Lookup", "Reason", "RuleOutcome", "Symbol", "Verdict",
    "depmod_wording", "judge", "judge_file", "trace",
]  # fmt: skip

LOADS, FAILS, UNKNOWN = "loads", "fails", "unknown"


@dataclass(frozen=True)
class Verdict:
    """`outcome` is loads, fails or unknown; `errno` is finit_module's answer ("" when it loads or can't be told).

    `taints` are the letters the load would bring (P, F, C, O, E, K, N); `cannot_tell` says what the sources leave open.
    "loads" means that the kernel links it; what its own init function then answers is not foreseen.
    """

    outcome: str
    errno: str = ""
    reasons: tuple[Reason, ...] = ()
    taints: str = ""
    cannot_tell: tuple[str, ...] = ()

    @property
    def loads(self) -> bool:
        return self.outcome == LOADS

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols it fails for, in the order the kernel names them."""
        return tuple(reason.symbol for reason in self.reasons if reason.symbol)


def judge(
    module: ModuleFile,
    kernel: KernelProfile,
    lookup: Lookup,
    loaded: Collection[str] = (),
    present: Lookup | None = None,
) -> Verdict:
    """What finit_module would answer to this module on this kernel.

    `lookup` finds a symbol among vmlinux's exports and those of the modules that would be loaded before it, `present`
    among those that then are (the same where it is not given); `loaded` are the names of modules that are loaded.
    """
    taints: set[str] = set()
    cannot: list[str] = []
    reasons: list[Reason] = []
    earlier = 0
    for outcome in _steps(module, kernel, lookup, loaded, present or lookup, taints):
        cannot += [why for why in outcome.cannot_tell if why not in cannot]
        if outcome.reasons:
            reasons += outcome.reasons
            break
        earlier = len(cannot)
    order = _letters(taints)
    if reasons:
        # It fails for sure; a rule before that nobody can tell of might have answered otherwise.
        return Verdict(FAILS, "" if earlier else reasons[-1].errno, tuple(reasons), order, tuple(cannot))
    return Verdict(UNKNOWN if cannot else LOADS, "", (), order, tuple(cannot))


def judge_linked(module: ModuleFile, kernel: KernelProfile) -> Verdict | None:
    """The verdict on a module whose symbols are known to be there, every one as it wants them; None where another rule
    fails or can't be decided, for which judge() is to be asked."""
    taints: set[str] = set()
    try:
        for rule in (
            *(rules.signature, rules.elf, rules.blacklist, rules.layout, rules.vermagic, rules.livepatch),
            *(rules.export_versions, rules.btf, rules.built_in),
        ):
            if rule(module, kernel, taints) is not None:
                return None
    except Open:
        return None
    if kernel.modversions and kernel.strict_versions is not False and module.version_count <= len(module.undefined):
        return None  # one that it needs has no version
    rules.marks(module, kernel, taints)
    return Verdict(LOADS, "", (), _letters(taints))


def _letters(taints: Collection[str]) -> str:
    """Taints in the order in which /sys/module/NAME/taint shows them."""
    return "".join(letter for letter in "PFCOEKN" if letter in taints)


class RuleOutcome(NamedTuple):
    """How one rule came out: `state` is passes, fails, unknown or "not reached"."""

    rule: str
    state: str
    reasons: tuple[Reason, ...] = ()
    cannot_tell: tuple[str, ...] = ()


def trace(module: ModuleFile, kernel: KernelProfile, lookup: Lookup) -> list[RuleOutcome]:
    """Every rule in the kernel's order and how it came out; what stands behind the one that fails is not reached."""
    found: list[RuleOutcome] = []
    for outcome in _steps(module, kernel, lookup, (), lookup, set()):
        refused = any(before.state == FAILS for before in found)
        found.append(RuleOutcome(outcome.rule, "not reached") if refused else outcome)
    return found


def _steps(
    module: ModuleFile,
    kernel: KernelProfile,
    lookup: Lookup,
    loaded: Collection[str],
    present: Lookup,
    taints: set[str],
) -> Iterator[RuleOutcome]:
    """The rules one by one in the kernel's order, each tried when it is asked for."""

    def tried(title: str, rule: Callable[[], Reason | None]) -> RuleOutcome:
        try:
            reason = rule()
        except Open as why:
            return RuleOutcome(title, UNKNOWN, (), (str(why),))
        return RuleOutcome(title, "passes" if reason is None else FAILS, () if reason is None else (reason,))

    yield tried("signature", lambda: rules.signature(module, kernel, taints))
    yield tried("ELF, architecture, struct module", lambda: rules.elf(module, kernel, taints))
    yield tried("module_blacklist=", lambda: rules.blacklist(module, kernel, taints))
    yield tried("layout of struct module", lambda: rules.layout(module, kernel, taints))
    yield tried("vermagic", lambda: rules.vermagic(module, kernel, taints))
    yield tried("live patch", lambda: rules.livepatch(module, kernel, taints))
    if loaded:
        there = Reason("loaded", "EEXIST", "", wanted=module.name) if module.name in loaded else None
        yield tried("not loaded yet", lambda: there)
    rules.marks(module, kernel, taints)
    yield tried("CRCs of its own exports", lambda: rules.export_versions(module, kernel, taints))
    cannot: list[str] = []
    reasons: tuple[Reason, ...] = ()
    if kernel.has_exports:
        reasons = tuple(rules.symbols(module, kernel, lookup, taints, cannot))
    else:
        cannot.append(f"nothing here tells what kernel {kernel.release} exports")
    state = FAILS if reasons else UNKNOWN if cannot else "passes"
    yield RuleOutcome("symbols: there, visible, CRC, namespace", state, reasons, tuple(cannot))
    yield tried("exports that are there already", lambda: rules.duplicates(module, present))
    yield tried("BTF", lambda: rules.btf(module, kernel, taints))
    yield tried("name of a built-in module", lambda: rules.built_in(module, kernel, taints))


def judge_file(data: bytes, error: BadModule, kernel: KernelProfile, state: str = "") -> Verdict:
    """The verdict on the bytes of a file, inflated, that can't be read as a module.

    The signature comes first, then what the kernel itself finds wrong with the file; what it would not find is open.
    """
    if error.cannot_tell:
        return Verdict(UNKNOWN, "", (), "", (error.reason,))
    if not data:
        # kernel_read_file() answers before anything is looked at.
        return Verdict(FAILS, "EINVAL", (Reason("elf", "EINVAL", "", found=error.reason),))
    found = read_signature(data) if len(data) > len(MAGIC) else None
    try:
        reason = rules.signature_of(found, state, kernel, set())
    except Open as why:
        return Verdict(FAILS, "", (Reason("elf", "ENOEXEC", "", found=error.reason),), "", (str(why),))
    if reason is not None:
        return Verdict(FAILS, reason.errno, (reason,))
    said = elf_complaint(data[: len(data) - found.size] if found else data, kernel)
    if said is None:
        return Verdict(UNKNOWN, "", (), "", (f"{error.reason}, which the kernel does not look at before it loads",))
    return Verdict(FAILS, "ENOEXEC", (Reason("elf", "ENOEXEC", said, found=error.reason),))


def depmod_wording(reason: Reason, path: str) -> str:
    """A reason in depmod's own words, which people search for; "" for what depmod does not know."""
    if reason.rule in ("symbol-crc", "module-layout"):
        return f"WARNING: {path} disagrees about version of symbol {reason.symbol}"
    if reason.rule == "unknown-symbol":
        return f"WARNING: {path} needs unknown symbol {reason.symbol}"
    return ""
