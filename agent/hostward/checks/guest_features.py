"""Features of QEMU that a release has disabled, wherever a guest's definition or command line uses one (BZ#512837)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hostward.checks import check
from hostward.checks.guests import all_read, of_release
from hostward.facts.qemu_command import QemuCommand, parse_options
from hostward.model import BZ, Finding, Severity

if TYPE_CHECKING:
    from hostward.facts.domain import Domain
    from hostward.facts.guests import Guest, Guests
    from hostward.facts.issue_scope import ApplicableIssues
    from hostward.facts.qemu_command import Option

#: The features as the release note lists them, and what to use instead.
FEATURES = {
    "smb user directories": "Share the directory by a server that the guest reaches over the network (samba, NFS).",
    "scsi emulation": "Use bus='virtio' for disks, or bus='ide' where the guest has no virtio driver.",
    "isapc machine type": "Use the machine type pc.",
    "nested KVM guests": "Take vmx and svm out of the guest's processor; run its guests on a host of their own.",
    "usb mass storage": "Give it the image as a virtio or ide disk.",
    "usb wacom tablet": "Use the plain USB tablet (<input type='tablet' bus='usb'/>).",
    "usb serial": "Use <serial type='pty'/> on the ISA bus.",
    "usb network": "Use a virtio or e1000 network card.",
    "usb bluetooth": "Take it out; nothing replaces it.",
    "vmware devices": "Use the cirrus or std video card, a virtio or ide disk and a virtio or e1000 network card.",
    "sb16 and es1370 sound": "Use <sound model='ac97'/>.",
    "bluetooth": "Take it out; nothing replaces it.",
}
#: The models of <controller type='scsi'> that are emulated hardware; what names none is lsilogic, but on POWER.
_EMULATED_SCSI = {"", "auto", "lsilogic", "buslogic", "lsisas1068", "lsisas1078", "ncr53c90", "dc390", "am53c974"}
_SCSI_DEVICES = ("lsi", "megasas", "mptsas", "am53c974", "dc390", "esp", "buslogic")
_SCSI_ON = ("scsi-disk", "scsi-hd", "scsi-cd")
_VMWARE_DEVICES = {"vmware-svga": "video card", "vmmouse": "mouse", "vmport": "backdoor", "vmxnet3": "network card",
                   "vmxnet": "network card", "pvscsi": "SCSI controller"}  # fmt: skip
_USB_DEVICES = {
    "usb-storage": "usb mass storage", "usb-bot": "usb mass storage", "usb-uas": "usb mass storage",
    "usb-wacom-tablet": "usb wacom tablet", "usb-serial": "usb serial", "usb-net": "usb network",
    "usb-bt-dongle": "usb bluetooth",
}  # fmt: skip
#: What -usbdevice calls them, before the colon.
_USB_WORDS = {"disk": "usb mass storage", "wacom-tablet": "usb wacom tablet", "serial": "usb serial",
              "net": "usb network", "bt": "usb bluetooth"}  # fmt: skip
_OLD_SOUND = ("sb16", "es1370")


@check(
    "guests.unsupported-feature",
    title="no guest uses a feature that this release has disabled",
    references=[BZ(512837)],
)
def unsupported_feature(guests: Guests, issues: ApplicableIssues) -> Iterator[Finding]:
    """The release notes list features of QEMU that are compiled out or not supported: SMB user directories, SCSI
    emulation, the machine type isapc, nested guests, several USB devices, VMware's devices, the sound cards sb16 and
    es1370, bluetooth. A guest that uses one may not start after an update, and nobody mends what breaks with it.

    Definitions are judged, and the arguments that they pass on to QEMU; of a guest that libvirt does not know, its
    command line. A plain USB tablet, virtio-scsi and the like are none of these.
    """
    issue = of_release(issues, "guests.unsupported-feature")
    for guest in guests.guests:
        used: dict[str, list[str]] = {}
        for feature, where in uses(guest):
            used.setdefault(feature, []).append(where)
        for feature, lines in used.items():
            yield Finding(
                Severity.WARNING,
                f"{guest.name} uses {feature}, which this release has disabled and does not support",
                subject=f"{guest.name}: {feature}",
                evidence=tuple(lines),
                advice=FEATURES[feature],
                references=issue.references,
            )
    all_read(guests)


def uses(guest: Guest) -> Iterator[tuple[str, str]]:
    """(feature, the line that shows it) of all that a guest uses."""
    for domain in guest.definitions:
        if not domain.qemu:
            continue
        for feature, line in of_domain(domain):
            yield feature, f"{domain.source}: {line}"
        for feature, option in of_options(tuple(parse_options(list(domain.qemu_arguments)))):
            yield feature, f"{domain.source}: qemu:commandline {option}"
    if guest.command is not None and not guest.definitions:
        for feature, option in of_options(guest.command.options):
            yield feature, f"process {guest.pid}: {option}"


def of_domain(domain: Domain) -> Iterator[tuple[str, str]]:
    """What a definition uses of the list."""
    if domain.machine == "isapc":
        yield "isapc machine type", "machine isapc"
    for name in ("vmx", "svm"):
        if domain.cpu.policy(name) in ("require", "force"):
            yield "nested KVM guests", f"cpu feature {name}, policy {domain.cpu.policy(name)}"
    if domain.vmport == "on":
        yield "vmware devices", "vmport on"
    scsi = {d.target: d.model.lower() for d in domain.devices if d.kind == "controller" and d.type == "scsi"}
    emulated = {index for index, model in scsi.items() if model in _EMULATED_SCSI and not _power(domain)}
    for device in domain.devices:
        model = device.model.lower()
        if device.kind == "controller" and device.type == "scsi" and device.target in emulated:
            yield "scsi emulation", f"{device}"
        if device.kind == "controller" and model == "vmpvscsi":
            yield "vmware devices", f"{device}"
        if device.kind == "video" and model == "vmvga":
            yield "vmware devices", f"{device}"
        if device.kind == "sound" and model in _OLD_SOUND:
            yield "sb16 and es1370 sound", f"{device}"
        if device.kind in ("serial", "console") and (device.bus == "usb" or model == "usb-serial"):
            yield "usb serial", f"{device}"
    for disk in domain.disks:
        if disk.bus == "scsi" and not _power(domain) and (not scsi or emulated):
            yield "scsi emulation", f"disk {disk.target} on bus scsi"
        if disk.bus == "usb":
            yield "usb mass storage", f"disk {disk.target} on bus usb"
    for nic in domain.nics:
        if nic.model.lower() in ("vmxnet", "vmxnet2", "vmxnet3"):
            yield "vmware devices", f"interface model {nic.model}"
        if nic.model.lower() == "usb-net":
            yield "usb network", f"interface model {nic.model}"


def _power(domain: Domain) -> bool:
    """On POWER the SCSI controller that is given by default is the hypervisor's own (spapr-vscsi), as on s390."""
    return domain.arch.startswith(("ppc", "s390"))


def of_options(options: tuple[Option, ...]) -> Iterator[tuple[str, Option]]:
    """What the options of a command line use of the list."""
    for option in options:
        found = {"device": _device, "drive": _drive, "net": _net, "nic": _net, "netdev": _netdev}.get(
            option.name, _plain
        )
        for feature in found(option):
            yield feature, option


def _device(option: Option) -> Iterator[str]:
    driver = option.head
    if driver in _USB_DEVICES:
        yield _USB_DEVICES[driver]
    if driver in _VMWARE_DEVICES:
        yield "vmware devices"
    elif driver.startswith(_SCSI_DEVICES):
        yield "scsi emulation"
    if driver.lower() in _OLD_SOUND:
        yield "sb16 and es1370 sound"


def _drive(option: Option) -> Iterator[str]:
    if option.get("if") == "scsi":
        yield "scsi emulation"


def _net(option: Option) -> Iterator[str]:
    if option.get("smb"):
        yield "smb user directories"
    if option.get("model") in ("vmxnet3", "vmxnet"):
        yield "vmware devices"
    if option.get("model") == "usb-net":
        yield "usb network"


def _netdev(option: Option) -> Iterator[str]:
    if option.get("smb"):
        yield "smb user directories"


def _plain(option: Option) -> Iterator[str]:
    name, text = option.name, option.text
    if name == "smb":
        yield "smb user directories"
    elif name in ("machine", "M"):
        if option.head == "isapc":
            yield "isapc machine type"
        if option.get("vmport") == "on":
            yield "vmware devices"
    elif name == "cpu":
        if any(f"+{flag}" in text.split(",") or option.get(flag) == "on" for flag in ("vmx", "svm")):
            yield "nested KVM guests"
    elif name == "enable-nesting":
        yield "nested KVM guests"
    elif name == "usbdevice":
        feature = _USB_WORDS.get(text.partition(":")[0])
        if feature:
            yield feature
    elif name == "vga" and text == "vmware":
        yield "vmware devices"
    elif name == "soundhw" and (set(text.split(",")) & {*_OLD_SOUND, "all"}):
        yield "sb16 and es1370 sound"
    elif name == "bt":
        yield "bluetooth"


def command_uses(command: QemuCommand) -> set[str]:
    """The features of the list that a command line uses."""
    return {feature for feature, _ in of_options(command.options)}
