"""One definition of a guest: libvirt's domain XML as typed facts (https://libvirt.org/formatdomain.html)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hostward.facts.domain_xml import NAMESPACES, BadXml

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_OSINFO = "{" + NAMESPACES["libosinfo"] + "}"
_QEMU = "{" + NAMESPACES["qemu"] + "}"
_UNITS = {"b": 1, "bytes": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "tb": 1000**4}
_UNITS |= {
    "k": 1 << 10,
    "kib": 1 << 10,
    "m": 1 << 20,
    "mib": 1 << 20,
    "g": 1 << 30,
    "gib": 1 << 30,
    "t": 1 << 40,
    "tib": 1 << 40,
}


@dataclass(frozen=True)
class Device:
    """A device other than a network interface or disk.

    `kind` is the element's name (controller, sound, input, video, hostdev, serial, ...), `type`, `model` and `bus`
    what its attributes and its <model>, <target> say, "" where they say nothing. `target` is what it is found by in
    the guest (a channel's name, a controller's index, a port). `identity` is equal for the same device in the stored
    and the live definition. `alias` is libvirt's name for it, in a live definition.
    """

    kind: str
    type: str = ""
    model: str = ""
    bus: str = ""
    target: str = ""
    identity: str = ""
    alias: str = ""

    def __str__(self) -> str:
        named = {"type": self.type, "model": self.model, "bus": self.bus, "target": self.target}
        return f"<{self.kind}>" + "".join(f" {key} {value}" for key, value in named.items() if value)


@dataclass(frozen=True)
class Nic(Device):
    """A network interface. `model` is "" where the definition names none; `source` the network, bridge or device."""

    mac: str = ""
    source: str = ""
    rom_file: str = ""
    rom_off: bool = False
    boot_order: int = 0


@dataclass(frozen=True)
class Disk(Device):
    """A disk. `type` is file, block, network, ...; `device` disk, cdrom, floppy or lun; `format` the driver's type
    (qcow2, raw, ...), "" where none is named; `source` a path, or pool/volume, or protocol:name.

    `backing_formats` are those of the backing files the definition names.
    """

    device: str = "disk"
    format: str = ""
    source: str = ""
    readonly: bool = False
    shareable: bool = False
    boot_order: int = 0
    backing_formats: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cpu:
    """The guest's processor. `mode` is custom, host-model, host-passthrough, maximum or "" (none given).

    `features` are (name, policy) as written; an absent policy is "require", libvirt's default.
    """

    mode: str = ""
    match: str = ""
    check: str = ""
    model: str = ""
    vendor: str = ""
    migratable: str = ""
    features: tuple[tuple[str, str], ...] = ()

    def policy(self, feature: str) -> str:
        """force, require, optional, disable, forbid, or "" for a feature that is not named."""
        return next((policy for name, policy in self.features if name == feature), "")


@dataclass(frozen=True)
class Domain:
    """One definition. `type` is the hypervisor (kvm, qemu, xen, lxc, ...), `arch` and `machine` are "" where not given.

    `os_id` is libosinfo's identifier (http://microsoft.com/win/7) from the metadata, or "". `devices` are all but
    NICs and disks. `vmport` is the state of features/vmport. `clock_offset` and `timers` (name, what it says) are
    those of <clock>. `agent` says whether there is a channel for the QEMU guest agent. `qemu_arguments` are those
    that qemu:commandline passes on. `source` says where this was read: a path, or a libvirt URI.
    """

    name: str
    uuid: str
    type: str
    source: str = ""
    title: str = ""
    arch: str = ""
    machine: str = ""
    os_type: str = ""
    os_id: str = ""
    emulator: str = ""
    memory_bytes: int = 0
    vcpus: int = 0
    boot: tuple[str, ...] = ()
    cpu: Cpu = Cpu()
    features: tuple[str, ...] = ()
    vmport: str = ""
    nosharepages: bool = False
    clock_offset: str = ""
    timers: tuple[tuple[str, str], ...] = ()
    nics: tuple[Nic, ...] = ()
    disks: tuple[Disk, ...] = ()
    devices: tuple[Device, ...] = ()
    agent: bool = False
    qemu_arguments: tuple[str, ...] = ()
    _xml: bytes = b""

    @property
    def qemu(self) -> bool:
        """Whether QEMU runs it, with or without KVM."""
        return self.type in ("kvm", "qemu", "kqemu", "hvf")

    @property
    def all_devices(self) -> tuple[Device, ...]:
        return (*self.nics, *self.disks, *self.devices)


def domain_of(root: Element, source: str, data: bytes = b"") -> Domain:
    """The definition in a <domain> or in the <domain> of a <domstatus>.  Raises BadXml where there is none."""
    element = root if root.tag == "domain" else root.find("domain") if root.tag == "domstatus" else None
    if element is None:
        raise BadXml(1, f"not a domain: the document is a <{root.tag[:40]}>")
    name = _text(element, "name")
    if not name:
        raise BadXml(1, "a domain without a name")
    os = element.find("os")
    kind = os.find("type") if os is not None else None
    devices = element.find("devices")
    features = element.find("features")
    clock = element.find("clock")
    nics: list[Nic] = []
    disks: list[Disk] = []
    others: list[Device] = []
    emulator = ""
    for child in devices if devices is not None else ():
        if child.tag == "interface":
            nics.append(_nic(child))
        elif child.tag == "disk":
            disks.append(_disk(child))
        elif child.tag == "emulator":
            emulator = (child.text or "").strip()
        else:
            others.append(_device(child))
    return Domain(
        name=name,
        uuid=_text(element, "uuid").lower(),
        type=element.get("type", ""),
        source=source,
        title=_text(element, "title"),
        arch=kind.get("arch", "") if kind is not None else "",
        machine=kind.get("machine", "") if kind is not None else "",
        os_type=(kind.text or "").strip() if kind is not None else "",
        os_id=_os_id(element),
        emulator=emulator,
        memory_bytes=_size(element.find("memory")),
        vcpus=_number(_text(element, "vcpu")),
        boot=tuple(boot.get("dev", "") for boot in os.findall("boot")) if os is not None else (),
        cpu=_cpu(element.find("cpu")),
        features=tuple(child.tag for child in features) if features is not None else (),
        vmport=_attribute(features, "vmport", "state"),
        nosharepages=element.find("memoryBacking/nosharepages") is not None,
        clock_offset=clock.get("offset", "") if clock is not None else "",
        timers=tuple((t.get("name", ""), t.get("present", "yes")) for t in clock.findall("timer"))
        if clock is not None
        else (),
        nics=tuple(nics),
        disks=tuple(disks),
        devices=tuple(others),
        agent=any(d.kind == "channel" and d.target == "org.qemu.guest_agent.0" for d in others),
        qemu_arguments=tuple(arg.get("value", "") for arg in element.findall(f"{_QEMU}commandline/{_QEMU}arg")),
        _xml=data,
    )


def _text(element: Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _attribute(element: Element | None, path: str, name: str) -> str:
    found = element.find(path) if element is not None else None
    return found.get(name, "") if found is not None else ""


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0


def _size(element: Element | None) -> int:
    """Bytes of a <memory unit=...>; KiB where no unit is given, as libvirt has it."""
    if element is None:
        return 0
    return _number((element.text or "").strip()) * _UNITS.get(element.get("unit", "KiB").lower(), 0)


def _os_id(element: Element) -> str:
    metadata = element.find("metadata")
    if metadata is None:
        return ""
    return _attribute(metadata, f"{_OSINFO}libosinfo/{_OSINFO}os", "id")


def _cpu(element: Element | None) -> Cpu:
    if element is None:
        return Cpu()
    model = element.find("model")
    named = model is not None and (model.text or "").strip()
    return Cpu(
        # a <cpu> with a model and no mode is mode='custom'; that was all there was before libvirt 0.9.10
        mode=element.get("mode", "custom" if named else ""),
        match=element.get("match", ""),
        check=element.get("check", ""),
        model=named or "",
        vendor=_text(element, "vendor"),
        migratable=element.get("migratable", ""),
        features=tuple((f.get("name", ""), f.get("policy", "require")) for f in element.findall("feature")),
    )


def _nic(element: Element) -> Nic:
    source = element.find("source")
    where = ""
    if source is not None:
        where = next(
            (source.get(k, "") for k in ("network", "bridge", "dev", "portgroup", "name", "path") if source.get(k)), ""
        )
    mac = _attribute(element, "mac", "address").lower()
    rom = element.find("rom")
    return Nic(
        kind="interface",
        type=element.get("type", ""),
        model=_attribute(element, "model", "type"),
        target=_attribute(element, "target", "dev"),
        identity=f"interface {mac}",
        alias=_attribute(element, "alias", "name"),
        mac=mac,
        source=where,
        rom_file=rom.get("file", "") if rom is not None else "",
        rom_off=rom is not None and (rom.get("enabled") == "no" or (rom.get("bar") == "off" and not rom.get("file"))),
        boot_order=_number(_attribute(element, "boot", "order")),
    )


def _disk(element: Element) -> Disk:
    source = element.find("source")
    where = ""
    if source is not None:
        where = source.get("file") or source.get("dev") or source.get("dir") or ""
        if source.get("pool"):
            where = f"{source.get('pool')}/{source.get('volume', '')}"
        elif source.get("protocol"):
            where = f"{source.get('protocol')}:{source.get('name', '')}"
    backing = []
    below = element.find("backingStore")
    while below is not None:
        found = _attribute(below, "format", "type")
        if found:
            backing.append(found)
        below = below.find("backingStore")
    target = element.find("target")
    name = target.get("dev", "") if target is not None else ""
    return Disk(
        kind="disk",
        type=element.get("type", ""),
        bus=(target.get("bus", "") if target is not None else "") or _bus_of(name),
        target=name,
        identity=f"disk {name}",
        alias=_attribute(element, "alias", "name"),
        device=element.get("device", "disk"),
        format=_attribute(element, "driver", "type"),
        source=where,
        readonly=element.find("readonly") is not None,
        shareable=element.find("shareable") is not None,
        boot_order=_number(_attribute(element, "boot", "order")),
        backing_formats=tuple(backing),
    )


def _bus_of(target: str) -> str:
    """The bus of a disk that names none: libvirt tells it by the target's prefix (virDomainDiskDefParseXML)."""
    for prefix, bus in (("hd", "ide"), ("sd", "scsi"), ("vd", "virtio"), ("xvd", "xen"), ("ubd", "uml"), ("fd", "fdc")):
        if target.startswith(prefix):
            return bus
    return ""


def _device(element: Element) -> Device:
    """Any other device: what its own attributes, its <model>, <target> and <source> say."""
    kind = element.tag
    target = element.find("target")
    model = element.get("model", "")
    found = element.find("model")
    if not model and found is not None:
        model = found.get("type") or found.get("name") or (found.text or "").strip()
    name = ""
    if target is not None:
        name = target.get("name") or target.get("dir") or target.get("port") or target.get("type") or ""
    bus = element.get("bus", "")
    if not bus and target is not None and kind in ("serial", "channel", "console", "parallel"):
        bus = (target.get("type") or "").replace("-serial", "")  # usb-serial, pci-serial, isa-serial since libvirt 4.0
    type_ = element.get("type", "")
    if kind == "controller":
        name = element.get("index", "")
    elif kind == "hostdev":
        name = _host_device(element)
    elif kind == "shmem":
        name = element.get("name", "")
    # by what a running guest's definition says in the same words as the stored one: its sources, paths and
    # addresses are filled in at the start
    identity = f"{kind} {model if kind in _BY_MODEL else type_} {bus} {name}"
    return Device(kind, type_, model, bus, name, identity, _attribute(element, "alias", "name"))


#: Devices that are told apart by their model; those alike are counted.
_BY_MODEL = {"sound", "watchdog", "rng", "memory", "shmem", "video", "memballoon"}


def _host_device(element: Element) -> str:
    """What device of the host it is: vendor and product, or its address, as the definition names it."""
    source = element.find("source")
    if source is None:
        return ""
    product = [f"{c.tag} {c.get('id')}" for c in source if c.tag in ("vendor", "product")]
    if product:  # a running guest's also has the address at which it was found
        return " ".join(product)
    return " ".join(f"{c.tag} " + " ".join(f"{k}={v}" for k, v in sorted(c.attrib.items())) for c in source)


__all__ = ["Cpu", "Device", "Disk", "Domain", "Nic", "domain_of"]
