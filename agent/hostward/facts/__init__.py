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
    "ClockDrift": "clock_drift",
    "ClockServices": "clock_services",
    "ClockSetAtBoot": "clock_boot",
    "ClockSource": "clock_kernel",
    "CpuVirtualization": "cpu",
    "EarlyBoot": "early_boot",
    "Guests": "guests",
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
    "ModuleTrees": "module_trees",
    "ModuleVerdicts": "verdicts",
    "NextKernel": "next_kernel",
    "NextModules": "next_modules",
    "OperatingSystem": "operating_system",
    "Packages": "packages",
    "PtpReading": "clock_kernel",
    "PxeRoms": "pxe_roms",
    "RtcMode": "clock_services",
    "RtcReading": "clock_kernel",
    "RunningKernel": "kernels",
    "SearchOrder": "verdicts",
    "Units": "units",
    "UnsignedModules": "module_files",
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
