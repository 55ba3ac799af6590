"""Kernel modules that do not match their kernels: kmod packages, weak-updates links, and KVM itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hostward.checks import check
from hostward.kmod.verdict import FAILS, UNKNOWN, Reason, depmod_wording
from hostward.model import BZ, Finding, Issue, NotApplicable, Severity, Unavailable
from hostward.versions import satisfies

if TYPE_CHECKING:
    from hostward.facts.boot import Boot
    from hostward.facts.cpu import CpuVirtualization
    from hostward.facts.kernels import Kernels, RunningKernel
    from hostward.facts.known_issues import KnownIssues
    from hostward.facts.kvm_device import KvmDevice
    from hostward.facts.kvm_modules import KvmModules
    from hostward.facts.loaded import LoadedModules
    from hostward.facts.module_files import LoadedFiles, UnsignedModules
    from hostward.facts.module_maps import ModuleMaps
    from hostward.facts.module_trees import ModuleTrees, TreeModule
    from hostward.facts.next_modules import NextModules
    from hostward.facts.packages import Packages
    from hostward.facts.verdicts import JudgedModule, ModuleVerdicts

#: How much of a failing module's reasons the summary line names; the evidence has all.
_NAMED = 3


def _package_of(module: TreeModule, packages: Packages | Unavailable) -> str:
    """The package a module comes from: by the package manager, else by where kmod packages lay their modules."""
    owner = None
    if not isinstance(packages, Unavailable):
        owner = packages.owner(module.file or module.path)
    if owner is not None:
        return owner.package
    parts = module.path.split("/")
    at = parts.index(module.where) if module.where in parts else -1
    return parts[at + 1] if 0 < at < len(parts) - 2 else ""


@check(
    "modules.kernel-floor",
    title="no kmod package is linked to a kernel older than it supports",
    references=[BZ(509361)],
)
def kernel_floor(
    trees: ModuleTrees, kernels: Kernels, issues: KnownIssues, packages: Packages | Unavailable
) -> Iterator[Finding]:
    """A kmod package may need symbols that older kernels do not export. weak-modules links its modules into every
    kernel that is installed, older ones included; there depmod warns of unknown symbols, and the modules do not load.

    Which package needs which kernel is data: entries of the known issues that name this check. Versions compare
    exactly as rpm compares them.
    """
    installed = {kernel.release for kernel in kernels.installed}
    for issue in issues.of_check("modules.kernel-floor"):
        for tree in trees.trees:
            if tree.release not in installed or not satisfies(tree.release, issue.kernel):
                continue
            mine = [m for m in tree.outside if _package_of(m, packages) == issue.package]
            if mine:
                yield Finding(
                    Severity.WARNING,
                    f"{issue.package} is linked to kernel {tree.release}, which it does not support "
                    f"(the known issue holds for kernels {issue.kernel})",
                    subject=f"{issue.package} on {tree.release}",
                    evidence=tuple(m.path + (f" -> {m.link}" if m.link else "") for m in mine),
                    advice=issue.advice,
                    references=issue.references,
                    remedies=("modules.relink",),
                )


@check(
    "modules.weak-updates-dangling",
    title="every link to a module leads to a module",
    references=[Issue("dracutdevs/dracut", 1971), Issue("AlmaLinux/almalinux-deploy", 271)],
)
def weak_updates_dangling(trees: ModuleTrees, kernels: Kernels) -> Iterator[Finding]:
    """A weak-updates link whose module was removed leads nowhere. modprobe then says "Unknown symbol in module"
    though no symbol is missing, and building the initramfs of that kernel may fail altogether.
    """
    installed = {kernel.release for kernel in kernels.installed}
    for tree in trees.trees:
        dangling = [m for m in tree.outside if m.dangling]
        if not dangling:
            continue
        there = tree.release in installed
        count = "a link leads" if len(dangling) == 1 else f"{len(dangling)} links lead"
        yield Finding(
            Severity.ERROR if there else Severity.WARNING,
            f"{count} to no module in {tree.path}" + ("" if there else ", the directory of a kernel that is gone"),
            subject=tree.release,
            evidence=tuple(f"{m.path} {m.problem}" for m in dangling),
            advice=f"Remove the links that dangle and run `depmod {tree.release}`."
            if there
            else f"Remove the links; nothing boots kernel {tree.release} any more.",
            remedies=("modules.remove-dangling", "modules.relink"),
        )
    problems = [problem for tree in trees.trees for problem in tree.problems]
    if problems:
        raise Unavailable("; ".join(problems))


@check("modules.map-stale", title="modules.dep lists the modules that lie outside the kernel's own tree")
def map_stale(maps: ModuleMaps) -> Iterator[Finding]:
    """modprobe finds modules by modules.dep, which depmod writes. A module that was put into extra, updates or
    weak-updates without depmod is not found, or a file of the same name that it should replace is still taken; one
    that was removed makes modprobe fail for what needs it. What depmod would list is judged by its own search order.
    """
    for one in maps.stale:
        lines = [f"{path} is not there any more" for path in one.gone]
        lines += [f"{path} is not listed" for path in one.unlisted]
        yield Finding(
            Severity.ERROR if one.gone else Severity.WARNING,
            f"modules.dep of kernel {one.release} is out of date: {len(lines)} of the modules outside kernel/ differ",
            subject=one.release,
            evidence=tuple(lines),
            advice=f"Run `depmod {one.release}`.",
            remedies=("modules.rebuild-map",),
        )


@check(
    "modules.weak-updates-symbols",
    title="every module outside the kernel's own tree loads on the kernel it lies with",
    references=[BZ(509361), Issue("openzfs/zfs", 17165)],
)
def weak_updates_symbols(verdicts: ModuleVerdicts, running: RunningKernel | Unavailable) -> Iterator[Finding]:
    """For each installed kernel and each module outside its own tree (extra, updates, weak-updates, dkms), the
    kernel's own rules are applied to the files as they lie there: symbols and their CRCs, vermagic, module_layout,
    GPL-only symbols, namespaces, signature. What does not load is named in the words that depmod and the kernel use.

    A file that another of the same name shadows is not judged: modprobe never takes it.
    """
    for judged in verdicts.modules:
        if judged.verdict.outcome != FAILS or judged.chosen is False:
            continue
        now = not isinstance(running, Unavailable) and running.release == judged.release
        yield Finding(
            Severity.ERROR,
            f"{judged.name} does not load on kernel {judged.release}{', which runs' if now else ''}: {because(judged)}",
            subject=f"{judged.path} on {judged.release}",
            evidence=tuple(_evidence(judged)),
            advice=_advice(judged),
            remedies=("modules.relink", "modules.rebuild", "modules.reinstall"),
        )
    unknown = [m for m in verdicts.modules if m.verdict.outcome == UNKNOWN and m.chosen is not False]
    for judged in unknown:
        yield Finding(
            Severity.INFO,
            f"whether {judged.name} loads on kernel {judged.release} can't be told",
            subject=f"{judged.path} on {judged.release}",
            evidence=judged.verdict.cannot_tell,
        )
    blind = [*verdicts.problems, *(f"{m.name} on {m.release}" for m in unknown)]
    if blind:
        raise Unavailable("; ".join(blind))


def because(judged: JudgedModule) -> str:
    """The reasons in a phrase: what kind, and the first few symbols."""
    reasons = judged.verdict.reasons
    failing = judged.failing_provider
    if failing is not None and reasons[0].rule == "provider-fails":
        return f"{failing.name}, which it needs, does not load there"
    first = reasons[0]
    same = [reason for reason in reasons if reason.rule == first.rule]
    names = ", ".join(reason.symbol for reason in same[:_NAMED]) + (
        f" and {len(same) - _NAMED} more" if len(same) > _NAMED else ""
    )
    phrase = {
        "unknown-symbol": f"needs unknown symbol {names}",
        "symbol-crc": f"disagrees about version of symbol {names}",
        "no-version": f"was built without a version for symbol {names}",
        "gpl-only": f"its license is not GPL-compatible, which hides {names} from it",
        "namespace": f"does not import the namespace of {names}",
        "module-layout": f"disagrees about version of symbol {first.symbol}: built for another kind of kernel",
        "vermagic": f"built for {first.wanted}, the kernel is {first.found}",
        "this-module-size": "built for a kernel of another series (size of struct module)",
        "architecture": f"built for {first.wanted}, the kernel is {first.found}",
        "signature": f"its signature: {first.found}",
        "blacklist": "module_blacklist= on the kernel's command line names it",
        "duplicate-export": f"exports {first.symbol}, which is {first.found}",
        "builtin": "the kernel has it built in",
    }.get(first.rule)
    return phrase or first.found or first.message.split("\n")[0] or first.rule


def _evidence(judged: JudgedModule) -> Iterator[str]:
    """depmod's own line where it has one, else the kernel's; then what was wanted and what is there."""
    if judged.file != judged.path:
        yield f"{judged.path} -> {judged.file}"
    for reason in judged.verdict.reasons:
        line = depmod_wording(reason, judged.path) or _kernel_line(reason)
        detail = [f"wants {reason.wanted}" if reason.wanted else "", f"there: {reason.found}" if reason.found else ""]
        detail += [f"in {reason.provider}" if reason.provider else ""]
        said = ", ".join(part for part in detail if part)
        yield line + (f"  ({said})" if said and line else said)
    yield f"finit_module answers {judged.verdict.errno}"


def _kernel_line(reason: Reason) -> str:
    return reason.message.split("\n")[0]


def _advice(judged: JudgedModule) -> str:
    rule = judged.verdict.reasons[0].rule
    if rule in ("unknown-symbol", "symbol-crc", "module-layout", "vermagic", "this-module-size", "provider-fails"):
        if "/weak-updates/" in judged.path:
            return (
                f"Install a build for kernel {judged.release}, or remove the link and run `depmod {judged.release}`; "
                "do not boot that kernel if this module is needed."
            )
        return f"Build or install it for kernel {judged.release} (dkms, akmods, a kmod package), or remove it."
    if rule == "signature":
        return "Sign it with a key that the kernel trusts (mokutil --import), or install a signed build."
    return "Install a build of it that fits this kernel."


@check(
    "modules.kvm-not-loaded",
    title="KVM is loaded and answers, where this machine can run it",
    references=[BZ(501543)],
)
def kvm_not_loaded(
    cpu: CpuVirtualization,
    device: KvmDevice,
    loaded: LoadedModules,
    kvm: KvmModules,
    boot: Boot,
    running: RunningKernel,
) -> Iterator[Finding]:
    """kmod-kvm's modules are loaded at boot; installing the package loads nothing, so guests can't start until the next
    boot or until /etc/sysconfig/modules/kvm.modules is run. The same state comes about whenever the vendor module
    (kvm_intel, kvm_amd) failed to load. `kvm` alone makes no /dev/kvm: the proof is that the device answers
    KVM_GET_API_VERSION with 12.

    Nothing is said where the processor cannot run guests, or where the modules are kept out on purpose
    (an install line, module_blacklist=).
    """
    if boot.container:
        raise NotApplicable(f"a container ({boot.container}) loads no modules: its host is to be asked")
    if device.answers:
        return
    if not cpu.able:
        if cpu.able is None:
            raise Unavailable(f"whether this processor can run guests can't be told: {cpu.reason}")
        raise NotApplicable(f"this processor can't run guests: {cpu.reason}")
    if not kvm.available:
        raise NotApplicable(f"kernel {running.release} has no KVM modules and no package brought any")
    if kvm.kept_out:
        raise NotApplicable(f"KVM is kept out on purpose: {kvm.kept_out}")
    names = [name for name in ("kvm", kvm.vendor) if name]
    missing = [name for name in names if not loaded.present(name)]
    evidence = [f"{cpu.vendor}: {cpu.reason}"]
    evidence += [f"{name}: {'loaded' if loaded.present(name) else 'not loaded'}" for name in names]
    evidence += [f"{kvm.available[name]}" for name in names if kvm.available.get(name)]
    evidence.append(f"/dev/kvm: {device.problem or 'there'}")
    evidence += kvm.not_by_itself
    what = " and ".join(missing)
    # A blacklist line keeps udev from loading it, so somebody may have meant it; nothing else explains it away.
    yield Finding(
        Severity.WARNING if kvm.not_by_itself and missing else Severity.ERROR,
        f"KVM is installed and the processor can run guests, but {what} {'are' if missing[1:] else 'is'} not loaded"
        if missing
        else f"KVM is loaded, but /dev/kvm does not answer: {device.problem}",
        subject="kvm",
        evidence=tuple(evidence),
        advice=f"Run {kvm.script}, or load {kvm.vendor}."
        if kvm.script and missing
        else f"Load {kvm.vendor}; if it refuses, `dmesg` says why (firmware may have locked virtualization)."
        if missing
        else "See `dmesg` for what KVM said when it was loaded.",
        remedies=("modules.load-kvm",) if missing else (),
    )


@check(
    "modules.next-boot",
    title="every module in use now also loads on the kernel that boots next",
    references=[Issue("openzfs/zfs", 17165), Issue("dkms-project/dkms", 17)],
)
def next_boot(
    verdicts: ModuleVerdicts,
    trees: ModuleTrees,
    loaded: LoadedModules,
    running: RunningKernel,
    cpu: CpuVirtualization,
    following: NextModules,
) -> Iterator[Finding]:
    """After a kernel update the machine still runs the old kernel; whether a module from outside the kernel's own tree
    (zfs, nvidia, kmod-kvm) is there for the new one shows only at the reboot. Each such module that is loaded now, and
    KVM where it is, is looked for among the modules of the kernel that boots next, and judged by that kernel's rules.

    Modules of the kernel's own tree come and go with kernels and are not missed one by one; a kernel without any is.
    """
    if following.release == running.release:
        return
    why = f"next boot: {following.release} ({following.why})"
    if following.missing:
        yield Finding(
            Severity.ERROR,
            f"kernel {following.release} boots next and is not whole: {', '.join(following.missing)} is missing",
            subject=following.release,
            evidence=(why,),
            advice=f"Install kernel {following.release} again, or make {running.release} the default.",
            remedies=("boot.keep-running", "modules.reinstall"),
        )
        return
    for name, failing in lacking(following, running, verdicts, trees, loaded, cpu):
        yield Finding(
            Severity.ERROR,
            f"{name} is in use, and kernel {following.release}, which boots next, "
            + (f"refuses it: {because(failing)}" if failing is not None else "has no such module"),
            subject=f"{name} on {following.release}",
            evidence=(*(_evidence(failing) if failing is not None else ()), why),
            advice=f"Build or install {name} for kernel {following.release} before the reboot, "
            f"or make {running.release} the default.",
            remedies=("boot.keep-running", "modules.rebuild", "modules.reinstall"),
        )


def lacking(
    following: NextModules,
    running: RunningKernel,
    verdicts: ModuleVerdicts,
    trees: ModuleTrees,
    loaded: LoadedModules,
    cpu: CpuVirtualization,
) -> Iterator[tuple[str, JudgedModule | None]]:
    """The modules in use that another kernel has not (None) or refuses: those from outside the running kernel's own
    tree, and KVM."""
    here = trees.get(running.release)
    wanted = {m.name for m in here.outside if m.name in loaded.modules} if here is not None else set()
    wanted |= {name for name in ("kvm", cpu.module) if name and loaded.present(name)}
    judged = {m.name: m for m in verdicts.of(following.release) if m.chosen is not False}
    for name in sorted(wanted):
        failing = judged.get(name)
        if failing is not None and failing.verdict.outcome != FAILS:
            continue
        if failing is None and name in following.names:
            continue
        yield name, failing


@check("modules.stale-on-disk", title="modules in use are the ones on disk")
def stale_on_disk(loaded: LoadedModules, files: LoadedFiles) -> Iterator[Finding]:
    """A module that was updated on disk is not the one that runs until it is loaded again: srcversion of
    /sys/module/NAME against the file that modprobe would take today. Only modules from outside the kernel's own
    tree are compared, those of the tree change with the kernel.
    """
    for name, file in sorted(files.files.items()):
        running = loaded.modules[name].srcversion
        if running and file.srcversion and running != file.srcversion:
            yield Finding(
                Severity.WARNING,
                f"{name} as loaded is another build than {file.path}",
                subject=name,
                evidence=(f"loaded: srcversion {running}", f"{file.path}: srcversion {file.srcversion}"),
                advice=f"Load it again when nothing uses it (modprobe -r {name}; modprobe {name}), or reboot.",
                remedies=("boot.reboot",),
            )


@check(
    "modules.unsigned-under-secure-boot", title="modules outside the kernel's tree are signed where that is asked for"
)
def unsigned_under_secure_boot(files: UnsignedModules) -> Iterator[Finding]:
    """With Secure Boot on, most distributions' kernels refuse modules without a signature by a key they trust; one that
    loads today because enforcement is off will not load once it is on. Judged for the kernels of this machine when the
    firmware says Secure Boot is on, or when the kernel enforces signatures.
    """
    for path, release in files.unsigned:
        yield Finding(
            Severity.ERROR,
            f"{path.rpartition('/')[2]} is not signed, and {files.why}",
            subject=f"{path} on {release}",
            evidence=(f"{path}: no signature at its end",),
            advice="Sign it with a key that is enrolled (mokutil --import), or install a signed build.",
        )
