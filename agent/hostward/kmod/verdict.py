"""The verdict: what a kernel would answer to a module, rule by rule in its own order; the first that fails decides.

Source of the rules: load_module() in kernel/module/main.c (kernel/module.c before 5.19), version.c, signing.c and
internal.h beside it. Where a rule changed, the version is noted at the rule.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from hostward.kmod.elf import MACHINES
from hostward.kmod.module import Export, ModuleFile

LOADS, FAILS, UNKNOWN = "loads", "fails", "unknown"


class Reason(NamedTuple):
    """Why a module is refused.

    `rule` names the kernel's rule, `message` is what the kernel writes to its log ("" where it writes nothing),
    `errno` what this reason alone makes finit_module answer. `wanted` and `found` are what the module was built
    for and what is there; `provider` is the file or "vmlinux" that has the symbol.
    """

    rule: str
    errno: str
    message: str = ""
    symbol: str = ""
    wanted: str = ""
    found: str = ""
    provider: str = ""


@dataclass(frozen=True)
class Verdict:
    """`outcome` is loads, fails or unknown; `errno` is finit_module's answer ("" when it loads or can't be told).

    `taints` are the letters the load would bring (P, O, E, F); `cannot_tell` says what the sources leave open.
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


class Symbol(NamedTuple):
    """An export as the kernel would find it: with the file that provides it and whether that is proprietary."""

    export: Export
    path: str
    proprietary: bool


Lookup = Callable[[str], "Symbol | None"]


@dataclass(frozen=True)
class KernelProfile:
    """What of a kernel bears on its answers; None for what the host's files do not tell.

    `config` holds the CONFIG_ options that are set (None: no configuration at hand). `sig_enforced` is whether
    unsigned modules are refused; `lockdown` whether by lockdown (EPERM) rather than by enforcement. `has_crcs`,
    `has_gpl` and `has_namespaces` tell what the source of its exports knows.
    """

    release: str
    vermagic: str | None = None
    config: dict[str, str] | None = None
    machine: int | None = None
    bits: int | None = None
    big: bool | None = None
    this_module_size: int | None = None
    layout_crc: int | None = None
    has_exports: bool = False
    has_crcs: bool = False
    has_gpl: bool = False
    has_namespaces: bool = False
    sig_enforced: bool | None = None
    lockdown: bool = False
    blacklist: frozenset[str] = frozenset()
    builtin: frozenset[str] = frozenset()
    sources: tuple[str, ...] = ()
    cannot_tell: tuple[str, ...] = field(default=())

    @property
    def version(self) -> tuple[int, int, int]:
        """The numbers that the release begins with: 6.1.0-53-cloud-amd64 is (6, 1, 0)."""
        match = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", self.release)
        return (int(match.group(1)), int(match.group(2)), int(match.group(3) or 0)) if match else (0, 0, 0)

    def option(self, name: str) -> bool | None:
        """Whether CONFIG_name is y; None without a configuration."""
        return None if self.config is None else self.config.get(f"CONFIG_{name}") == "y"

    @property
    def modversions(self) -> bool | None:
        """CONFIG_MODVERSIONS: by the configuration, by its word in vermagic (2.6.26 and later), by CRCs of exports."""
        configured = self.option("MODVERSIONS")
        if configured is not None:
            return configured
        if self.vermagic is not None and (" modversions" in self.vermagic or self.version >= (2, 6, 26)):
            return " modversions" in self.vermagic
        return True if self.has_crcs else None


class _Open(Exception):
    """A rule that can't be decided from what is known."""


def judge(module: ModuleFile, kernel: KernelProfile, lookup: Lookup, loaded: Collection[str] = ()) -> Verdict:
    """What finit_module would answer to this module on this kernel.

    `lookup` finds a symbol among vmlinux's exports and those of the modules that would be loaded before it;
    `loaded` are the names of modules that would be.
    """
    taints: set[str] = set()
    cannot: list[str] = []
    for rule in (_signature, _elf, _blacklist, _layout, _vermagic, _taints, _name):
        try:
            reason = rule(module, kernel, taints)
        except _Open as why:
            cannot.append(str(why))
            continue
        if reason is None and rule is _name and module.name in loaded:
            reason = Reason("loaded", "EEXIST", "", wanted=module.name)
        if reason is not None:
            return Verdict(UNKNOWN if cannot else FAILS, "" if cannot else reason.errno, (reason,), "", tuple(cannot))
    reasons: list[Reason] = []
    if not kernel.has_exports:
        cannot.append(f"nothing here tells what kernel {kernel.release} exports")
    else:
        reasons += _symbols(module, kernel, lookup, taints, cannot)
    if not reasons:
        reasons += _late(module, kernel, lookup, cannot)
    order = "".join(letter for letter in "PFOE" if letter in taints)
    if reasons:
        return Verdict(FAILS, reasons[-1].errno, tuple(reasons), order, tuple(cannot))
    return Verdict(UNKNOWN if cannot else LOADS, "", (), order, tuple(cannot))


class RuleOutcome(NamedTuple):
    """How one rule came out: `state` is passes, fails, unknown or "not reached"."""

    rule: str
    state: str
    reasons: tuple[Reason, ...] = ()
    cannot_tell: tuple[str, ...] = ()


def trace(module: ModuleFile, kernel: KernelProfile, lookup: Lookup) -> list[RuleOutcome]:
    """Every rule in the kernel's order and how it came out; what stands behind the one that fails is not reached."""
    taints: set[str] = set()
    found: list[RuleOutcome] = []

    def add(title: str, reasons: tuple[Reason, ...], cannot: tuple[str, ...]) -> None:
        refused = any(outcome.state == FAILS for outcome in found)
        state = "not reached" if refused else FAILS if reasons else UNKNOWN if cannot else "passes"
        found.append(RuleOutcome(title, state, *(((), ()) if refused else (reasons, cannot))))

    for title, rule in (
        ("signature", _signature),
        ("ELF, architecture, struct module", _elf),
        ("module_blacklist=", _blacklist),
        ("layout of struct module", _layout),
        ("vermagic", _vermagic),
    ):
        try:
            reason = rule(module, kernel, taints)
        except _Open as why:
            add(title, (), (str(why),))
        else:
            add(title, () if reason is None else (reason,), ())
    _taints(module, kernel, taints)
    cannot: list[str] = []
    reasons: list[Reason] = []
    if kernel.has_exports:
        reasons = list(_symbols(module, kernel, lookup, taints, cannot))
    else:
        cannot.append(f"nothing here tells what kernel {kernel.release} exports")
    add("symbols: there, visible, CRC, namespace", tuple(reasons), tuple(cannot))
    cannot = []
    add("its own exports and name", tuple(_late(module, kernel, lookup, cannot)), tuple(cannot))
    return found


def _signature(module: ModuleFile, kernel: KernelProfile, taints: set[str]) -> Reason | None:
    """module_sig_check(): without enforcement only a signature that is there and wrong refuses (and says nothing)."""
    signed = kernel.option("MODULE_SIG")
    if signed is False:
        return None
    signature = module.signature
    if signature is not None and signature.problem:
        return Reason("signature", "EBADMSG", "", found=signature.problem)
    if signature is not None and module.signature_state == "bad":
        return Reason("signature", "EKEYREJECTED", "", found="the signature does not fit the file: it was altered")
    if signature is not None and module.signature_state == "good":
        return None
    if signed is None and signature is None and kernel.sig_enforced is None:
        return None
    what = "unsigned module" if signature is None else "module with unavailable key"
    if signature is not None and module.signature_state == "" and kernel.sig_enforced:
        raise _Open("whether the kernel holds the key of its signature can't be told here")
    if signature is not None and module.signature_state == "":
        return None
    if kernel.sig_enforced and not kernel.lockdown:
        return Reason("signature", "EKEYREJECTED", f"Loading of {what} is rejected", found=what)
    if kernel.lockdown:
        return Reason("signature", "EPERM", "Lockdown: unsigned module loading is restricted", found=what)
    if signed:
        taints.add("E")
    return None


def _elf(module: ModuleFile, kernel: KernelProfile, taints: set[str]) -> Reason | None:
    """elf_validity_check(): the architecture, and since 6.4 the exact size of struct module."""
    if kernel.machine is not None and module.machine != kernel.machine:
        message = f"Invalid architecture in ELF header: {module.machine}" if kernel.version >= (5, 19, 0) else ""
        names = MACHINES.get(module.machine, str(module.machine)), MACHINES.get(kernel.machine, str(kernel.machine))
        return Reason("architecture", "ENOEXEC", message, wanted=names[0], found=names[1])
    if (kernel.bits is not None and module.bits != kernel.bits) or (
        kernel.big is not None and module.big != kernel.big
    ):
        kinds = f"{module.bits}-bit {'big' if module.big else 'little'} endian"
        return Reason("architecture", "ENOEXEC", "", wanted=kinds, found=f"{kernel.bits}-bit")
    if module.this_module_size is None:
        return Reason("elf", "ENOEXEC", f"{module.name}: No module found in object", found="no struct module in it")
    if not module.has_symbol_table:
        return Reason("elf", "ENOEXEC", f"{module.name}: module has no symbols (stripped?)", found="no symbol table")
    if (
        kernel.version >= (6, 4, 0)
        and kernel.this_module_size is not None
        and module.this_module_size != kernel.this_module_size
    ):
        return Reason(
            "this-module-size",
            "ENOEXEC",
            f"module {module.name}: .gnu.linkonce.this_module section size must match the kernel's built struct "
            "module size at run time",
            wanted=f"{module.this_module_size} bytes",
            found=f"{kernel.this_module_size} bytes",
        )
    return None


def _blacklist(module: ModuleFile, kernel: KernelProfile, taints: set[str]) -> Reason | None:
    """blacklisted(): module_blacklist= of the command line (3.16 and later)."""
    if module.name in kernel.blacklist:
        return Reason("blacklist", "EPERM", f"Module {module.name} is blacklisted", wanted=module.name)
    return None


def _layout(module: ModuleFile, kernel: KernelProfile, taints: set[str]) -> Reason | None:
    """check_modstruct_version(): the CRC of module_layout (struct_module before 2.6.26)."""
    modversions = kernel.modversions
    if modversions is False:
        return None
    if not module.versions:
        if modversions is None:
            return None
        return _force(module, kernel, taints, "no-versions", "")
    if module.layout is None:
        return None  # no version for the layout symbol: warned of, and let go
    name, crc = module.layout
    if kernel.layout_crc is None:
        raise _Open(f"no CRC of {name} is known for kernel {kernel.release}")
    if crc == kernel.layout_crc:
        return None
    return Reason(
        "module-layout",
        "ENOEXEC",
        f"{module.name}: disagrees about version of symbol {name}",
        name,
        _crc(crc),
        _crc(kernel.layout_crc),
        "vmlinux",
    )


def _force(module: ModuleFile, kernel: KernelProfile, taints: set[str], rule: str, message: str) -> Reason | None:
    """try_to_force_load(): taints and goes on with CONFIG_MODULE_FORCE_LOAD, else refuses."""
    forced = kernel.option("MODULE_FORCE_LOAD")
    if forced is None:
        raise _Open(f"whether kernel {kernel.release} lets modules without versions in (CONFIG_MODULE_FORCE_LOAD)")
    if not forced:
        return Reason(rule, "ENOEXEC", message, found="no symbol versions, and CONFIG_MODULE_FORCE_LOAD is not set")
    taints.add("F")
    return None


def _vermagic(module: ModuleFile, kernel: KernelProfile, taints: set[str]) -> Reason | None:
    """check_modinfo() and same_magic(): with CRCs only what follows the release must be equal.

    Before 2.6.26 CONFIG_MODVERSIONS alone decided that, whether the module had CRCs or not.
    """
    mine = module.field("vermagic")
    if mine is None:
        return _force(module, kernel, taints, "vermagic", "")
    if kernel.vermagic is None:
        raise _Open(f"no vermagic is known for kernel {kernel.release}")
    modversions = kernel.modversions
    with_crcs = bool(module.versions) or kernel.version < (2, 6, 26)
    if modversions is None and with_crcs:
        raise _Open(f"whether kernel {kernel.release} has CONFIG_MODVERSIONS")
    if modversions and with_crcs:
        same = mine[_word(mine) :] == kernel.vermagic[_word(kernel.vermagic) :]
    else:
        same = mine == kernel.vermagic
    if same:
        return None
    message = f"{module.name}: version magic '{mine}' should be '{kernel.vermagic}'"
    return Reason("vermagic", "ENOEXEC", message, "", mine.strip(), kernel.vermagic.strip())


def _word(text: str) -> int:
    """Where the first word ends, as strcspn(text, " ") says."""
    at = text.find(" ")
    return len(text) if at < 0 else at


def _taints(module: ModuleFile, kernel: KernelProfile, taints: set[str]) -> Reason | None:
    """check_modinfo() and set_license(): what the module is marked with."""
    if not module.intree and kernel.version >= (3, 2, 0):
        taints.add("O")
    if not module.gpl_compatible:
        taints.add("P")
    return None


def _name(module: ModuleFile, kernel: KernelProfile, taints: set[str]) -> Reason | None:
    return None


def _symbols(
    module: ModuleFile, kernel: KernelProfile, lookup: Lookup, taints: set[str], cannot: list[str]
) -> Iterator[Reason]:
    """simplify_symbols(): every undefined symbol in the order of the symbol table; all that fail are named.

    Before 2.6.35 each answer was ENOENT; since then it is the last symbol's own (resolve_symbol_wait()).
    """
    errors_told = kernel.version >= (2, 6, 35)
    proprietary = "P" in taints
    gpl_used = ""
    imports = module.import_ns
    modversions = kernel.modversions
    for name, wanted in module.needs.items():
        found = lookup(name)
        export = None if found is None else found.export
        if found is not None and export is not None:
            if export.gpl and proprietary:
                export = None  # find_symbol() does not show GPL-only exports to a proprietary module
                missing = Reason("gpl-only", "ENOENT", "", name, "", "exported for GPL modules only", found.path)
            elif export.gpl is None and proprietary:
                _once(cannot, "which symbols are GPL-only is not known, and this module is proprietary")
            elif found.proprietary and kernel.version >= (5, 9, 0) and gpl_used:
                # inherit_taint()
                export = None
                missing = Reason("gpl-only", "ENOENT", "", name, "", "of a proprietary module", found.path)
            elif found.proprietary:
                proprietary = True
                taints.add("P")
        else:
            missing = Reason("unknown-symbol", "ENOENT", "", name)
        if export is None or found is None:
            if name in module.weak:
                continue
            said = f"Unknown symbol {name}" + (" (err -2)" if errors_told else "")
            yield missing._replace(message=f"{module.name}: {said}")
            continue
        if export.gpl:
            gpl_used = gpl_used or name
        if modversions and module.versions and wanted is not None:
            if export.crc is None:
                if not kernel.has_crcs or export.provider == "vmlinux":
                    _once(cannot, f"no CRCs of kernel {kernel.release} are known to compare with")
            elif export.crc != wanted:
                said = f"Unknown symbol {name}" + (" (err -22)" if errors_told else "")
                yield Reason(
                    "symbol-crc",
                    "EINVAL" if errors_told else "ENOENT",
                    f"{module.name}: disagrees about version of symbol {name}\n{module.name}: {said}",
                    name,
                    _crc(wanted),
                    _crc(export.crc),
                    found.path,
                )
                continue
        elif (
            modversions
            and not module.versions
            and export.crc is not None
            and kernel.option("MODULE_FORCE_LOAD") is False
        ):
            yield Reason("no-versions", "EINVAL", f"{module.name}: Unknown symbol {name} (err -22)", name)
            continue
        if export.namespace and not _imported(export.namespace, imports, module.name, kernel.version):
            if kernel.option("MODULE_ALLOW_MISSING_NAMESPACE_IMPORTS"):
                continue
            text = f"module uses symbol ({name}) from namespace {export.namespace}, but does not import it."
            yield Reason(
                "namespace",
                "EINVAL",
                f"{module.name}: {text}\n{module.name}: Unknown symbol {name} (err -22)",
                name,
                "",
                f"in namespace {export.namespace}",
                found.path,
            )


def _imported(namespace: str, imports: Collection[str], name: str, version: tuple[int, int, int]) -> bool:
    """verify_namespace_is_imported(): since 5.4; `module:a,b-*` (6.16 and later) names the modules that may use it."""
    if version < (5, 4, 0) or namespace in imports:
        return True
    if namespace.startswith("module:"):
        for pattern in namespace[len("module:") :].split(","):
            pattern = pattern.replace("-", "_")
            plain = name.replace("-", "_")
            if plain.startswith(pattern[:-1]) if pattern.endswith("*") else plain == pattern:
                return True
    return False


def _late(module: ModuleFile, kernel: KernelProfile, lookup: Lookup, cannot: list[str]) -> Iterator[Reason]:
    """What comes after the symbols are resolved: exports without CRCs, exports that are there already, a built-in
    module of the same name (check_export_symbol_versions, verify_exported_symbols, mod_sysfs_init)."""
    unversioned = kernel.modversions and any(export.crc is None for export in module.exports.values())
    if unversioned and kernel.option("MODULE_FORCE_LOAD") is False:
        yield Reason("no-versions", "ENOEXEC", f"{module.name}: no versions for exported symbols")
        return
    for name in module.exports:
        found = lookup(name)
        if found is not None and found.export.provider != module.name:
            owner = "kernel" if found.export.provider == "vmlinux" else found.export.provider
            message = f"{module.name}: exports duplicate symbol {name} (owned by {owner})"
            yield Reason("duplicate-export", "ENOEXEC", message, name, "", f"exported by {owner}", found.path)
            return
    if module.name in kernel.builtin:
        yield Reason("builtin", "EINVAL", f"{module.name}: module is already loaded", wanted=module.name)


def _once(cannot: list[str], sentence: str) -> None:
    if sentence not in cannot:
        cannot.append(sentence)


def _crc(crc: int) -> str:
    return f"0x{crc:08x}"


def depmod_wording(reason: Reason, path: str) -> str:
    """A reason in depmod's own words, which people search for; "" for what depmod does not know."""
    if reason.rule in ("symbol-crc", "module-layout"):
        return f"WARNING: {path} disagrees about version of symbol {reason.symbol}"
    if reason.rule == "unknown-symbol":
        return f"WARNING: {path} needs unknown symbol {reason.symbol}"
    return ""
