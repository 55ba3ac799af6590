"""What guests are given: network cards, sound, disk formats, and the ROMs they boot from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hostward.checks import check
from hostward.facts.guest_os import (
    SLOW_NIC,
    better_nic,
    default_nic_model,
    is_slow,
    slow_cards,
    system_of,
    system_of_command,
)
from hostward.model import BZ, Finding, NotApplicable, Severity, Unavailable

if TYPE_CHECKING:
    from hostward.facts.domain import Device, Disk, Domain, Nic
    from hostward.facts.guest_os import GuestSystem
    from hostward.facts.guests import Guest, Guests
    from hostward.facts.issue_scope import ApplicableIssues
    from hostward.facts.known_issues import KnownIssue
    from hostward.facts.pxe_roms import PxeRom, PxeRoms
    from hostward.facts.qemu_command import Option, QemuCommand


def of_release(issues: ApplicableIssues, id: str) -> KnownIssue:
    """The known issue that this check answers for on this host.  Raises NotApplicable where none concerns it."""
    found = issues.of_check(id)
    if found:
        return found[0]
    unclear = issues.unclear(id)
    if unclear:
        raise Unavailable(f"whether the known issue concerns this host can't be told: {unclear}")
    raise NotApplicable("no known issue of this kind concerns this release")


def all_read(guests: Guests) -> None:
    """Raises Unavailable when there are guests that could not be judged: at the end of a check, after its findings."""
    if guests.unread:
        raise Unavailable(f"not every guest could be read: {guests.unread}")


def shown(nic: Nic) -> str:
    words = [
        "interface",
        nic.type,
        f"mac {nic.mac}" if nic.mac else "",
        f"model {nic.model}" if nic.model else "no model",
    ]
    return " ".join(word for word in words if word)


@check("guests.emulated-nic", title="no guest has the slow network card that QEMU emulates by default")
def emulated_nic(guests: Guests) -> Iterator[Finding]:
    """QEMU's Realtek 8139 is a 100 Mbit/s card of 1999, emulated register by register: it costs much processor time
    and may slow down fast networks (10 gigabit Ethernet). libvirt gives it to a guest whose definition names no model,
    on x86 and wherever nothing else was chosen for the machine type; libvirt of today still does.

    virtio is the card to have where the guest's system brings the driver, Intel's e1000 or e1000e where it does not;
    which one is advised goes by the system that the definition names (libosinfo). A change of the stored definition
    waits for the guest's next start, and its system may have to configure the new card.
    """
    for guest in guests.guests:
        evidence: list[str] = []
        advice = ""
        if guest.live is not None and (waiting := _waiting(guest)):
            yield Finding(
                Severity.INFO,
                f"{guest.name} runs with a network card of the model {SLOW_NIC} until its next start",
                subject=f"{guest.name} until its next start",
                evidence=tuple(f"{guest.live.source}: {shown(nic)}" for nic in waiting),
                advice="Its stored definition has another model: shut it down and start it anew.",
            )
        for domain in guest.definitions:
            slow = [nic for nic in domain.nics if is_slow(domain, nic)]
            if domain is guest.live:
                slow = [nic for nic in slow if nic not in _waiting(guest)]
            if not slow:
                continue
            evidence += [f"{domain.source}: {shown(nic)}{_by_default(domain, nic)}" for nic in slow]
            advice = advice or _nic_advice(domain)
        if not evidence and not guest.definitions and guest.command is not None:
            evidence = [f"process {guest.pid}: {option}" for option in slow_options(guest.command)]
            advice = "Start it with a virtio card where its system has the driver, else with e1000."
        if evidence:
            yield Finding(
                Severity.WARNING,
                f"{guest.name} has a network card of the model {SLOW_NIC}",
                subject=guest.name,
                evidence=tuple(evidence),
                advice=advice,
                remedies=("guests.nic-model",) if slow_cards(guest) else (),
            )
    all_read(guests)


def _waiting(guest: Guest) -> list[Nic]:
    """The cards of a running guest that have another model in its stored definition already."""
    if guest.live is None or guest.stored is None:
        return []
    better = {nic.mac for nic in guest.stored.nics if nic.mac and not is_slow(guest.stored, nic)}
    return [nic for nic in guest.live.nics if nic.mac in better and is_slow(guest.live, nic)]


def _by_default(domain: Domain, nic: Nic) -> str:
    machine = " ".join(word for word in (domain.arch, domain.machine) if word) or "this machine"
    return "" if nic.model else f": libvirt gives it {SLOW_NIC}, its default for {machine}"


def _nic_advice(domain: Domain) -> str:
    model, why = better_nic(domain)
    if not model:
        return f"Leave it, or change the model after the driver is in the guest ({why})."
    return f"Give it <model type='{model}'/> ({why}): virsh edit {domain.name}; it takes effect at the next start."


def slow_options(command: QemuCommand) -> list[Option]:
    """The options by which a QEMU was given a Realtek 8139, in any spelling."""
    found = [option for option in command.of("device") if option.head == SLOW_NIC]
    for option in command.of("net", "nic"):
        model = option.get("model") or (option.head if option.name == "nic" else "")
        if model == SLOW_NIC and (option.name == "nic" or option.head == "nic"):
            found.append(option)
    return found


def _sounds(guest: Guest) -> list[tuple[str, str]]:
    """(model, where it says so) of each sound card of a guest."""
    found = [
        (device.model.lower(), f"{domain.source}: {device}")
        for domain in guest.definitions
        for device in domain.devices
        if device.kind == "sound"
    ]
    if guest.command is not None and not guest.definitions:
        for option in guest.command.of("soundhw"):
            found += [(model, f"process {guest.pid}: {option}") for model in option.text.lower().split(",")]
        for option in guest.command.of("device"):
            if option.head in _SOUND_DEVICES:
                found.append((_SOUND_DEVICES[option.head], f"process {guest.pid}: {option}"))
    return found


#: QEMU's sound devices, as libvirt and -soundhw call them.
_SOUND_DEVICES = {
    "AC97": "ac97", "ES1370": "es1370", "sb16": "sb16", "intel-hda": "ich6", "ich9-intel-hda": "ich9", "adlib": "adlib",
    "gus": "gus", "cs4231a": "cs4231a", "usb-audio": "usb", "virtio-sound-pci": "virtio",
}  # fmt: skip


def _system(guest: Guest) -> GuestSystem:
    if guest.definitions:
        return system_of(guest.definitions[0])
    assert guest.command is not None
    return system_of_command(guest.command)


@check("guests.windows-mute", title="Windows guests' sound can be muted from within")
def windows_mute(guests: Guests, issues: ApplicableIssues) -> Iterator[Finding]:
    """On the releases that the known issue names, the mute button in the audio control panel of a Windows guest does
    not mute its sound. Nothing mends it; the note shows where there is such a guest with a sound card.
    """
    issue = of_release(issues, "guests.windows-mute")
    for guest in guests.guests:
        sounds = _sounds(guest)
        system = _system(guest)
        if not sounds or system.family != "windows":
            continue
        yield Finding(
            Severity.INFO,
            f"the mute button in {guest.name} will not mute its sound"
            + ("" if system.sure else ", if it runs Windows"),
            subject=guest.name,
            evidence=(system.why, *(where for _, where in sounds)),
            advice=issue.advice,
            references=issue.references,
        )
    all_read(guests)


@check("guests.ac97-windows7", title="no guest with 64-bit Windows 7 has an AC'97 sound card", references=[BZ(563122)])
def ac97_windows7(guests: Guests) -> Iterator[Finding]:
    """64-bit Windows 7 brings no driver for AC'97, so the sound card that QEMU emulates as such stays silent in it.
    ich6 or ich9 (Intel HD Audio), which later releases have, work with its own driver.

    Which edition runs shows in no definition; on a 32-bit machine it can only be the 32-bit one, which has the driver.
    Where libvirt keeps no metadata, as on RHEL 5, the guest's name is a hint, and the finding a note.
    """
    for guest in guests.guests:
        for domain in guest.definitions:
            system = system_of(domain)
            cards = [d for d in domain.devices if d.kind == "sound" and d.model.lower() == "ac97"]
            if not cards or system.family != "windows" or system.version != "7" or domain.arch not in ("x86_64", ""):
                continue
            runs = "runs Windows 7" if system.sure else "seems to run Windows 7"
            yield Finding(
                Severity.WARNING if system.sure else Severity.INFO,
                f"{guest.name} {runs} and has an AC'97 sound card, for which the 64-bit edition has no driver",
                subject=guest.name,
                evidence=(system.why, f"{domain.source}: {cards[0]}, arch {domain.arch or 'not given'}"),
                advice="Give it <sound model='ich6'/> (or ich9 on q35) where this release's QEMU has them; "
                "leave it if the 32-bit edition runs.",
            )
            break
    all_read(guests)


@check("guests.qcow2-preview", title="no guest's disk is in a format that this release only previews")
def qcow2_preview(guests: Guests, issues: ApplicableIssues) -> Iterator[Finding]:
    """qcow2 was a Technology Preview with KVM on the releases that the known issue names: not supported, and not to be
    trusted with data. Raw files or logical volumes are.
    """
    issue = of_release(issues, "guests.qcow2-preview")
    for guest in guests.guests:
        evidence = [
            f"{domain.source}: {_disk(disk)}" for domain in guest.definitions for disk in domain.disks if _qcow2(disk)
        ]
        if guest.command is not None and not guest.definitions:
            evidence = [f"process {guest.pid}: {o}" for o in guest.command.options if _qcow2_option(o)]
        if evidence:
            yield Finding(
                Severity.WARNING,
                f"{guest.name} has a disk in the format qcow2, a Technology Preview on this release",
                subject=guest.name,
                evidence=tuple(evidence),
                advice=issue.advice,
                references=issue.references,
            )
    all_read(guests)


def _qcow2(disk: Disk) -> bool:
    """By its driver's type, or its backing file's; by its name where QEMU is left to probe."""
    if "qcow2" in (disk.format, *disk.backing_formats):
        return True
    return not disk.format and disk.source.endswith(".qcow2")


def _disk(disk: Disk) -> str:
    return f"{disk.device} {disk.target} {disk.source}, format {disk.format or 'not given'}".replace("  ", " ")


def _qcow2_option(option: Option) -> bool:
    if option.name in ("hda", "hdb", "hdc", "hdd"):
        return option.text.endswith(".qcow2")
    if option.name == "drive":
        return option.get("format") == "qcow2" or (not option.get("format") and option.get("file").endswith(".qcow2"))
    return option.name == "blockdev" and option.head == "qcow2"


@check("guests.etherboot-rom", title="guests that boot from the network have a ROM that can")
def etherboot_rom(guests: Guests, roms: PxeRoms, issues: ApplicableIssues) -> Iterator[Finding]:
    """The network boot ROMs of Etherboot lack what gPXE and iPXE brought later; a guest cannot boot with them from
    Microsoft's servers (RIS, WDS). Shown for guests that boot from the network and get such a ROM, be it by the
    packages installed here or by a file that their definition names.
    """
    known = issues.of_check("guests.etherboot-rom")
    for guest in guests.guests:
        for domain in guest.definitions:
            poor = [rom for nic in domain.nics if _boots_from(domain, nic) for rom in _poor(domain, nic, roms)]
            if not poor:
                continue
            yield Finding(
                Severity.INFO,
                f"{guest.name} boots from the network with Etherboot's ROM, which can't boot from RIS or WDS servers",
                subject=guest.name,
                evidence=(
                    f"{domain.source}: boots from {', '.join(domain.boot) or 'the network by its boot order'}",
                    *(_rom(rom) for rom in poor),
                ),
                advice=known[0].advice
                if known
                else "Install gPXE's or iPXE's ROMs, or name one with <rom file='...'/>.",
                references=known[0].references if known else (),
            )
            break
    all_read(guests)


def _boots_from(domain: Domain, nic: Nic) -> bool:
    return domain.qemu and not nic.rom_off and ("network" in domain.boot or nic.boot_order > 0)


def _poor(domain: Domain, nic: Nic, roms: PxeRoms) -> list[PxeRom]:
    """The ROMs of Etherboot's that a card would get: the file it names, else those installed for its model."""
    if nic.rom_file:
        mine = [rom for rom in roms.roms if nic.rom_file in (rom.path, rom.file)]
    else:
        model = nic.model.lower() or default_nic_model(domain, nic)
        mine = [rom for rom in roms.roms if rom.model == model]
    return [] if any(rom.kind != "Etherboot" for rom in mine) else mine


def _rom(rom: PxeRom) -> str:
    leads = f" -> {rom.file}" if rom.file != rom.path else ""
    return f"{rom.path}{leads}: {rom.kind}" + (f" ({rom.package})" if rom.package else "")


def device_line(device: Device) -> str:
    """A device of any kind in a line, for evidence."""
    from hostward.facts.domain import Disk, Nic

    return shown(device) if isinstance(device, Nic) else _disk(device) if isinstance(device, Disk) else str(device)
