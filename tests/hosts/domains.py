"""Definitions of guests, written as people and tools write them, with what the checks must say of each on RHEL 5.6.

Every device that a rule names stands here in each spelling that libvirt takes, and beside it what looks alike and is
harmless. `expect` are the findings: a check's id, and for the list of disabled features `id: feature`. A definition
with no `expect` must raise none. `elsewhere` marks what this machine's libvirt can't define: another architecture, a
device its QEMU lacks.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from hostward import checks
from hostward.config import Config
from hostward.engine import Engine, select
from hostward.host import Host
from hostward.model import Outcome
from tests.hosts.tree import Tree

NIC = "guests.emulated-nic"
FEATURE = "guests.unsupported-feature"
MUTE = "guests.windows-mute"
AC97 = "guests.ac97-windows7"
QCOW2 = "guests.qcow2-preview"
PXE = "guests.etherboot-rom"
CLONE = "guests.clones"

SCSI = f"{FEATURE}: scsi emulation"
VMWARE = f"{FEATURE}: vmware devices"
NESTED = f"{FEATURE}: nested KVM guests"
STORAGE = f"{FEATURE}: usb mass storage"
SOUND = f"{FEATURE}: sb16 and es1370 sound"
SERIAL = f"{FEATURE}: usb serial"
USBNET = f"{FEATURE}: usb network"
ISAPC = f"{FEATURE}: isapc machine type"
SMB = f"{FEATURE}: smb user directories"
WACOM = f"{FEATURE}: usb wacom tablet"
USBBT = f"{FEATURE}: usb bluetooth"
BLUETOOTH = f"{FEATURE}: bluetooth"

_NAMESPACE = uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")


@dataclass(frozen=True)
class Case:
    """One definition. `mac` is put for MAC in `devices`, `disk` for DISK."""

    name: str
    devices: str = ""
    expect: tuple[str, ...] = ()
    machine: str = "pc"
    arch: str = "x86_64"
    type: str = "qemu"
    os: str = ""
    boot: str = "<boot dev='hd'/>"
    cpu: str = ""
    features: str = "<acpi/>"
    clock: str = "<clock offset='utc'/>"
    arguments: tuple[str, ...] = ()
    elsewhere: str = ""
    uuid: str = ""
    mac: str = ""

    def xml(self) -> str:
        """The definition, with a UUID and a MAC address made from its name."""
        own = self.uuid or str(uuid.uuid5(_NAMESPACE, self.name))
        mac = self.mac or "52:54:00:" + ":".join(own.replace("-", "")[i : i + 2] for i in (0, 2, 4))
        metadata = ""
        if self.os:
            metadata = (
                "<metadata><libosinfo:libosinfo xmlns:libosinfo='http://libosinfo.org/xmlns/libvirt/domain/1.0'>"
                f"<libosinfo:os id='{self.os}'/></libosinfo:libosinfo></metadata>"
            )
        qemu = namespace = ""
        if self.arguments:
            namespace = " xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'"
            qemu = "<qemu:commandline>" + "".join(f"<qemu:arg value='{a}'/>" for a in self.arguments)
            qemu += "</qemu:commandline>"
        arch = f" arch='{self.arch}'" if self.arch else ""
        machine = f" machine='{self.machine}'" if self.machine else ""
        devices = self.devices.replace("MAC", f"<mac address='{mac}'/>").replace("DISK", f"/srv/{self.name}")
        return (
            f"<domain type='{self.type}'{namespace}>\n  <name>{self.name}</name>\n  <uuid>{own}</uuid>\n  {metadata}\n"
            f"  <memory unit='KiB'>65536</memory>\n  <vcpu>1</vcpu>\n"
            f"  <os><type{arch}{machine}>{'exe' if self.type == 'lxc' else 'hvm'}</type>{self.boot}</os>\n"
            f"  <features>{self.features}</features>\n  {self.cpu}\n  {self.clock}\n"
            f"  <devices>{devices}</devices>\n  {qemu}\n</domain>\n"
        )


def _nic(model: str = "", more: str = "", kind: str = "user", source: str = "") -> str:
    named = f"<model type='{model}'/>" if model else ""
    return f"<interface type='{kind}'>MAC{source}{named}{more}</interface>"


def _disk(bus: str = "ide", target: str = "hda", form: str = "raw", device: str = "disk", name: str = "DISK") -> str:
    driver = f"<driver name='qemu' type='{form}'/>" if form else ""
    on = f" bus='{bus}'" if bus else ""
    return f"<disk type='file' device='{device}'>{driver}<source file='{name}'/><target dev='{target}'{on}/></disk>"


def _scsi(model: str, index: int = 0) -> str:
    return f"<controller type='scsi' index='{index}'" + (f" model='{model}'/>" if model else "/>")


def _sound(model: str) -> str:
    return f"<sound model='{model}'/>"


def _feature(name: str, policy: str = "") -> str:
    word = f" policy='{policy}'" if policy else ""
    return f"<cpu mode='custom' match='exact'><model>qemu64</model><feature{word} name='{name}'/></cpu>"


_NETWORK = "<source network='default'/>"
_BRIDGE = "<source bridge='br0'/>"
_NET_BOOT = "<boot dev='network'/>"
_ROOT_PORT = "no such device in this machine's QEMU"
WIN7 = "http://microsoft.com/win/7"

CASES: list[Case] = [
    # Network cards: rtl8139 named
    Case("nic-rtl8139-user", _nic("rtl8139"), (NIC,)),
    Case("nic-rtl8139-network", _nic("rtl8139", kind="network", source=_NETWORK), (NIC,)),
    Case("nic-rtl8139-bridge", _nic("rtl8139", kind="bridge", source=_BRIDGE), (NIC,)),
    Case("nic-rtl8139-direct", _nic("rtl8139", kind="direct", source="<source dev='eth0' mode='vepa'/>"), (NIC,)),
    Case("nic-rtl8139-ethernet", _nic("rtl8139", kind="ethernet"), (NIC,)),
    Case("nic-rtl8139-q35", _nic("rtl8139"), (NIC,), machine="q35"),
    Case("nic-rtl8139-i686", _nic("rtl8139"), (NIC,), arch="i686"),
    Case("nic-rtl8139-double-quotes", _nic("rtl8139").replace("'", '"'), (NIC,)),
    Case("nic-rtl8139-character-references", _nic("&#114;tl&#x38;139"), (NIC,)),
    Case("nic-rtl8139-capitals", _nic("RTL8139"), (NIC,)),
    Case(
        "nic-rtl8139-beside-virtio",
        _nic("virtio") + "<interface type='user'><model type='rtl8139'/></interface>",
        (NIC,),
    ),
    Case("nic-rtl8139-kvm", _nic("rtl8139"), (NIC,), type="kvm"),
    # ... and by default
    Case("nic-default-pc", _nic(), (NIC,)),
    Case("nic-default-q35", _nic(), (NIC,), machine="q35"),
    Case("nic-default-network", _nic(kind="network", source=_NETWORK), (NIC,)),
    Case("nic-default-no-machine", _nic(), (NIC,), machine=""),
    Case("nic-default-no-arch", _nic(), (NIC,), arch=""),
    Case("nic-default-linux", _nic(), (NIC,), os="http://redhat.com/rhel/8.4"),
    Case("nic-default-i686", _nic(), (NIC,), arch="i686"),
    Case(
        "nic-default-pseries", _nic(), (NIC,), machine="pseries", arch="ppc64le", elsewhere="no qemu-system-ppc64 here"
    ),
    Case("nic-default-rhel5", _nic(), (NIC,), machine="rhel5.4.0", elsewhere="no such machine here"),
    Case("nic-default-microvm-less-spelling", "<interface type='user'>MAC<model/></interface>", (NIC,)),
    # ... and what is none
    *(
        Case(f"nic-{model}", _nic(model))
        for model in (
            "virtio",
            "virtio-transitional",
            "virtio-non-transitional",
            "e1000",
            "ne2k_pci",
            "pcnet",
            "i82551",
        )
    ),
    Case("nic-e1000e", _nic("e1000e"), machine="q35"),
    Case("nic-e1000-82544gc", _nic("e1000-82544gc")),
    Case("nic-none"),
    Case("nic-default-s390x", _nic(), machine="s390-ccw-virtio", arch="s390x", elsewhere="no qemu-system-s390x here"),
    Case("nic-default-aarch64", _nic(), machine="virt", arch="aarch64", elsewhere="no qemu-system-aarch64 here"),
    Case(
        "nic-default-aarch64-version",
        _nic(),
        machine="virt-7.2",
        arch="aarch64",
        elsewhere="no qemu-system-aarch64 here",
    ),
    Case("nic-default-vexpress", _nic(), machine="vexpress-a9", arch="armv7l", elsewhere="no qemu-system-arm here"),
    Case("nic-default-versatile", _nic(), machine="versatilepb", arch="armv6l", elsewhere="no qemu-system-arm here"),
    Case("nic-default-riscv", _nic(), machine="virt", arch="riscv64", elsewhere="no qemu-system-riscv64 here"),
    Case("nic-default-loongarch", _nic(), machine="virt", arch="loongarch64", elsewhere="no such architecture here"),
    Case(
        "nic-hostdev",
        "<interface type='hostdev' managed='yes'>MAC<source><address type='pci' domain='0' bus='3' slot='16' "
        "function='1'/></source></interface>",
    ),
    Case(
        "nic-vhostuser",
        "<interface type='vhostuser'>MAC<source type='unix' path='/run/vhost' mode='client'/></interface>",
        elsewhere="before libvirt 9.8 a vhostuser interface has to name its model",
    ),
    Case("nic-vdpa", "<interface type='vdpa'>MAC<source dev='/dev/vhost-vdpa-0'/></interface>"),
    Case("nic-xen", _nic(kind="bridge", source=_BRIDGE), type="xen", elsewhere="no Xen here"),
    Case("nic-lxc", _nic(kind="bridge", source=_BRIDGE), type="lxc", machine="", elsewhere="no lxc driver here"),
    # SCSI emulation
    *(
        Case(f"scsi-{model or 'no-model'}", _scsi(model), (SCSI,))
        for model in ("", "lsilogic", "lsisas1068", "lsisas1078", "dc390", "am53c974", "auto")
    ),
    Case("scsi-buslogic", _scsi("buslogic"), (SCSI,), elsewhere="QEMU has no buslogic"),
    Case("scsi-ncr53c90", _scsi("ncr53c90"), (SCSI,), elsewhere="QEMU has it for m68k only"),
    Case("scsi-disk", _disk("scsi", "sda"), (SCSI,)),
    Case("scsi-disk-by-target-name", _disk("", "sda"), (SCSI,)),
    Case("scsi-cdrom", _disk("scsi", "sda", device="cdrom"), (SCSI,)),
    Case("scsi-disk-lsilogic", _scsi("lsilogic") + _disk("scsi", "sda"), (SCSI,)),
    Case("scsi-two-controllers", _scsi("virtio-scsi") + _scsi("lsilogic", 1), (SCSI,)),
    Case("scsi-virtio", _scsi("virtio-scsi")),
    Case("scsi-virtio-disk", _scsi("virtio-scsi") + _disk("scsi", "sda")),
    Case("scsi-virtio-transitional", _scsi("virtio-transitional") + _disk("scsi", "sda")),
    Case("scsi-virtio-non-transitional", _scsi("virtio-non-transitional") + _disk("scsi", "sda")),
    Case("scsi-power", _disk("scsi", "sda"), machine="pseries", arch="ppc64le", elsewhere="no qemu-system-ppc64 here"),
    Case(
        "scsi-power-ibmvscsi", _scsi("ibmvscsi"), machine="pseries", arch="ppc64", elsewhere="no qemu-system-ppc64 here"
    ),
    Case("disk-ide", _disk()),
    Case("disk-by-target-name", _disk("", "hda")),
    Case("disk-virtio", _disk("virtio", "vda")),
    Case("disk-virtio-by-target-name", _disk("", "vda")),
    Case("disk-sata", _disk("sata", "sda")),
    Case("disk-floppy", _disk("fdc", "fda", device="floppy")),
    # The machine type
    Case("machine-isapc", "", (ISAPC,), machine="isapc", features="", elsewhere="libvirt 9.0 can't define one whole"),
    Case("machine-pc", machine="pc"),
    Case("machine-q35", machine="q35"),
    Case("machine-versioned", machine="pc-i440fx-2.9"),
    # Nested guests
    Case("cpu-vmx-require", "", (NESTED,), cpu=_feature("vmx", "require")),
    Case("cpu-vmx-force", "", (NESTED,), cpu=_feature("vmx", "force")),
    Case("cpu-svm-require", "", (NESTED,), cpu=_feature("svm", "require")),
    Case("cpu-svm-by-default-policy", "", (NESTED,), cpu=_feature("svm")),
    Case(
        "cpu-vmx-old-style", "", (NESTED,), cpu="<cpu match='exact'><model>core2duo</model><feature name='vmx'/></cpu>"
    ),
    Case("cpu-vmx-optional", cpu=_feature("vmx", "optional")),
    Case("cpu-vmx-disable", cpu=_feature("vmx", "disable")),
    Case("cpu-svm-forbid", cpu=_feature("svm", "forbid")),
    Case("cpu-other-feature", cpu=_feature("aes", "require")),
    Case("cpu-host-model", cpu="<cpu mode='host-model'/>"),
    Case("cpu-host-passthrough", cpu="<cpu mode='host-passthrough'/>", type="kvm"),
    # USB
    Case("usb-disk", _disk("usb", "sda"), (STORAGE,)),
    Case("usb-cdrom", _disk("usb", "sda", device="cdrom"), (STORAGE,)),
    Case("usb-serial", "<serial type='pty'><target type='usb'/></serial>", (SERIAL,), elsewhere="before libvirt 4.0"),
    Case("usb-serial-new", "<serial type='pty'><target type='usb-serial'/></serial>", (SERIAL,)),
    Case(
        "usb-serial-model",
        "<serial type='pty'><target type='usb-serial' port='0'><model name='usb-serial'/></target></serial>",
        (SERIAL,),
    ),
    Case("serial-isa", "<serial type='pty'><target type='isa-serial' port='0'/></serial>"),
    Case("serial-plain", "<serial type='pty'><target port='0'/></serial><console type='pty'/>"),
    Case("serial-pci", "<serial type='pty'><target type='pci-serial' port='0'/></serial>"),
    Case("usb-net", _nic("usb-net", "<address type='usb' bus='0' port='1'/>"), (USBNET,)),
    Case("usb-tablet", "<input type='tablet' bus='usb'/>"),
    Case("usb-mouse", "<input type='mouse' bus='usb'/>"),
    Case("usb-keyboard", "<input type='keyboard' bus='usb'/>"),
    Case("usb-redirection", "<redirdev bus='usb' type='spicevmc'/>", elsewhere="no SPICE in this machine's QEMU"),
    Case(
        "usb-redirection-tcp",
        "<redirdev bus='usb' type='tcp'><source mode='connect' host='h' service='4000'/></redirdev>",
    ),
    Case(
        "usb-host-device",
        "<hostdev mode='subsystem' type='usb'><source><vendor id='0x1234'/><product id='0xbeef'/></source></hostdev>",
    ),
    Case("usb-hub", "<hub type='usb'/>"),
    Case("usb-controller", "<controller type='usb' index='0' model='ich9-ehci1'/>"),
    # VMware's devices
    Case("vmware-video", "<video><model type='vmvga' vram='9216' heads='1'/></video>", (VMWARE,)),
    Case("vmware-pvscsi", _scsi("vmpvscsi"), (VMWARE,)),
    Case("vmware-pvscsi-disk", _scsi("vmpvscsi") + _disk("scsi", "sda"), (VMWARE,)),
    Case("vmware-vmxnet3", _nic("vmxnet3"), (VMWARE,)),
    Case("vmware-vmport", "", (VMWARE,), features="<acpi/><vmport state='on'/>"),
    Case("vmport-off", features="<acpi/><vmport state='off'/>"),
    Case("video-cirrus", "<video><model type='cirrus'/></video>"),
    Case("video-vga", "<video><model type='vga'/></video>"),
    Case("video-virtio", "<video><model type='virtio'/></video>"),
    # Sound
    Case("sound-sb16", _sound("sb16"), (SOUND,)),
    Case("sound-es1370", _sound("es1370"), (SOUND,)),
    Case("sound-two", _sound("ac97") + _sound("es1370"), (SOUND,)),
    *(Case(f"sound-{model}", _sound(model)) for model in ("ac97", "ich6", "pcspk")),
    Case("sound-ich9", _sound("ich9"), machine="q35"),
    Case("sound-usb", _sound("usb")),
    # Sound and Windows
    Case("win7-ac97", _sound("ac97"), (AC97, MUTE), os=WIN7),
    Case("win7-ac97-i686", _sound("ac97"), (MUTE,), os=WIN7, arch="i686"),
    Case("win7-ich6", _sound("ich6"), (MUTE,), os=WIN7),
    Case("win7-silent", os=WIN7),
    Case("win10-ich9", _sound("ich9"), (MUTE,), os="http://microsoft.com/win/10", machine="q35"),
    Case("win10-ac97", _sound("ac97"), (MUTE,), os="http://microsoft.com/win/10"),
    Case("win2k8r2-ac97", _sound("ac97"), (MUTE,), os="http://microsoft.com/win/2k8r2"),
    Case("winxp-es1370", _sound("es1370"), (MUTE, SOUND), os="http://microsoft.com/win/xp"),
    Case("win7-x64-by-name", _sound("ac97"), (AC97, MUTE)),
    Case("srv-windows_2008", _sound("ac97"), (MUTE,)),
    Case("twin7-is-no-hint", _sound("ac97")),
    Case("win70s-is-no-hint", _sound("ac97")),
    Case("localtime-ac97", _sound("ac97"), (MUTE,), clock="<clock offset='localtime'/>"),
    Case("localtime-silent", clock="<clock offset='localtime'/>"),
    Case("linux-ac97", _sound("ac97"), os="http://fedoraproject.org/fedora/34"),
    Case("linux-localtime-ac97", _sound("ac97"), os="http://debian.org/debian/11", clock="<clock offset='localtime'/>"),
    Case("dos-sb16", _sound("sb16"), (SOUND,), os="http://microsoft.com/msdos/6.22"),
    # Disk formats
    Case("qcow2", _disk(form="qcow2"), (QCOW2,)),
    Case("qcow2-virtio", _disk("virtio", "vda", "qcow2"), (QCOW2,)),
    Case("qcow2-cdrom-beside", _disk() + _disk("ide", "hdc", "qcow2", "cdrom", "/srv/some.iso"), (QCOW2,)),
    Case("qcow2-by-name", _disk(form="", name="DISK.qcow2"), (QCOW2,), elsewhere="libvirt 9.0 writes raw for it"),
    Case(
        "qcow2-backing",
        "<disk type='file' device='disk'><driver name='qemu' type='qed'/><source file='DISK'/>"
        "<backingStore type='file'><format type='qcow2'/><source file='/srv/base'/></backingStore>"
        "<target dev='vda' bus='virtio'/></disk>",
        (QCOW2,),
    ),
    Case("raw-named-qcow2", _disk(form="raw", name="DISK.qcow2")),
    Case("format-qed", _disk(form="qed")),
    Case("format-vmdk", _disk(form="vmdk")),
    Case(
        "disk-block",
        "<disk type='block' device='disk'><driver name='qemu' type='raw'/><source dev='/dev/vg/DISKless'/>"
        "<target dev='vda' bus='virtio'/></disk>",
    ),
    Case(
        "disk-network",
        "<disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='rbd' "
        "name='pool/one'><host name='m' port='6789'/></source><target dev='vda' bus='virtio'/></disk>",
    ),
    Case("cdrom-empty", "<disk type='file' device='cdrom'><target dev='hdc' bus='ide'/><readonly/></disk>"),
    # Booting from the network; the ROMs of the tree are Etherboot's but for pcnet (gPXE)
    Case("pxe-e1000", _nic("e1000"), (PXE,), boot=_NET_BOOT),
    Case("pxe-rtl8139", _nic("rtl8139"), (PXE, NIC), boot=_NET_BOOT),
    Case("pxe-default", _nic(), (PXE, NIC), boot=_NET_BOOT),
    Case("pxe-after-disk", _nic("virtio"), (PXE,), boot="<boot dev='hd'/><boot dev='network'/>"),
    Case("pxe-boot-order", _nic("virtio", "<boot order='1'/>"), (PXE,), boot=""),
    Case("pxe-old-file", _nic("virtio", "<rom file='/usr/share/etherboot/virtio.zrom'/>"), (PXE,), boot=_NET_BOOT),
    Case("pxe-pcnet", _nic("pcnet"), boot=_NET_BOOT),
    Case("pxe-own-file", _nic("virtio", "<rom file='/srv/ipxe.rom'/>"), boot=_NET_BOOT),
    Case("pxe-rom-off", _nic("virtio", "<rom bar='off'/>"), boot=_NET_BOOT),
    Case("pxe-rom-disabled", _nic("virtio", "<rom enabled='no'/>"), boot=_NET_BOOT),
    Case("pxe-not-booted", _nic("e1000")),
    Case("pxe-no-card", boot=_NET_BOOT),
    # Arguments that libvirt passes on
    Case(
        "args-smb",
        arguments=("-netdev", "user,id=n0,smb=/srv/share", "-device", "virtio-net-pci,netdev=n0"),
        expect=(SMB,),
    ),
    Case("args-usbdevice-disk", arguments=("-usbdevice", "disk:/srv/stick"), expect=(STORAGE,)),
    Case("args-usbdevice-wacom", arguments=("-usbdevice", "wacom-tablet"), expect=(WACOM,)),
    Case("args-device-wacom", arguments=("-device", "usb-wacom-tablet,id=w"), expect=(WACOM,)),
    Case("args-usbdevice-bt", arguments=("-usbdevice", "bt:hci,host"), expect=(USBBT,)),
    Case("args-bt", arguments=("-bt", "hci,host"), expect=(BLUETOOTH,)),
    Case("args-soundhw", arguments=("-soundhw", "es1370"), expect=(SOUND,)),
    Case("args-device-lsi", arguments=("-device", "lsi53c895a,id=s"), expect=(SCSI,)),
    Case("args-double-dash", arguments=("--device", "usb-storage,drive=d"), expect=(STORAGE,)),
    Case(
        "args-harmless",
        arguments=("-device", "usb-tablet", "-smbios", "type=1,serial=42", "-global", "PIIX4_PM.disable_s3=0"),
    ),
    # Copies of one another
    Case("clone-mac-a", _nic("virtio"), (CLONE,), mac="52:54:00:aa:bb:cc"),
    Case("clone-mac-b", _nic("virtio"), (CLONE,), mac="52:54:00:AA:BB:CC"),
    Case("clone-disk-a", _disk("virtio", "vda", name="/srv/shared.img"), (CLONE,)),
    Case("clone-disk-b", _disk("virtio", "vda", name="/srv/shared.img"), (CLONE,)),
    Case("shared-readonly-a", _disk("virtio", "vda", name="/srv/ro.img").replace("</disk>", "<readonly/></disk>")),
    Case("shared-readonly-b", _disk("virtio", "vda", name="/srv/ro.img").replace("</disk>", "<readonly/></disk>")),
    Case("shared-on-purpose-a", _disk("virtio", "vda", name="/srv/sh.img").replace("</disk>", "<shareable/></disk>")),
    Case("shared-on-purpose-b", _disk("virtio", "vda", name="/srv/sh.img").replace("</disk>", "<shareable/></disk>")),
    Case("same-iso-a", _disk("ide", "hdc", device="cdrom", name="/srv/one.iso")),
    Case("same-iso-b", _disk("ide", "hdc", device="cdrom", name="/srv/one.iso")),
    Case(
        "failover-pair",
        "<interface type='network'>MAC<source network='n'/><model type='virtio'/><teaming type='persistent'/>"
        "<alias name='ua-test'/></interface><interface type='hostdev' managed='yes'>MAC<source>"
        "<address type='pci' domain='0' bus='3' slot='17' function='1'/></source>"
        "<teaming type='transient' persistent='ua-test'/></interface>",
        machine="q35",
    ),
    # Several at once, as an old host has them
    Case(
        "everything-old",
        _nic() + _disk("usb", "sda", "qcow2") + _sound("es1370") + "<video><model type='vmvga'/></video>",
        (NIC, QCOW2, STORAGE, SOUND, MUTE, VMWARE),
        os="http://microsoft.com/win/xp",
    ),
    Case(
        "everything-new",
        _nic("virtio") + _disk("virtio", "vda") + _sound("ich9") + "<input type='tablet' bus='usb'/>"
        "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
        "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng><memballoon model='virtio'/>"
        "<watchdog model='i6300esb' action='reset'/>",
        machine="q35",
        os="http://redhat.com/rhel/9.2",
    ),
]


def rhel56(root: str | os.PathLike[str], definitions: Mapping[str, str | bytes]) -> Tree:
    """A RHEL 5.6 host with these stored definitions, by name, and the boot ROMs."""
    tree = Tree(root)
    tree.file("/etc/redhat-release", "Red Hat Enterprise Linux Server release 5.6 (Tikanga)\n")
    for path, data in pxe_roms().items():
        tree.file(path, data)
    for name, xml in definitions.items():
        tree.file(f"/etc/libvirt/qemu/{name}.xml", xml)
    return tree


def found_by(root: str | os.PathLike[str]) -> dict[str, set[str]]:
    """What the checks of guests find in a tree, by guest, as `expect` has it; "" for what is about no guest."""
    engine = Engine(Host.at(str(root)), Config())
    checks.load_all()
    found: dict[str, set[str]] = {}
    for result in engine.check(select(["guests.*"])):
        assert result.outcome is not Outcome.FAILED, f"{result.check}: {result.reason}"
        assert not result.blind, f"{result.check}: {result.reason}"
        for finding in result.findings:
            guest, _, feature = finding.subject.partition(": ")
            words = [guest]
            if result.check == CLONE:  # its subject is what they share; each is named in a line of evidence
                words = re.findall(r"/qemu/([\w-]+)\.xml: ", "\n".join(finding.evidence))
            for name in words:
                found.setdefault(name, set()).add(f"{result.check}: {feature}" if feature else result.check)
    return found


def pxe_roms() -> dict[str, bytes]:
    """The boot ROMs of the tree, by path: enough of each to be told by."""
    old = b"\x55\xaa\x40" + b"\0" * 60 + b"PCIR" + b"\0" * 40 + b"Etherboot\0ROM segment "
    newer = b"\x55\xaa\x40" + b"\0" * 60 + b"gPXE (http://etherboot.org) "
    return {
        "/usr/share/etherboot/rtl8139.zrom": old,
        "/usr/share/etherboot/e1000-82540em.zrom": old,
        "/usr/share/etherboot/virtio.zrom": old,
        "/usr/share/gpxe/pcnet32.rom": newer,
    }
