"""Whether the processor can run guests, and which module makes use of that."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hostward.facts import fact
from hostward.host import Host, HostError
from hostward.model import NotApplicable

#: "VMX (outside TXT) disabled by BIOS", "SVM disabled (by BIOS) in MSR_VM_CR", "VMX not enabled (by BIOS)",
#: "kvm: disabled by bios": arch/x86/kernel/cpu/feat_ctl.c, arch/x86/kvm/svm/svm.c, vmx/vmx.c.
_TOLD_OFF = re.compile(r"\b(?:vmx|svm|kvm)\b.*\b(?:disabled|not enabled|locked)\b \(?(?:by|in) (?:bios|firmware)", re.I)


@dataclass(frozen=True)
class CpuVirtualization:
    """`extension` is the flag that stands for hardware virtualization: svm, vmx, sie, hv (POWER), el2 (arm64), or "".

    `able` is None where only trying can tell. `module` is the module that drives it (kvm_amd, kvm_intel,
    kvm_hv, kvm), "" where none can. `reason` says what `able` rests on; `flags` are the first processor's.
    """

    architecture: str
    vendor: str
    extension: str
    able: bool | None
    module: str
    reason: str
    flags: frozenset[str] = frozenset()


@fact
def cpu_virtualization(host: Host) -> CpuVirtualization:
    """Raises NotApplicable under a root: the processor is no part of a tree."""
    if not host.live:
        raise NotApplicable("can't be told of a tree that isn't running: on which processor, with which modules loaded")
    return judge(host, host.uname().machine)


def judge(host: Host, architecture: str) -> CpuVirtualization:
    """What /proc/cpuinfo and its kin say on a machine of this architecture, a name as uname(2) gives it."""
    info = _cpuinfo(host)
    if architecture in ("x86_64", "i386", "i586", "i686"):
        return _x86(host, architecture, info)
    if architecture == "s390x":
        flags = frozenset(info.get("features", "").split())
        able = "sie" in flags
        reason = "'sie' is among the features in /proc/cpuinfo" if able else "/proc/cpuinfo has no feature 'sie'"
        vendor = info.get("vendor_id", "IBM/S390")
        return CpuVirtualization(
            architecture, vendor, "sie" if able else "", able, "kvm" if able else "", reason, flags
        )
    if architecture in ("ppc64le", "ppc64"):
        platform = info.get("platform", "")
        if platform == "PowerNV":
            reason = "/proc/cpuinfo: platform PowerNV (bare metal)"
            return CpuVirtualization(architecture, "IBM", "hv", True, "kvm_hv", reason)
        reason = (
            f"/proc/cpuinfo: platform {platform or 'unknown'}; only a hypervisor that lets guests nest would allow it"
        )
        return CpuVirtualization(architecture, "IBM", "", None, "kvm_hv", reason)
    if architecture == "aarch64":
        if host.exists("/dev/kvm"):
            return CpuVirtualization(
                architecture, "ARM", "el2", True, "kvm", "the kernel made /dev/kvm, so it runs at EL2"
            )
        reason = (
            "no file tells whether the firmware started the kernel at EL2; KVM is built in and would have made /dev/kvm"
        )
        return CpuVirtualization(architecture, "ARM", "", None, "kvm", reason)
    return CpuVirtualization(architecture, "", "", None, "kvm", f"no rule known for {architecture}")


def _cpuinfo(host: Host) -> dict[str, str]:
    """Lower-cased keys of /proc/cpuinfo with their first values: the first processor's, and the common lines."""
    info: dict[str, str] = {}
    for line in host.text("/proc/cpuinfo", 16 << 20).splitlines():
        key, colon, value = line.partition(":")
        if colon:
            info.setdefault(key.strip().lower(), value.strip())
    return info


def _x86(host: Host, architecture: str, info: dict[str, str]) -> CpuVirtualization:
    flags = frozenset(info.get("flags", "").split())
    vendor = info.get("vendor_id", "")
    for flag, module in (("svm", "kvm_amd"), ("vmx", "kvm_intel")):
        if flag in flags:
            reason = f"'{flag}' is among the flags in /proc/cpuinfo"
            return CpuVirtualization(architecture, vendor, flag, True, module, reason, flags)
    reason = "/proc/cpuinfo has neither 'svm' nor 'vmx' among its flags"
    if host.exists("/sys/module/kvm_pvm"):
        reason += ", but the kernel has kvm_pvm, which needs neither"
        return CpuVirtualization(architecture, vendor, "pvm", True, "kvm_pvm", reason, flags)
    said = _kernel_said(host)
    if said:
        reason += f"; the kernel said: {said}"
    elif "hypervisor" in flags:
        reason += "; this is a guest whose hypervisor does not pass it on"
    else:
        reason += "; it is often switched off in the firmware setup (VT-x, AMD-V or SVM mode)"
    return CpuVirtualization(architecture, vendor, "", False, "", reason, flags)


def _kernel_said(host: Host) -> str:
    """The kernel's own line about virtualization that firmware has locked, "" when the log has none or is closed."""
    if not host.live:
        return ""
    try:
        log = host.run(["dmesg", "--notime"], timeout_s=2.0).stdout
    except HostError:
        return ""
    for line in log.splitlines():
        if _TOLD_OFF.search(line):
            return line.strip()
    return ""
