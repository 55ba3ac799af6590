"""The kernel's rules for loading a module, each by itself, in the order in which verdict.py applies them.

Source of the rules: load_module() in kernel/module/main.c (kernel/module.c before 5.19), version.c, signing.c and
internal.h beside it. Where a rule changed, the version is noted at the rule.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from hostward.kmod.elf import MACHINES
from hostward.kmod.module import GPL_COMPATIBLE, LAYOUT_SYMBOLS, ModuleFile
from hostward.kmod.profile import KernelProfile, Lookup, Open, Reason
from hostward.kmod.signature import Signature

#: CONFIG_MODULE_FORCE_LOAD came with 2.6.26; before that what it asks for was always allowed.
_FORCE_OPTION = (2, 6, 26)


def signature(module: ModuleFile, kernel: KernelProfile, taints: set[str]) -> Reason | None:
    return signature_of(module.signature, module.signature_state, kernel, taints)


def signature_of(found: Signature | None, state: str, kernel: KernelProfile, taints: set[str]) -> Reason | None:
    """module_sig_check(): a signature that is there and wrong refuses always, and says nothing; what is unsigned,
    signed with an unknown key or in another form is refused where signatures are enforced or the kernel locked down.

    Before 5.4 there was no word and no lockdown: ENOKEY was the answer.
    """
    if kernel.option("MODULE_SIG") is False or kernel.version < (3, 7, 0):
        return None
    what = "unsigned module"
    before = ""
    if found is not None:
        if found.problem:
            said = "module: PKCS#7 signature info has unexpected non-zero params" if found.kind == "PKCS#7" else ""
            message = said if kernel.version >= (5, 4, 0) else ""
            return Reason("signature", "EBADMSG", message, found=found.problem)
        if state in ("EBADMSG", "EINVAL", "EMSGSIZE"):
            return Reason("signature", state, "", found="its PKCS#7 data is none that the kernel reads")
        if state == "ENOPKG":
            what = "module with unsupported crypto"
            if kernel.version < (5, 4, 0):
                return Reason("signature", "ENOPKG", "", found=what)
        elif found.kind == "PKCS#7" and not (found.signer or found.key or found.hash):
            return Reason("signature", "EBADMSG", "", found="its PKCS#7 data can't be read")
        elif found.kind != "PKCS#7" and kernel.version >= (4, 3, 0):
            what, before = "module with unsupported crypto", "module: not signed with expected PKCS#7 message"
            if kernel.version < (5, 4, 0):
                return Reason("signature", "ENOPKG", "", found=f"a signature of another form ({found.kind})")
        elif state == "bad":
            return Reason("signature", "EKEYREJECTED", "", found="the signature does not fit the file: it was altered")
        elif state == "good":
            return None
        else:
            what = "module with unavailable key"
    enforced, locked = kernel.sig_enforced, kernel.lockdown
    if found is not None and state == "" and not before:
        if enforced or locked:
            raise Open("whether the kernel holds the key of its signature can't be told here")
        return None
    if enforced is None and kernel.option("MODULE_SIG"):
        raise Open(f"whether kernel {kernel.release} refuses unsigned modules can't be told here")
    if enforced and kernel.version < (5, 4, 0):
        return Reason("signature", "ENOKEY", "", found=what)
    if enforced:
        message = f"{before}\n" * bool(before) + f"Loading of {what} is rejected"
        return Reason("signature", "EKEYREJECTED", message, found=what)
    if locked:
        said = "Lockdown: modprobe: unsigned module loading is restricted; see man kernel_lockdown.7"
        message = f"{before}\n" * bool(before) + said
        return Reason("signature", "EPERM", message, found=what)
    if kernel.option("MODULE_SIG"):
        taints.add("E")
    return None


def elf(module: ModuleFile, kernel: KernelProfile, taints: set[str]) -> Reason | None:
    """elf_validity_check(): the architecture; that there is a struct module, since 6.4 of exactly the kernel's size."""
    talks = kernel.version >= (5, 17, 0)
    if kernel.big is not None and module.big != kernel.big:
        # Read in the other byte order ET_REL is 256.
        message = "Invalid ELF header type: 256 != 1" if talks else ""
        kinds = ["little endian", "big endian"]
        return Reason("architecture", "ENOEXEC", message, wanted=kinds[module.big], found=kinds[kernel.big])
    if kernel.machine is not None and module.machine != kernel.machine:
        message = f"Invalid architecture in ELF header: {module.machine}" if talks else ""
        names = MACHINES.get(module.machine, str(module.machine)), MACHINES.get(kernel.machine, str(kernel.machine))
        return Reason("architecture", "ENOEXEC", message, wanted=names[0], found=names[1])
    if kernel.bits is not None and module.bits != kernel.bits:
        message = "Invalid ELF section header size" if talks else ""
        return Reason("architecture", "ENOEXEC", message, wanted=f"{module.bits}-bit", found=f"{kernel.bits}-bit")
    name = module.field("name") or "(missing .modinfo section or name field)"
    checked = kernel.version >= (6, 4, 0)
    stripped = absent = None
    if not module.has_symbol_table:
        stripped = Reason("elf", "ENOEXEC", f"{name}: module has no symbols (stripped?)", found="no symbol table")
    if module.this_module_size is None:
        message = f"{name}: No module found in object"
        if checked:
            count = "Exactly" if kernel.version >= (6, 12, 0) else "Only"
            message = f"module {name}: {count} one .gnu.linkonce.this_module section must exist."
        absent = Reason("elf", "ENOEXEC", message, found="no struct module in it")
    if stripped is not None or absent is not None:
        return absent or stripped if kernel.version >= (6, 12, 0) else stripped or absent
    if checked and kernel.this_module_size is not None and module.this_module_size != kernel.this_module_size:
        return Reason(
            "this-module-size",
            "ENOEXEC",
            f"module {name}: .gnu.linkonce.this_module section size must match the kernel's built struct "
            "module size at run time",
            wanted=f"{module.this_module_size} bytes",
            found=f"{kernel.this_module_size} bytes",
        )
    return None


def blacklist(module: ModuleFile, kernel: KernelProfile, taints: set[str]) -> Reason | None:
    """blacklisted(): module_blacklist= of the command line (4.8 and later), letter by letter: `-` is not `_`."""
    if module.name in kernel.blacklist:
        return Reason("blacklist", "EPERM", f"Module {module.name} is blacklisted", wanted=module.name)
    return None


def layout(module: ModuleFile, kernel: KernelProfile, taints: set[str]) -> Reason | None:
    """check_modstruct_version(): the CRC of module_layout (struct_module before 2.6.26)."""
    modversions = kernel.modversions
    if modversions is False:
        return None
    if not module.has_versions:
        return None if modversions is None else _force(kernel, taints, "no-versions")
    if module.layout is None:
        if _missing_version_passes(kernel, taints):
            return None
        name = LAYOUT_SYMBOLS[0]
        message = f"{module.name}: no symbol version for {name}"
        return Reason("module-layout", "ENOEXEC", message, name, "", "", "vmlinux")
    name, crc = module.layout
    if kernel.layout_crc is None:
        raise Open(f"no CRC of {name} is known for kernel {kernel.release}")
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


def _force(kernel: KernelProfile, taints: set[str], rule: str) -> Reason | None:
    """try_to_force_load(): taints and goes on with CONFIG_MODULE_FORCE_LOAD, else refuses without a word."""
    forced = True if kernel.version < _FORCE_OPTION else kernel.option("MODULE_FORCE_LOAD")
    if forced is None:
        raise Open(f"whether kernel {kernel.release} lets modules without versions in (CONFIG_MODULE_FORCE_LOAD)")
    if not forced:
        missing = "no vermagic" if rule == "vermagic" else "no symbol versions"
        return Reason(rule, "ENOEXEC", "", found=f"{missing}, and CONFIG_MODULE_FORCE_LOAD is not set")
    taints.add("F")
    return None


def _missing_version_passes(kernel: KernelProfile, taints: set[str]) -> bool:
    """check_version() for a symbol that is not in the module's __versions: a taint before 2.6.26, a refusal until
    4.8, since then a warning (faaae2a58143), but not in Debian's kernels, which kept the refusal.  Raises Open."""
    if kernel.version < _FORCE_OPTION:
        taints.add("F")
        return True
    if kernel.version < (4, 9, 0):
        return False
    if kernel.strict_versions is None:
        raise Open(f"whether kernel {kernel.release} takes symbols that the module has no version for")
    return not kernel.strict_versions


def vermagic(module: ModuleFile, kernel: KernelProfile, taints: set[str]) -> Reason | None:
    """check_modinfo() and same_magic(): with CRCs only what follows the release must be equal.

    Before 2.6.26 CONFIG_MODVERSIONS alone decided that, whether the module had CRCs or not.
    """
    mine = module.field("vermagic")
    if mine is None:
        return _force(kernel, taints, "vermagic")
    if kernel.vermagic is None:
        raise Open(f"no vermagic is known for kernel {kernel.release}")
    modversions = kernel.modversions
    with_crcs = module.has_versions or kernel.version < (2, 6, 26)
    if modversions is None and with_crcs:
        raise Open(f"whether kernel {kernel.release} has CONFIG_MODVERSIONS")
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


def marks(module: ModuleFile, kernel: KernelProfile, taints: set[str]) -> None:
    """check_modinfo(), set_license(): what the module is marked with."""
    if not module.intree and kernel.version >= (3, 2, 0):
        taints.add("O")
    if module.field("license") not in GPL_COMPATIBLE or module.name in ("driverloader", "lve"):
        taints.add("P")
    for key, letter, since in (("staging", "C", (2, 6, 28)), ("livepatch", "K", (4, 0, 0)), ("test", "N", (6, 0, 0))):
        if kernel.version >= since and module.field(key) is not None:
            taints.add(letter)


def livepatch(module: ModuleFile, kernel: KernelProfile, taints: set[str]) -> Reason | None:
    """check_modinfo_livepatch() (4.6 and later)."""
    if module.field("livepatch") is None or kernel.version < (4, 6, 0):
        return None
    patches = kernel.option("LIVEPATCH")
    if patches is None:
        raise Open(f"whether kernel {kernel.release} takes live patches (CONFIG_LIVEPATCH)")
    if patches:
        return None
    said = "module is marked as livepatch module, but livepatch support is disabled"
    return Reason("livepatch", "ENOEXEC", f"{module.name}: {said}", found="CONFIG_LIVEPATCH is not set")


def btf(module: ModuleFile, kernel: KernelProfile, taints: set[str]) -> Reason | None:
    """btf_module_notify() of kernel/bpf/btf.c (5.11 and later): types that do not fit the kernel's own refuse the
    module (EINVAL), unless CONFIG_MODULE_ALLOW_BTF_MISMATCH (5.18 and later).  Those of another build rarely fit."""
    if not module.has_btf or kernel.version < (5, 11, 0) or not kernel.option("DEBUG_INFO_BTF_MODULES"):
        return None
    if kernel.option("MODULE_ALLOW_BTF_MISMATCH") or module.vermagic.split(" ")[0] == kernel.release:
        return None
    raise Open("it has BTF of another kernel, and this one refuses what does not fit its own types")


def export_versions(module: ModuleFile, kernel: KernelProfile, taints: set[str]) -> Reason | None:
    """check_export_symbol_versions(): exports without CRCs on a kernel with CONFIG_MODVERSIONS."""
    if not kernel.modversions or all(export.crc is not None for export in module.exports.values()):
        return None
    return _force(kernel, taints, "no-versions")


def symbols(
    module: ModuleFile, kernel: KernelProfile, lookup: Lookup, taints: set[str], cannot: list[str]
) -> Iterator[Reason]:
    """simplify_symbols(): every undefined symbol in the order of the symbol table; all that fail are named.

    Before 2.6.35 each answer was ENOENT; since then it is the last symbol's own (resolve_symbol_wait()).
    """
    proprietary = "P" in taints
    gpl_used = False
    modversions = kernel.modversions
    for name, wanted in module.needs.items():
        found = lookup(name)
        if found is None:
            if name not in module.weak:
                yield _unknown(module, kernel, Reason("unknown-symbol", "ENOENT", "", name))
            continue
        export = found.export
        if proprietary and export.gpl is None:
            _once(cannot, "which symbols are GPL-only is not known, and this module is proprietary")
        if proprietary and export.gpl:
            # find_symbol() does not show GPL-only exports to a proprietary module.
            if name not in module.weak:
                why = "exported for GPL modules only"
                yield _unknown(module, kernel, Reason("gpl-only", "ENOENT", "", name, "", why, found.path))
            continue
        gpl_used = gpl_used or bool(export.gpl)
        if found.proprietary and kernel.version >= (5, 9, 0):
            # inherit_taint()
            if gpl_used:
                said = f"module using GPL-only symbols uses symbols {name} from proprietary module {export.provider}."
                reason = Reason("gpl-only", "ENOENT", said, name, "", "of a proprietary module", found.path)
                if name not in module.weak:
                    yield _unknown(module, kernel, reason)
                continue
            proprietary = True
            taints.add("P")
        if modversions and module.has_versions and export.crc is None:
            if wanted is not None and (not kernel.has_crcs or export.provider == "vmlinux"):
                _once(cannot, f"no CRCs of kernel {kernel.release} are known to compare with")
        elif modversions and module.has_versions and wanted is None:
            try:
                passes = _missing_version_passes(kernel, taints)
            except Open as why:
                _once(cannot, str(why))
                continue
            if not passes:
                reason = Reason("no-version", "EINVAL", f"no symbol version for {name}", name, "", "", found.path)
                yield _unknown(module, kernel, reason)
                continue
        elif modversions and module.has_versions and export.crc != wanted and export.crc is not None:
            reason = Reason("symbol-crc", "EINVAL", f"disagrees about version of symbol {name}", name)
            yield _unknown(
                module,
                kernel,
                reason._replace(wanted=_crc(wanted or 0), found=_crc(export.crc), provider=found.path),
            )
            continue
        if export.namespace and not _imported(export.namespace, module.import_ns, module.name, kernel.version):
            if kernel.option("MODULE_ALLOW_MISSING_NAMESPACE_IMPORTS"):
                continue
            said = f"module uses symbol ({name}) from namespace {export.namespace}, but does not import it."
            where = f"in namespace {export.namespace}"
            yield _unknown(module, kernel, Reason("namespace", "EINVAL", said, name, "", where, found.path))


def _unknown(module: ModuleFile, kernel: KernelProfile, reason: Reason) -> Reason:
    """The reason with the kernel's last word on a symbol, and with the errno it makes of it."""
    told = kernel.version >= (2, 6, 35)
    number = {"ENOENT": 2, "EINVAL": 22}[reason.errno]
    first = f"{module.name}: {reason.message}\n" if reason.message else ""
    last = f"{module.name}: Unknown symbol {reason.symbol}" + (f" (err -{number})" if told else "")
    return reason._replace(errno=reason.errno if told else "ENOENT", message=first + last)


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


def duplicates(module: ModuleFile, present: Lookup) -> Reason | None:
    """verify_exported_symbols(): the first of its exports that vmlinux or a module loaded before has already."""
    for plain_first in (False, True):
        for name, export in module.exports.items():
            if bool(export.gpl) is not plain_first:
                continue
            found = present(name)
            if found is not None and found.export.provider != module.name:
                owner = "kernel" if found.export.provider == "vmlinux" else found.export.provider
                message = f"{module.name}: exports duplicate symbol {name} (owned by {owner})"
                return Reason("duplicate-export", "ENOEXEC", message, name, "", f"exported by {owner}", found.path)
    return None


def built_in(module: ModuleFile, kernel: KernelProfile, taints: set[str]) -> Reason | None:
    """mod_sysfs_init(): refuses what has a directory in /sys/module already, as built-in modules with parameters, a
    version or a driver have.  Another built-in one does not keep a module of its name out."""
    if module.name not in kernel.builtin:
        return None
    shown = None if kernel.builtin_shown is None else kernel.builtin_shown(module.name)
    if shown is None:
        raise Open(f"whether the built-in {module.name} has a directory in /sys/module, which would keep this one out")
    if not shown:
        return None
    return Reason("builtin", "EINVAL", f"{module.name}: module is already loaded", wanted=module.name)


def _once(cannot: list[str], sentence: str) -> None:
    if sentence not in cannot:
        cannot.append(sentence)


def _crc(crc: int) -> str:
    return f"0x{crc:08x}"
