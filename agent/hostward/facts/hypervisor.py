"""What this host can run guests with: versions, machine types, the processor's features, KVM's options."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

from hostward.facts import fact
from hostward.facts.domain import Cpu
from hostward.facts.domain_xml import BadXml, parse
from hostward.facts.guests import Guests, listens
from hostward.host import Host, HostError
from hostward.model import NotApplicable, Unavailable

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

URI = "qemu:///system"
_MODULES = ("kvm", "kvm_intel", "kvm_amd")


@dataclass(frozen=True)
class GuestCpu:
    """Every feature of a guest's processor, its model's included."""

    guest: str
    uuid: str
    features: tuple[str, ...]


@dataclass(frozen=True)
class Hypervisor:
    """`libvirt` and `qemu` are versions such as "9.0.0". `machines` are the machine types, canonical names and aliases;
    `features` all that a guest's processor can be given here, by virtualization type (kvm, qemu: emulated), and
    `cpu_models` what its model is called; `guests` are the features of the guests' processors.

    All of these come from libvirt: `problem` says why they are lacking. `options` are KVM's modules' parameters as they
    are now, "MODULE.NAME" to value.
    """

    kvm: bool
    libvirt: str = ""
    qemu: str = ""
    architecture: str = ""
    cpu_models: dict[str, str] = field(default_factory=dict)
    features: dict[str, tuple[str, ...]] = field(default_factory=dict)
    machines: tuple[str, ...] = ()
    guests: tuple[GuestCpu, ...] = ()
    options: dict[str, str] = field(default_factory=dict)
    problem: str = ""


@fact
def hypervisor(host: Host, guests: Guests | Unavailable) -> Hypervisor:
    """Raises NotApplicable under a root: what a tree could run depends on the machine it will run on."""
    if not host.live:
        raise NotApplicable("this tree is not running, so it can run no guests")
    kvm = host.exists("/dev/kvm")
    options = _options(host)
    if not listens(host, "qemu"):
        return Hypervisor(kvm, options=options, problem="libvirt's daemon for QEMU does not run")
    from hostward.host import libvirt

    try:
        told = libvirt.capabilities(URI, host.program_timeout_s)
        known = () if isinstance(guests, Unavailable) else _guest_cpus(host, guests)
        capabilities = parse(told.host)
        models = {kind: parse(model) for kind, model in told.host_models.items()}
    except (HostError, BadXml) as error:
        return Hypervisor(kvm, options=options, problem=str(error))
    architecture = capabilities.findtext("host/cpu/arch") or ""
    return Hypervisor(
        kvm,
        told.libvirt,
        told.hypervisor,
        architecture,
        {kind: model.findtext("model") or "" for kind, model in models.items()},
        {kind: features_of(model) for kind, model in models.items()},
        _machines(capabilities, architecture),
        known,
        options,
        "" if models else "libvirt can't tell what processor it could give a guest",
    )


def features_of(cpu: Element) -> tuple[str, ...]:
    """The features of an expanded <cpu>, sorted."""
    off = ("disable", "forbid")
    return tuple(sorted(f.get("name", "") for f in cpu.findall("feature") if f.get("policy") not in off))


def _machines(capabilities: Element, architecture: str) -> tuple[str, ...]:
    found = set()
    for arch in capabilities.findall("guest/arch"):
        if arch.get("name") == architecture:
            for machine in arch.iter("machine"):
                found |= {(machine.text or "").strip(), machine.get("canonical", "")}
    return tuple(sorted(found - {""}))


def _guest_cpus(host: Host, guests: Guests) -> tuple[GuestCpu, ...]:
    """Guests with the same processor are asked about once.  Raises HostError, BadXml."""
    from hostward.host import libvirt

    wanted: dict[tuple[str, bytes], list[tuple[str, str]]] = {}
    for guest in guests.guests:
        domain = guest.live or guest.stored
        if guest.uri == URI and domain is not None and domain.cpu.model and domain.type in ("kvm", "qemu"):
            wanted.setdefault((domain.type, _document(domain.cpu)), []).append((guest.name, guest.uuid))
    if not wanted:
        return ()
    found = []
    for cpu, said in libvirt.expanded(URI, wanted, host.program_timeout_s).items():
        if said:
            features = features_of(parse(said))
            found += [GuestCpu(name, uuid, features) for name, uuid in wanted[cpu]]
    return tuple(found)


def _document(cpu: Cpu) -> bytes:
    off = {"disable": "disable", "forbid": "disable"}
    features = "".join(
        f"<feature policy='{off.get(policy, 'require')}' name={quoteattr(name)}/>" for name, policy in cpu.features
    )
    model = quoteattr(cpu.model)[1:-1]
    return f"<cpu mode='custom' match='exact'><model fallback='forbid'>{model}</model>{features}</cpu>".encode()


def _options(host: Host) -> dict[str, str]:
    options = {}
    for module in _MODULES:
        directory = f"/sys/module/{module}/parameters"
        try:
            names = host.names(directory)
        except HostError:
            continue
        for name in names:
            try:
                options[f"{module}.{name}"] = host.text(f"{directory}/{name}", 4096).strip()
            except HostError:
                continue
    return options


__all__ = ["GuestCpu", "Hypervisor"]
