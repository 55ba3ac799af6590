"""Facts: what is true of a host.  Each is a frozen dataclass beside the observer that finds it out."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

#: The file that observes each fact, so that a run loads only the files of the facts it asks for.
HOMES = {
    "AdjtimeFile": "clock_kernel",
    "ApplicableIssues": "issue_scope",
    "Boot": "boot",
    "BootDefault": "boot_default",
    "ClockDrift": "clock_drift",
    "ClockServices": "clock_services",
    "ClockSetAtBoot": "clock_boot",
    "ClockSource": "clock_kernel",
    "CpuVirtualization": "cpu",
    "EarlyBoot": "early_boot",
    "GuestClocks": "guest_clocks",
    "Guests": "guests",
    "Hypervisor": "hypervisor",
    "InitSystem": "init_system",
    "InitramfsFiles": "initramfs_files",
    "InitramfsModules": "initramfs",
    "IssueMatches": "issue_matches",
    "IssuePackages": "issue_packages",
    "Judges": "verdicts",
    "KeeperConfigs": "keeper_config",
    "KeeperStates": "keepers",
    "KernelClock": "clock_kernel",
    "KernelProfiles": "kernel_profiles",
    "Kernels": "kernels",
    "KnownIssues": "known_issues",
    "Ksm": "ksm",
    "KvmDevice": "kvm_device",
    "KvmModules": "kvm_modules",
    "LoadedFiles": "module_files",
    "LoadedModules": "loaded",
    "ModprobeConfig": "modprobe",
    "Modprobes": "modprobe",
    "ModulesOf": "next_modules",
    "ModuleMaps": "module_maps",
    "ModuleTrees": "module_trees",
    "ModuleVerdicts": "verdicts",
    "NextKernel": "next_kernel",
    "NextModules": "next_modules",
    "OperatingSystem": "operating_system",
    "Packages": "packages",
    "PtpReading": "clock_kernel",
    "PxeRoms": "pxe_roms",
    "Relinks": "relinks",
    "Repairs": "repairs",
    "RtcMode": "clock_services",
    "RtcReading": "clock_kernel",
    "RunningKernel": "kernels",
    "SearchOrder": "verdicts",
    "Units": "units",
    "UnsignedModules": "module_files",
}

#: The kinds of events after which a fact may be another: "modules" (module trees, depmod.d, modprobe.d), "boot" (boot
#: entries, /boot, kernel command lines), "config" (hostward's own, after which every check is run), "guests" (libvirt's
#: definitions), "units" (their states and files), "loaded" (modules that come or go), "clock" (a step, adjtime,
#: localtime), "drift" (the periodic look at what nothing announces), "packages" (the package database).
EVENTS = ("modules", "boot", "config", "guests", "units", "loaded", "clock", "drift", "packages")

#: For each fact whose observer looks at the machine: the kinds of events that may change it. Those that it asks for by
#: way of other facts are theirs. None at all needs a reason.
WATCHES: dict[str, tuple[str, ...]] = {
    "AdjtimeFile": ("clock",),
    "Boot": (),  # the command line, the container and the hypervisor stay as they are until the next boot
    "BootDefault": ("boot",),
    "ClockDrift": ("clock", "drift"),
    "ClockServices": ("units", "clock", "packages", "drift"),
    "ClockSetAtBoot": ("units",),  # a boot's journal; it grows while the boot is still under way
    "ClockSource": ("drift",),
    "CpuVirtualization": ("loaded",),
    "EarlyBoot": ("boot", "modules", "packages"),
    "GuestClocks": ("guests", "drift"),
    "Guests": ("guests", "drift"),
    "Hypervisor": ("guests", "loaded", "packages", "drift"),
    "InitSystem": (),  # what runs as process 1 stays that
    "InitramfsFiles": ("boot",),
    "InitramfsModules": ("boot",),
    "IssueMatches": ("drift",),
    "IssuePackages": ("packages",),
    "Judges": ("modules",),
    "KeeperConfigs": ("units", "packages", "drift"),
    "KeeperStates": ("units", "clock", "drift"),
    "KernelClock": ("units", "clock", "drift"),
    "KernelProfiles": ("modules", "boot"),
    "Kernels": ("modules", "boot"),
    "Ksm": ("loaded", "units", "drift"),
    "KvmDevice": ("loaded", "units"),
    "KvmModules": ("modules", "loaded"),
    "LoadedFiles": ("modules", "loaded"),
    "LoadedModules": ("loaded",),
    "ModprobeConfig": ("modules",),
    "Modprobes": ("modules",),
    "ModuleMaps": ("modules",),
    "ModuleTrees": ("modules",),
    "NextKernel": ("boot",),
    "OperatingSystem": ("packages",),
    "Packages": ("packages",),
    "PtpReading": ("clock", "drift"),
    "PxeRoms": ("packages",),
    "Relinks": ("modules",),
    "Repairs": ("drift",),
    "RtcMode": ("clock",),
    "RtcReading": ("clock", "drift"),
    "RunningKernel": (),  # another one runs only after a boot
    "SearchOrder": ("modules",),
    "Units": ("units", "packages"),
    "UnsignedModules": ("modules", "loaded"),
}

#: The observer of each fact, by the name of the fact's type as its annotation writes it.
OBSERVERS: dict[str, Callable[..., Any]] = {}


def fact(observer: F) -> F:
    """Registers an observer under its return type.  Its parameters are Host and other facts, injected by type.

    An observer raises Unavailable(reason) for what can't be had; a HostError that leaves it means the same.
    """
    name = observer.__annotations__["return"]
    if not isinstance(name, str):
        name = name.__name__
    known = OBSERVERS.get(name)
    if known is not None and known.__module__ != observer.__module__:
        raise ValueError(f"two observers of {name}: {known.__module__} and {observer.__module__}")
    OBSERVERS[name] = observer
    return observer


def observer_of(name: str) -> Callable[..., Any] | None:
    """The observer of a fact by its type's name; its file is loaded when it is first asked for.  None for no fact."""
    if name not in OBSERVERS:
        home = HOMES.get(name)
        if home is not None:
            importlib.import_module(f"{__name__}.{home}")
    return OBSERVERS.get(name)


def load_all() -> dict[str, Callable[..., Any]]:
    """Every observer there is."""
    for home in HOMES.values():
        importlib.import_module(f"{__name__}.{home}")
    return OBSERVERS
