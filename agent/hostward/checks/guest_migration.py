"""What would harm a guest that is migrated: no NX on this host, devices that its stored definition has not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hostward.checks import check
from hostward.checks.guests import all_read, device_line
from hostward.model import BZ, Finding, NotApplicable, Severity

if TYPE_CHECKING:
    from hostward.facts.boot import Boot
    from hostward.facts.cpu import CpuVirtualization
    from hostward.facts.domain import Device, Domain
    from hostward.facts.guests import Guests
    from hostward.facts.issue_scope import ApplicableIssues

#: Devices that can be plugged into a running guest.  Controllers come by themselves with what is plugged into them.
_PLUGGABLE = {
    *("interface", "disk", "hostdev", "sound", "redirdev", "rng", "memory", "channel", "serial", "watchdog", "shmem"),
    *("filesystem", "smartcard", "input"),
}


@check(
    "guests.nx", title="this host's processor gives guests NX, as the hosts they migrate to do", references=[BZ(516029)]
)
def nx(cpu: CpuVirtualization, guests: Guests, boot: Boot) -> Iterator[Finding]:
    """A guest that was started where the processor has NX (no-execute) and is migrated to where it has not, or the
    other way round, may crash: its kernel goes on using what is not there any more. Both hosts must agree. Every
    64-bit x86 processor has NX; where /proc/cpuinfo lacks it, the firmware's setup or the kernel's command line
    (noexec=off) has switched it off.
    """
    if cpu.architecture not in ("x86_64", "i386", "i586", "i686"):
        raise NotApplicable(f"NX is a flag of x86; this is {cpu.architecture}")
    if not cpu.flags or "nx" in cpu.flags or "lm" not in cpu.flags:
        return
    off = [f"noexec={value} on the kernel's command line" for value in boot.parameters("noexec")]
    wanting = [g.name for g in guests.guests if any(d.cpu.policy("nx") in ("require", "force") for d in g.definitions)]
    running = sum(guest.running for guest in guests.guests)
    yield Finding(
        Severity.WARNING,
        "NX is off on this host: a guest that is migrated from or to a host that has it may crash",
        subject="nx",
        evidence=(
            "/proc/cpuinfo: the flag lm (64 bits) is there, nx is not",
            *off,
            f"{running} of {len(guests.guests)} guests are running",
            *(f"{name}: its definition asks for nx" for name in wanting),
        ),
        advice="Switch it on in the firmware's setup (Execute Disable, No-Execute Memory Protection)"
        + (", take noexec= off the command line" if off else "")
        + ", and start the guests anew; until then migrate only among hosts without NX.",
    )


@check(
    "guests.hot-plugged", title="running guests have the devices of their stored definitions", references=[BZ(507191)]
)
def hot_plugged(guests: Guests, issues: ApplicableIssues) -> Iterator[Finding]:
    """A device that was plugged into a running guest and not stored is gone after its next start. On the releases that
    the known issue names, emulated devices plugged in around a migration can also crash the guest when it reboots, or
    not be seen by it any more. Told is the running guest's devices less those of its stored definition; a definition
    that was changed since the start shows in the same way.

    A warning where the known issue concerns this release and the device is emulated, else a note.
    """
    harmful = issues.of_check("guests.hot-plugged")
    for guest in guests.guests:
        if guest.stored is None or guest.live is None:
            continue  # a transient guest has no stored definition to go back to
        extra = plugged(guest.stored, guest.live)
        if not extra:
            continue
        warn = bool(harmful) and any(emulated(device) for device in extra)
        yield Finding(
            Severity.WARNING if warn else Severity.INFO,
            f"{guest.name} runs with {len(extra)} device{'s' if len(extra) > 1 else ''} "
            "that its stored definition has not",
            subject=guest.name,
            evidence=tuple(f"{guest.live.source}: {device_line(device)}" for device in extra),
            advice="Before a migration detach them, or store them too (virsh attach-device --config); "
            "without that they are gone at the next start.",
            references=harmful[0].references if harmful else (),
        )
    all_read(guests)


def plugged(stored: Domain, live: Domain) -> list[Device]:
    """The devices of the running guest that its stored definition has not, counting those that are alike."""
    left = Counter(device.identity for device in stored.all_devices)
    extra = []
    for device in live.all_devices:
        if device.kind not in _PLUGGABLE or (device.kind == "input" and device.bus in ("ps2", "xen", "")):
            continue
        if left[device.identity] > 0:
            left[device.identity] -= 1
        else:
            extra.append(device)
    return extra


def emulated(device: Device) -> bool:
    """Whether QEMU imitates hardware for it, rather than speaking virtio or passing something on."""
    from hostward.facts.domain import Disk, Nic

    if isinstance(device, Nic):
        return device.type != "hostdev" and not device.model.startswith("virtio")
    if isinstance(device, Disk):
        return device.bus not in ("virtio", "xen")
    return device.kind in ("sound", "serial", "watchdog", "smartcard", "input")
