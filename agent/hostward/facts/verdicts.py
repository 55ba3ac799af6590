"""The verdict on every module outside a kernel's own tree, for every installed kernel, without booting it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from hostward.facts import fact
from hostward.facts.kernel_profiles import KernelFiles, KernelProfiles, read_module
from hostward.facts.module_trees import ModuleTree, ModuleTrees, TreeModule
from hostward.host import Host, HostError, Missing
from hostward.kmod.module import SIZE_MAX, BadModule, ModuleFile, parse_module, unpacked
from hostward.kmod.search import (
    SearchOrder,
    name_of,
    parse_depmod_conf,
    parse_modules_symbols,
    shadowed,
)
from hostward.kmod.signature import MAGIC, verify
from hostward.kmod.verdict import FAILS, UNKNOWN, Lookup, Reason, Symbol, Verdict, judge, judge_file

DEPMOD_DIRECTORIES = ("/etc/depmod.d", "/run/depmod.d", "/usr/local/lib/depmod.d", "/usr/lib/depmod.d", "/lib/depmod.d")
_CLOSURE_MAX = 200
_CHAIN_MAX = 80


@dataclass(frozen=True)
class JudgedModule:
    """A module file and what one kernel would answer to it.

    `path` is where modprobe finds it (a link, perhaps), `file` the file itself. `chosen` is whether modprobe takes
    this file for the name: False for one that another of the same name shadows (`instead`), None when that can't be
    told. `providers` are the modules it pulls in, each with its own verdict.
    """

    release: str
    name: str
    path: str
    file: str
    verdict: Verdict
    chosen: bool | None = True
    instead: str = ""
    providers: tuple[JudgedModule, ...] = ()

    @property
    def failing_provider(self) -> JudgedModule | None:
        """The first module it needs that does not load."""
        return next((p for p in self.providers if p.verdict.outcome == FAILS), None)


@dataclass(frozen=True)
class ModuleVerdicts:
    """Verdicts on the modules outside kernel/, of all installed kernels; dangling links are not among them."""

    modules: tuple[JudgedModule, ...]
    problems: tuple[str, ...] = ()

    def of(self, release: str) -> tuple[JudgedModule, ...]:
        return tuple(module for module in self.modules if module.release == release)


@fact
def search_order(host: Host) -> SearchOrder:
    """depmod's configuration; files that can't be read are as good as absent, as they are for depmod."""
    directories = []
    for directory in DEPMOD_DIRECTORIES:
        try:
            names = host.names(directory)
        except HostError:
            continue
        directories.append([(n, f"{directory}/{n}") for n in names if n.endswith((".conf", ".conf.dist"))])
    texts = []
    for _, path in shadowed(directories):
        try:
            texts.append(host.text(path, 1 << 20))
        except HostError:
            continue
    return parse_depmod_conf(texts)


@dataclass(frozen=True)
class Judges:
    """A judge for each kernel that has something to judge by, made when it is first asked for."""

    _make: Callable[[str], Judge | None]
    _known: dict[str, Judge | None] = field(default_factory=dict)

    def of(self, release: str) -> Judge | None:
        """None for a release that is not installed, or whose directory only holds modules for others."""
        if release not in self._known:
            self._known[release] = self._make(release)
        return self._known[release]


@fact
def judges(host: Host, trees: ModuleTrees, profiles: KernelProfiles, order: SearchOrder) -> Judges:
    def make(release: str) -> Judge | None:
        files = profiles.of(release)
        if files is None or not _installed(files):
            return None
        tree = trees.get(release) or ModuleTree(release, files.kernel.modules_dir, (), None)
        return Judge(host, tree, files, order)

    return Judges(make)


@fact
def module_verdicts(trees: ModuleTrees, judges: Judges) -> ModuleVerdicts:
    """Nothing of a kernel is read where its tree has no modules outside kernel/."""
    judged: list[JudgedModule] = []
    problems: list[str] = []
    for tree in trees.trees:
        problems += tree.problems
        there = [module for module in tree.outside if not module.dangling]
        judge_ = judges.of(tree.release) if there else None
        if judge_ is not None:
            judged += [judge_.module(module.path, module.file) for module in there]
    return ModuleVerdicts(tuple(judged), tuple(problems))


def _installed(files: KernelFiles) -> bool:
    """Whether there is a kernel to judge by: a directory that only holds modules for others has none."""
    return bool(files.kernel.image) or "kernel/" not in files.kernel.missing


def refusal(error: BadModule) -> Verdict:
    """The verdict on a file that no kernel takes, or that can't be inflated with what is installed here."""
    if error.cannot_tell:
        return Verdict(UNKNOWN, "", (), "", (error.reason,))
    return Verdict(FAILS, error.errno, (Reason("elf", error.errno, "", found=error.reason),))


class Judge:
    """Judges modules on one kernel: knows which file each name means there and which module provides a symbol.

    `parsed` keeps module files as they were read, by path, `verdicts` what was said of them.
    """

    def __init__(self, host: Host, tree: ModuleTree, files: KernelFiles, order: SearchOrder) -> None:
        self._host = host
        self.tree = tree
        self.files = files
        self.profile = files.profile
        self._order = order
        self._outside: dict[str, list[TreeModule]] = {}
        for module in tree.outside:
            if not module.dangling:
                self._outside.setdefault(module.name, []).append(module)
        self.parsed: dict[str, ModuleFile | BadModule] = {}
        self.verdicts: dict[str, JudgedModule] = {}
        self._underway: set[str] = set()
        self._meant: dict[str, tuple[str, str] | None] = {}
        self._symbols: dict[str, str] | None = None
        self._providers: dict[str, str] | None = None

    def module(self, path: str, file: str) -> JudgedModule:
        """The verdict on a file as modprobe would load it: with the modules it pulls in judged first."""
        if path in self.verdicts:
            return self.verdicts[path]
        name = name_of(path)
        chosen, instead = self._is_chosen(name, path)
        try:
            module = self.parse(file)
        except BadModule as error:
            judged = JudgedModule(self.tree.release, name, path, file, self._refusal(file, error), chosen, instead)
        except HostError as error:
            verdict = Verdict(UNKNOWN, "", (), "", (str(error),))
            judged = JudgedModule(self.tree.release, name, path, file, verdict, chosen, instead)
        else:
            judged = self._judge(module, name, path, file, chosen, instead)
        self.verdicts[path] = judged
        return judged

    def _refusal(self, file: str, error: BadModule) -> Verdict:
        """The verdict on a file that can't be read as a module, in this kernel's words."""
        try:
            data = unpacked(self._host.read(file, SIZE_MAX))
        except (BadModule, HostError):
            return refusal(error)
        return judge_file(data, error, self.profile, self.signature_state(data))

    def signature_state(self, data: bytes) -> str:
        """What this kernel makes of the signature behind a module's bytes, inflated; see ModuleFile.signature_state."""
        if not data.endswith(MAGIC) or self.profile.option("MODULE_SIG") is False:
            return ""
        return verify(data, self.files.trusted())

    def verified(self, module: ModuleFile, file: str) -> str:
        """The state of a module's signature.

        The kernel's own modules are verified where signatures are asked for: else each would cost reading all of it.
        """
        asked = self.profile.sig_enforced or self.profile.lockdown
        if module.signature is None or (not asked and file.startswith(f"{self.tree.path}/kernel/")):
            return ""
        try:
            return self.signature_state(unpacked(self._host.read(file, SIZE_MAX)))
        except (BadModule, HostError):
            return ""

    def insmod(self, module: ModuleFile, path: str) -> JudgedModule:
        """The verdict on a file that modprobe would not find here: as insmod would load it, with the modules that it
        needs loaded before."""
        return self._judge(module, module.name, path, path, None, "")

    def _judge(
        self, module: ModuleFile, name: str, path: str, file: str, chosen: bool | None, instead: str
    ) -> JudgedModule:
        self._underway.add(name)
        used: dict[str, JudgedModule] = {}
        open_: dict[str, str] = {}
        module.signature_state = self.verified(module, file)
        verdict = judge(module, self.profile, self.lookup(name, used, open_), present=self._among(used))
        self._underway.discard(name)
        sure = [r for r in verdict.reasons if r.rule != "unknown-symbol" or r.symbol not in open_]
        if verdict.outcome == FAILS and sure:
            verdict = replace(verdict, reasons=tuple(self._blame(reason, used) for reason in verdict.reasons))
        elif open_ or verdict.cannot_tell:
            said = tuple(dict.fromkeys((*verdict.cannot_tell, *open_.values())))
            verdict = replace(verdict, outcome=UNKNOWN, errno="", reasons=tuple(sure), cannot_tell=said)
        return JudgedModule(
            self.tree.release, name, path, file, verdict, chosen, instead, tuple(used[key] for key in sorted(used))
        )

    def lookup(self, name: str, used: dict[str, JudgedModule], open_: dict[str, str]) -> Lookup:
        """Finds symbols for the module `name` as the kernel would: among vmlinux's, then those of the modules that
        would be loaded before it. These go to `used`; to `open_`, by symbol, what can't be told of them."""

        def find(symbol: str) -> Symbol | None:
            table = self.files.table
            export = table.exports.get(symbol) if table is not None else None
            if export is not None and export.provider == "vmlinux":
                return Symbol(export, "vmlinux", False)
            provider = self._provider(symbol)
            if not provider or provider == name or provider in self._underway or len(used) > _CLOSURE_MAX:
                return None
            found = self.file_of(provider)
            if found is None:
                return None
            if len(self._underway) > _CHAIN_MAX:
                open_[symbol] = f"given up at a chain of more than {_CHAIN_MAX} modules that need each other"
                return None
            judged = self.module(*found)
            used.setdefault(provider, judged)
            if judged.verdict.outcome == FAILS:
                return None
            if judged.verdict.outcome == UNKNOWN:
                open_[symbol] = f"whether {judged.path}, which it needs, loads can't be told"
            try:
                theirs = self.parse(judged.file)
            except (BadModule, HostError):
                return None  # it could not be read, so its verdict is UNKNOWN
            export = theirs.exports.get(symbol)
            return None if export is None else Symbol(export, judged.path, "P" in judged.verdict.taints)

        return find

    def _among(self, used: dict[str, JudgedModule]) -> Lookup:
        """Finds symbols among vmlinux's and those of `used` alone."""

        def find(symbol: str) -> Symbol | None:
            table = self.files.table
            export = table.exports.get(symbol) if table is not None else None
            if export is not None and export.provider == "vmlinux":
                return Symbol(export, "vmlinux", False)
            provider = used.get(self._provider(symbol))
            if provider is None or provider.verdict.outcome == FAILS:
                return None
            try:
                export = self.parse(provider.file).exports.get(symbol)
            except (BadModule, HostError):
                return None
            return None if export is None else Symbol(export, provider.path, "P" in provider.verdict.taints)

        return find

    def _blame(self, reason: Reason, used: dict[str, JudgedModule]) -> Reason:
        """Says of an unknown symbol whose module there is that this module itself does not load."""
        if reason.rule != "unknown-symbol":
            return reason
        name = self._provider(reason.symbol)
        if name and self.file_of(name) is None:
            dangles = any(module.name == name and module.dangling for module in self.tree.outside)
            return reason._replace(found=f"{name} has it, {'whose link leads nowhere' if dangles else 'which is gone'}")
        provider = used.get(name)
        if provider is None or provider.verdict.outcome != FAILS:
            return reason
        return reason._replace(rule="provider-fails", found="its module does not load", provider=provider.path)

    def parse(self, file: str) -> ModuleFile:
        """A module file, read once.  Raises BadModule, HostError."""
        known = self.parsed.get(file)
        if known is None:
            try:
                known = read_module(self._host, file)
            except BadModule as error:
                known = self._as_the_kernel_reads_it(file) or error
            self.parsed[file] = known
        if isinstance(known, BadModule):
            raise known
        return known

    def _as_the_kernel_reads_it(self, file: str) -> ModuleFile | None:
        """A file whose header names another class or byte order, taken for one of the kernel's own, as the kernel
        does: it looks at neither (elf_validity_check)."""
        bits, big = self.profile.bits, self.profile.big
        try:
            data = unpacked(self._host.read(file, SIZE_MAX))
            if data[:4] != b"\x7fELF" or bits is None or (data[4] == bits // 32 and data[5] == 1 + bool(big)):
                return None
            return parse_module(b"\x7fELF" + bytes((bits // 32, 1 + bool(big))) + data[6:], file)
        except (BadModule, HostError, IndexError):
            return None

    def _is_chosen(self, name: str, path: str) -> tuple[bool | None, str]:
        """(whether modprobe takes this file for the name, the path it takes instead)."""
        found = self.file_of(name)
        if found is None or found[0] == path:
            return True, ""
        listed = self.files.modules_dep.get(name)
        if listed is None and not self._certain(name):
            return None, found[0]
        return False, found[0]

    def _certain(self, name: str) -> bool:
        below = [module.path[len(self.tree.path) + 1 :] for module in self._outside.get(name, ())]
        return len(below) < 2 or self._order.choose(name, self.tree.release, below)[1]

    def file_of(self, name: str) -> tuple[str, str] | None:
        """(path, file) that a module's name means: by modules.dep where that names a file that is there, else by
        depmod's configuration."""
        if name not in self._meant:
            self._meant[name] = self._find(name)
        return self._meant[name]

    def _find(self, name: str) -> tuple[str, str] | None:
        listed = self.files.modules_dep.get(name)
        if listed is not None:
            path = f"{self.tree.path}/{listed[0]}" if not listed[0].startswith("/") else listed[0]
            outside = next((m for m in self._outside.get(name, ()) if m.path == path), None)
            if outside is not None:
                return outside.path, outside.file
            if path in self.parsed or self._host.is_file(path):
                return path, path
        there = {module.path[len(self.tree.path) + 1 :]: module for module in self._outside.get(name, ())}
        if not there:
            return None
        module = there[self._order.choose(name, self.tree.release, there)[0]]
        return module.path, module.file

    def _provider(self, symbol: str) -> str:
        """The name of the module that exports a symbol on this kernel, "" for none: what lies outside kernel/ is
        read itself, for the rest modules.symbols and symvers tell where to look."""
        if self._providers is None:
            self._providers = {}
            for name in self._outside:
                found = self.file_of(name)
                if found is None:
                    continue
                try:
                    exports = self.parse(found[1]).exports
                except (BadModule, HostError):
                    continue
                for exported in exports:
                    self._providers.setdefault(exported, name)
        if symbol in self._providers:
            return self._providers[symbol]
        if self._symbols is None:
            try:
                self._symbols = parse_modules_symbols(self._host.text(f"{self.tree.path}/modules.symbols", 16 << 20))
            except Missing:
                self._symbols = {}
            except HostError:
                self._symbols = {}
        provider = self._symbols.get(symbol, "")
        if not provider and self.files.table is not None:
            export = self.files.table.exports.get(symbol)
            provider = "" if export is None or export.provider == "vmlinux" else export.provider
        return provider
