from __future__ import annotations

from pathlib import Path

import pytest

from hostward.facts.boot import Boot, boot, container_of, hypervisor_of, split_cmdline
from hostward.host import Host
from hostward.model import NotApplicable
from tests.hosts.tree import Tree


def test_the_command_line_is_split_as_the_kernel_splits_it() -> None:
    line = 'ro quiet dyndbg="file a.c +p" module.x="a b"c  root=/dev/sda1 -- init words'
    assert split_cmdline(line) == ("ro", "quiet", "dyndbg=file a.c +p", "module.x=a bc", "root=/dev/sda1")
    assert split_cmdline('open="a b') == ("open=a b",)
    assert split_cmdline("") == ()


def test_parameters_by_name() -> None:
    started = Boot(("module_blacklist=a", "module-blacklist=b", "nomodule"), "", "", "", "", "systemd", True)
    assert started.parameters("module_blacklist") == ("a", "b")
    assert started.parameter("module_blacklist") == "b"
    assert started.parameter("nomodule") == ""
    assert started.parameter("quiet") is None


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, ""),
        ({"/.dockerenv": ""}, "docker"),
        ({"/run/.containerenv": "engine=podman\n"}, "podman"),
        ({"/run/systemd/container": "systemd-nspawn"}, "systemd-nspawn"),
        ({"/run/host/container-manager": "lxc\n"}, "lxc"),
        ({"/proc/1/environ": "PATH=/bin\0container=lxc-libvirt\0TERM=x\0"}, "lxc-libvirt"),
        ({"/proc/1/environ": "mycontainer=no\0"}, ""),
        ({"/proc/1/environ": "container=oci\0", "/run/.containerenv": ""}, "podman"),
        ({"/proc/1/environ": "container=oci\0"}, "oci"),
        ({"/proc/vz/version": ""}, "openvz"),
        ({"/proc/vz/version": "", "/proc/bc/x": ""}, ""),
        ({"/proc/sys/kernel/osrelease": "5.15.0-microsoft-standard-WSL2\n"}, "wsl"),
    ],
)
def test_containers(files: dict[str, str], expected: str, tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    for path, text in files.items():
        tree.file(path, text)
    name, shown = container_of(Host.at(str(tmp_path)))
    assert name == expected
    assert bool(shown) == bool(expected)


GUEST = {"/proc/cpuinfo": "flags\t\t: fpu sse hypervisor\n"}
CLOCKS = "/sys/devices/system/clocksource/clocksource0/available_clocksource"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"/proc/cpuinfo": "flags : fpu svm\n", "/sys/class/dmi/id/sys_vendor": "Dell Inc.\n"}, ""),
        ({"/proc/cpuinfo": "flags : fpu\n", "/sys/class/dmi/id/sys_vendor": "Amazon EC2\n"}, ""),  # a .metal instance
        ({**GUEST, "/sys/class/dmi/id/sys_vendor": "Amazon EC2\n"}, "amazon"),
        ({**GUEST, "/sys/class/dmi/id/sys_vendor": "VMware, Inc.\n"}, "vmware"),
        ({**GUEST, "/sys/class/dmi/id/product_name": "VirtualBox\n"}, "oracle"),
        ({**GUEST, "/sys/class/dmi/id/sys_vendor": "Microsoft Corporation\n",
          "/sys/class/dmi/id/product_name": "Virtual Machine\n"}, "microsoft"),
        ({**GUEST, "/sys/class/dmi/id/sys_vendor": "QEMU\n"}, "qemu"),
        ({**GUEST, "/sys/class/dmi/id/sys_vendor": "QEMU\n", CLOCKS: "kvm-clock tsc acpi_pm \n"}, "kvm"),
        ({**GUEST, CLOCKS: "kvm-clock tsc\n"}, "kvm"),
        ({**GUEST, "/sys/hypervisor/type": "xen\n"}, "xen"),
        ({**GUEST, "/sys/hypervisor/type": "xen\n", "/proc/xen/capabilities": "control_d\n"}, ""),
        (GUEST, "unknown"),
    ],
)  # fmt: skip
def test_hypervisors_of_x86(files: dict[str, str], expected: str, tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    for path, text in files.items():
        tree.file(path, text)
    name, shown = hypervisor_of(Host.at(str(tmp_path)), "x86_64")
    assert name == expected
    assert shown


def test_hypervisors_of_other_architectures(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    host = Host.at(str(tmp_path))
    assert hypervisor_of(host, "aarch64")[0] == ""
    tree.file("/proc/device-tree/hypervisor/compatible", b"linux,kvm\0")
    assert hypervisor_of(host, "aarch64")[0] == "kvm"
    tree.remove("/proc/device-tree").file("/proc/sysinfo", "VM00 Control Program: z/VM    7.2.0\n")
    assert hypervisor_of(host, "s390x")[0] == "zvm"


def test_bare_metal_of_a_cloud_on_arm(tmp_path: Path) -> None:
    """Graviton .metal: DMI names Amazon as on a guest; only the firmware's virtual machine bit differs."""
    tree = Tree(tmp_path).file("/sys/class/dmi/id/sys_vendor", "Amazon EC2\n").file("/proc/cpuinfo", "processor : 0\n")
    host = Host.at(str(tmp_path))
    table = bytearray(24)
    table[1], table[0x13] = 24, 0x10
    tree.file("/sys/firmware/dmi/entries/0-0/raw", bytes(table))
    assert hypervisor_of(host, "aarch64")[0] == "amazon"
    table[0x13] = 0
    tree.file("/sys/firmware/dmi/entries/0-0/raw", bytes(table))
    assert hypervisor_of(host, "aarch64")[0] == ""


def test_a_tree_has_no_boot(tmp_path: Path) -> None:
    with pytest.raises(NotApplicable, match="not running"):
        boot(Host.at(str(tmp_path)))


def test_this_machine() -> None:
    found = boot(Host.running())
    assert " ".join(found.cmdline) in Path("/proc/cmdline").read_text().replace('"', "")
    assert found.init == Path("/proc/1/comm").read_text().strip()
    assert found.systemd == Path("/run/systemd/system").is_dir()
