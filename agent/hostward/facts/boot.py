"""How the running machine was started: kernel command line, container, hypervisor, init."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hostward.facts import fact
from hostward.host import Host, HostError
from hostward.model import NotApplicable


@dataclass(frozen=True)
class Boot:
    """The running machine's start.

    `container` and `hypervisor` are the names systemd-detect-virt(1) uses ("docker", "lxc", "kvm",
    "qemu" for software emulation, "vmware", "microsoft", "xen", "oracle", "amazon", ...), "" for none;
    `*_from` says what shows it. `init` is the name of process 1; `systemd` whether systemd runs the
    machine (sd_booted(3)). In a container the command line and the hypervisor are its host's.
    """

    cmdline: tuple[str, ...]
    container: str
    container_from: str
    hypervisor: str
    hypervisor_from: str
    init: str
    systemd: bool

    def parameter(self, name: str) -> str | None:
        """The last value given to a kernel parameter; "" when it stands alone, None when it is absent.

        As for the kernel, `-` and `_` are the same in the name (kernel/params.c, parameq).
        """
        values = self.parameters(name)
        return values[-1] if values else None

    def parameters(self, name: str) -> tuple[str, ...]:
        """All values given to a kernel parameter, in order."""
        wanted, found = name.replace("-", "_"), []
        for word in self.cmdline:
            key, _, value = word.partition("=")
            if key.replace("-", "_") == wanted:
                found.append(value)
        return tuple(found)


@fact
def boot(host: Host) -> Boot:
    """Raises NotApplicable under a root."""
    if not host.live:
        raise NotApplicable("this tree is not running, so it has no boot to look at")
    container, container_from = container_of(host)
    hypervisor, hypervisor_from = hypervisor_of(host, host.uname().machine)
    return Boot(
        split_cmdline(_text(host, "/proc/cmdline")),
        container,
        container_from,
        hypervisor,
        hypervisor_from,
        _text(host, "/proc/1/comm"),
        host.is_dir("/run/systemd/system"),
    )


def split_cmdline(line: str) -> tuple[str, ...]:
    """The words of a kernel command line; double quotes hold spaces together and are dropped (lib/cmdline.c).

    What stands after `--` is for init, not for the kernel, and is left out.
    """
    words = [word.replace('"', "") for word in re.findall(r'(?:[^\s"]|"[^"]*(?:"|$))+', line)]
    return tuple(words[: words.index("--")] if "--" in words else words)


def _text(host: Host, path: str) -> str:
    """A small file without surrounding blanks and NULs; "" where it can't be read."""
    try:
        return host.text(path, 64 << 10).strip(" \t\r\n\0")
    except HostError:
        return ""


def container_of(host: Host) -> tuple[str, str]:
    """The container manager around this system and what shows it, by systemd's rules (src/basic/virt.c)."""
    if host.exists("/proc/vz") and not host.exists("/proc/bc"):
        return "openvz", "/proc/vz without /proc/bc"
    release = _text(host, "/proc/sys/kernel/osrelease")
    if "Microsoft" in release or "WSL" in release:
        return "wsl", f"kernel release {release}"
    name = ""
    for path in ("/run/host/container-manager", "/run/systemd/container"):
        name = _text(host, path).split("\n")[0]
        if name:
            break
    else:
        path = "container= of process 1"
        match = re.search(r"(?:^|\0)container=([^\0]*)", _text(host, "/proc/1/environ"))
        name = match.group(1) if match else ""
    if name and name != "oci":
        return name, path
    for path, manager in (("/run/.containerenv", "podman"), ("/.dockerenv", "docker")):
        if host.exists(path):
            return manager, path
    return (name, path) if name else ("", "")


#: Who is behind a DMI string that begins so; as systemd's dmi_vendor_table (src/basic/virt.c).
_DMI_VENDORS = (
    ("KVM", "kvm"),
    ("OpenStack", "kvm"),
    ("KubeVirt", "kvm"),
    ("Amazon EC2", "amazon"),
    ("QEMU", "qemu"),
    ("VMware", "vmware"),
    ("VMW", "vmware"),
    ("innotek GmbH", "oracle"),
    ("VirtualBox", "oracle"),
    ("Oracle Corporation", "oracle"),
    ("Xen", "xen"),
    ("Bochs", "bochs"),
    ("Parallels", "parallels"),
    ("BHYVE", "bhyve"),
    ("Hyper-V", "microsoft"),
    ("Apple Virtualization", "apple"),
    ("Google Compute Engine", "google"),
    ("Google", "google"),
)
_DMI_FILES = ("product_name", "sys_vendor", "board_vendor", "bios_vendor", "product_version")


def hypervisor_of(host: Host, architecture: str) -> tuple[str, str]:
    """The hypervisor under this machine and what shows it; ("", why) on bare hardware.

    CPUID's own leaf is out of reach from a file; where the files leave the choice between emulators open,
    the answer of systemd-detect-virt, which asks CPUID, decides.
    """
    if host.is_file("/proc/xen/capabilities") and "control_d" in _text(host, "/proc/xen/capabilities"):
        return "", "/proc/xen/capabilities: this is Xen's control domain"
    flag = False
    if architecture in ("x86_64", "i386", "i486", "i586", "i686"):
        flags = re.search(r"^flags\s*:(.*)$", _cpuinfo(host), re.M)
        if flags and "hypervisor" not in flags.group(1).split():
            return "", "/proc/cpuinfo has no flag 'hypervisor'"
        flag = bool(flags)
    name, shown = _by_dmi(host)
    if name in ("", "qemu"):
        finer, by = _by_kernel(host)
        if finer:
            name, shown = finer, by
    if name in ("amazon", "google") and not flag and _smbios_says_virtual(host) is False:
        return "", f"{shown}, but the firmware's tables do not call this a virtual machine"
    if name in ("", "qemu") and (flag or name) and host.live:
        try:
            answer = host.run(["systemd-detect-virt", "--vm"], timeout_s=3.0)
            word = answer.stdout.strip()
            if answer.status == 0 and re.fullmatch(r"[a-z-]{2,30}", word) and word != "none":
                return word, "systemd-detect-virt --vm"
        except HostError:
            pass
    if name:
        return name, shown
    if flag:
        return "unknown", "/proc/cpuinfo has the flag 'hypervisor'; nothing says whose"
    return "", "no sign of a hypervisor in DMI, /sys/hypervisor or the device tree"


def _cpuinfo(host: Host) -> str:
    try:
        return host.text("/proc/cpuinfo", 16 << 20)
    except HostError:
        return ""


def _smbios_says_virtual(host: Host) -> bool | None:
    """The bit "SMBIOS describes a virtual machine" (SMBIOS 3.4, type 0, offset 13h, bit 4); None where unreadable."""
    try:
        table = host.read("/sys/firmware/dmi/entries/0-0/raw", 4096)
    except HostError:
        return None
    return bool(table[0x13] & 0x10) if len(table) > 0x13 and table[1] > 0x13 else None


def _by_dmi(host: Host) -> tuple[str, str]:
    strings = {name: _text(host, f"/sys/class/dmi/id/{name}") for name in _DMI_FILES}
    for name in _DMI_FILES:
        for start, hypervisor in _DMI_VENDORS:
            if strings[name].startswith(start):
                return hypervisor, f"DMI {name}: {strings[name]}"
    if strings["sys_vendor"] == "Microsoft Corporation" and strings["product_name"] == "Virtual Machine":
        return "microsoft", "DMI product_name: Virtual Machine, of Microsoft Corporation"
    return "", ""


def _by_kernel(host: Host) -> tuple[str, str]:
    """What the kernel itself found at boot: /sys/hypervisor, its clock sources, the device tree, s390's sysinfo."""
    kind = _text(host, "/sys/hypervisor/type")
    if kind:
        return kind, "/sys/hypervisor/type"
    path = "/sys/devices/system/clocksource/clocksource0/available_clocksource"
    sources = _text(host, path).split()
    for start, hypervisor in (("kvm-clock", "kvm"), ("xen", "xen"), ("hyperv_clocksource", "microsoft")):
        if any(source.startswith(start) for source in sources):
            return hypervisor, f"{path}: {start}"
    compatible = _text(host, "/proc/device-tree/hypervisor/compatible")
    if compatible:
        word = compatible.split("\0")[0]
        return {"linux,kvm": "kvm", "xen,xen": "xen"}.get(word, word.split(",")[0]), "/proc/device-tree/hypervisor"
    partition = "/proc/device-tree/ibm,partition-name"
    if host.exists(partition) and not host.exists("/proc/device-tree/chosen/qemu,graphic-width"):
        return "powervm", partition
    if "linux,dummy-virt" in _text(host, "/proc/device-tree/compatible"):
        return "qemu", "/proc/device-tree/compatible: linux,dummy-virt"
    control = re.search(r"^VM00 Control Program:\s*(\S+)", _text(host, "/proc/sysinfo"), re.M)
    if control:
        return {"z/VM": "zvm", "KVM/Linux": "kvm"}.get(control.group(1), control.group(1)), "/proc/sysinfo"
    return "", ""
