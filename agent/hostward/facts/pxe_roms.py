"""The network boot ROMs that QEMU gives to guests: Etherboot, gPXE or iPXE, told by what is in the files."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hostward.facts import fact
from hostward.facts.packages import owners_of
from hostward.host import Host, HostError

#: Where QEMU, KVM and the ROM packages of distributions keep them.
DIRECTORIES = (
    *("/usr/share/kvm", "/usr/share/qemu-kvm", "/usr/share/qemu", "/usr/share/etherboot", "/usr/share/gpxe"),
    *("/usr/share/ipxe", "/usr/share/ipxe/qemu", "/usr/share/ipxe.efi", "/usr/lib/ipxe", "/usr/lib/ipxe/qemu"),
    *("/usr/local/share/qemu", "/usr/share/qemu-pve"),
)
ROM_MAX = 4 << 20
FILES_MAX = 400
_NAME = re.compile(r"(?:pxe-|efi-).*\.(?:bin|rom)|.*\.zrom|(?:[0-9a-f]{8}|[\w-]+)\.rom")
#: The cards of QEMU's by what their ROMs' names have in them: the card's name, or its PCI vendor and device.
_MODELS = (
    ("rtl8139", "rtl8139"), ("10ec8139", "rtl8139"), ("8086100e", "e1000"), ("e1000-82540", "e1000"),
    ("e1000_82540", "e1000"), ("82540em", "e1000"), ("808610d3", "e1000e"), ("e1000e", "e1000e"), ("e1000", "e1000"),
    ("1af41000", "virtio"), ("virtio", "virtio"), ("10222000", "pcnet"), ("pcnet", "pcnet"), ("10ec8029", "ne2k_pci"),
    ("ne2k_pci", "ne2k_pci"), ("ns8390", "ne2k_pci"), ("80861209", "i82551"),
    ("eepro100", "i82551"), ("15ad07b0", "vmxnet3"), ("vmxnet3", "vmxnet3"),
)  # fmt: skip


@dataclass(frozen=True)
class PxeRom:
    """One ROM. `kind` is Etherboot, gPXE or iPXE; `model` the card it is for, "" where its name does not tell.

    `file` is where the path's links lead, `package` who put it there, "" where that was not looked up or not found.
    """

    path: str
    file: str
    kind: str
    model: str
    package: str = ""


@dataclass(frozen=True)
class PxeRoms:
    roms: tuple[PxeRom, ...] = ()

    def kinds(self, model: str = "") -> tuple[str, ...]:
        """The kinds there are of ROMs for a card (any card for ""), sorted."""
        return tuple(sorted({rom.kind for rom in self.roms if not model or rom.model == model}))


@fact
def pxe_roms(host: Host) -> PxeRoms:
    """Files that are none of the three are left out. The packages of old ROMs alone are looked up."""
    found: dict[str, PxeRom] = {}
    looked_at = 0
    for directory in DIRECTORIES:
        try:
            names = [name for name in host.names(directory) if _NAME.fullmatch(name)]
        except HostError:
            continue
        for name in names:
            looked_at += 1
            if looked_at > FILES_MAX:
                break
            path = f"{directory}/{name}"
            try:
                file = host.resolve(path)
                kind = kind_of(host.read(path, ROM_MAX))
            except HostError:
                continue
            if kind:
                found[path] = PxeRom(path, file, kind, model_of(name) or model_of(file.rpartition("/")[2]))
    old = sorted({rom.file for rom in found.values() if rom.kind != "iPXE"})
    owners = owners_of(host, old).owners if old else {}
    roms = []
    for rom in found.values():
        owner = owners.get(rom.file)
        package = f"{owner.package} {owner.version}".strip() if owner else ""
        roms.append(PxeRom(rom.path, rom.file, rom.kind, rom.model, package))
    return PxeRoms(tuple(roms))


def kind_of(data: bytes) -> str:
    """By the banner that each prints when it starts, or the maker in its Plug and Play header; "" for anything else.

    gPXE and iPXE came out of Etherboot and name its site, in small letters, so they are looked for first.
    """
    for word, kind in ((b"iPXE", "iPXE"), (b"gPXE", "gPXE"), (b"Etherboot", "Etherboot")):
        if word in data:
            return kind
    return ""


def model_of(name: str) -> str:
    """The card that a ROM is for, by its file's name."""
    return next((model for part, model in _MODELS if part in name), "")
