"""Two hosts compared by their facts: would the guests of each migrate to the other?  Pure: facts as JSON has them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hostward.config import CLOCK_USES
from hostward.model import Severity
from hostward.versions import rpmvercmp

#: The facts that are looked at.
FACTS = (
    *("OperatingSystem", "RunningKernel", "CpuVirtualization", "Hypervisor", "Guests"),
    *("KeeperStates", "KernelClock"),
)
_MODULE_OPTIONS_THAT_DIFFER_MAY = ("kvm.halt_poll", "kvm.nx_huge_pages_recovery", "kvm.lapic_timer_advance")


@dataclass(frozen=True)
class Row:
    """One property of both hosts. `same` is None where one of them does not tell."""

    what: str
    a: str
    b: str
    same: bool | None


@dataclass(frozen=True)
class Reason:
    severity: Severity
    text: str


@dataclass(frozen=True)
class Move:
    """A guest that would be migrated from one host to the other (`to` is "a" or "b"). `reasons` speak against it;
    `unknown` are what can't be told."""

    guest: str
    to: str
    running: bool
    reasons: tuple[Reason, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """ "no", "unknown", "with care" or "yes"."""
        worst = max((reason.severity for reason in self.reasons), default=Severity.INFO)
        if worst is Severity.ERROR:
            return "no"
        return "unknown" if self.unknown else "with care" if worst is Severity.WARNING else "yes"


@dataclass(frozen=True)
class Comparison:
    rows: tuple[Row, ...]
    notes: tuple[Reason, ...]
    moves: tuple[Move, ...]
    unknown: tuple[str, ...] = ()

    @property
    def status(self) -> int:
        """The exit status: 2 a guest would not migrate, 3 could not tell, 1 with care, 0 all would."""
        verdicts = {move.verdict for move in self.moves}
        if "no" in verdicts or any(note.severity is Severity.ERROR for note in self.notes):
            return 2
        if "unknown" in verdicts or self.unknown:
            return 3
        return 1 if "with care" in verdicts or any(note.severity is Severity.WARNING for note in self.notes) else 0


class Side:
    """One host's facts; what is lacking is empty, and `lacks` says why."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts = facts
        self.system = self.fact("OperatingSystem")
        self.cpu = self.fact("CpuVirtualization")
        self.hypervisor = self.fact("Hypervisor")
        self.flags = frozenset(_strings(self.cpu.get("flags")))
        self.machines = frozenset(_strings(self.hypervisor.get("machines")))

    def fact(self, name: str) -> dict[str, Any]:
        value = self.facts.get(name)
        return {} if not isinstance(value, dict) or "unavailable" in value else value

    def lacks(self, name: str) -> str:
        value = self.facts.get(name)
        if isinstance(value, dict):
            return str(value.get("unavailable") or value.get("problem") or "")
        return "not in its file"

    def text(self, fact: str, key: str) -> str:
        return str(self.fact(fact).get(key) or "")

    def features(self, kind: str) -> frozenset[str]:
        """What a guest's processor can be given here, with KVM ("kvm") or emulated ("qemu")."""
        found = self.hypervisor.get("features")
        return frozenset(_strings(found.get(kind))) if isinstance(found, dict) else frozenset()

    def model(self, kind: str) -> str:
        found = self.hypervisor.get("cpu_models")
        return str(found.get(kind) or "") if isinstance(found, dict) else ""

    @property
    def guests(self) -> list[dict[str, Any]]:
        return _mappings(self.fact("Guests").get("guests"))

    def guest_features(self, guest: dict[str, Any]) -> frozenset[str]:
        """Every feature of a guest's processor, empty where this host could not tell."""
        for cpu in _mappings(self.hypervisor.get("guests")):
            if cpu.get("uuid") == guest.get("uuid"):
                return frozenset(_strings(cpu.get("features")))
        return frozenset()


def compare(a: dict[str, Any], b: dict[str, Any]) -> Comparison:
    """Compares the "facts" of two documents of `hostward facts --format json`."""
    here, there = Side(a), Side(b)
    moves = [_move(guest, here, there, "b") for guest in here.guests]
    moves += [_move(guest, there, here, "a") for guest in there.guests]
    unknown = [
        f"{side}: {fact}: {lack}"
        for side, host in (("a", here), ("b", there))
        for fact in ("CpuVirtualization", "Hypervisor")
        for lack in [host.lacks(fact)]
        if lack
    ]
    return Comparison(tuple(_rows(here, there)), tuple(_notes(here, there)), tuple(moves), tuple(unknown))


def _rows(a: Side, b: Side) -> Iterator[Row]:
    def row(what: str, one: str, two: str) -> Row:
        return Row(what, one, two, None if not one or not two else one == two)

    yield row("system", a.text("OperatingSystem", "name"), b.text("OperatingSystem", "name"))
    yield row("kernel", a.text("RunningKernel", "release"), b.text("RunningKernel", "release"))
    yield row("libvirt", a.text("Hypervisor", "libvirt"), b.text("Hypervisor", "libvirt"))
    yield row("QEMU", a.text("Hypervisor", "qemu"), b.text("Hypervisor", "qemu"))
    yield row("KVM", *(_yes(side.hypervisor.get("kvm")) for side in (a, b)))
    yield row("architecture", a.text("CpuVirtualization", "architecture"), b.text("CpuVirtualization", "architecture"))
    yield row("processor", a.text("CpuVirtualization", "vendor"), b.text("CpuVirtualization", "vendor"))
    yield row("NX", *(_yes("nx" in side.flags if side.flags else None) for side in (a, b)))
    kind = "kvm" if a.features("kvm") or b.features("kvm") else "qemu"
    yield row("guests' CPU model", a.model(kind), b.model(kind))
    for what, mine, theirs in (
        ("features", a.features(kind), b.features(kind)),
        ("cpuinfo flags", a.flags, b.flags),
        ("machine types", a.machines, b.machines),
    ):
        if not mine or not theirs:
            yield Row(what, _count(mine), _count(theirs), None)
        else:
            yield Row(what, _more(mine - theirs), _more(theirs - mine), mine == theirs)
    yield row("clock", _clock(a)[1], _clock(b)[1])
    options = [_mapping(side.hypervisor.get("options")) for side in (a, b)]
    for name in sorted({*options[0], *options[1]}):
        one, two = (str(o.get(name, "")) for o in options)
        if one != two and not name.startswith(_MODULE_OPTIONS_THAT_DIFFER_MAY):
            yield Row(name, one or "not there", two or "not there", False)
    formats = [sorted({disk for guest in side.guests for disk in _formats(guest)}) for side in (a, b)]
    if any(formats):
        words = [" ".join(found) or "none" for found in formats]
        yield Row("disk formats", words[0], words[1], formats[0] == formats[1])


def _notes(a: Side, b: Side) -> Iterator[Reason]:
    """What concerns every guest."""
    if a.flags and b.flags and ("nx" in a.flags) != ("nx" in b.flags):
        lacking = "a" if "nx" not in a.flags else "b"
        yield Reason(
            Severity.ERROR,
            f"NX is off on {lacking} and on at the other: a guest that is migrated may crash (BZ#516029); "
            "switch it on in the firmware's setup",
        )
    offsets = [_clock(side) for side in (a, b)]
    if offsets[0][0] is not None and offsets[1][0] is not None:
        apart = abs(offsets[0][0] - offsets[1][0])
        limit = CLOCK_USES["live-migration"]
        if apart > limit:
            yield Reason(
                Severity.WARNING, f"the clocks are {apart:.3f} s apart: a guest's clock jumps by that ({limit:g} s)"
            )
    for name, (offset, said) in zip("ab", offsets):
        if offset is None and said:
            yield Reason(
                Severity.WARNING, f"nothing is known to keep the clock of {name} ({said}): guests may see it jump"
            )
    nested = [_mapping(side.hypervisor.get("options")) for side in (a, b)]
    for module in ("kvm_intel.nested", "kvm_amd.nested"):
        values = [_on(o.get(module)) for o in nested]
        if None not in values and values[0] != values[1]:
            yield Reason(Severity.WARNING, f"{module} is on at one host only: guests that run guests can't move")


def _move(guest: dict[str, Any], source: Side, target: Side, to: str) -> Move:
    reasons: list[Reason] = []
    unknown: list[str] = []
    running = bool(guest.get("running"))
    domain = guest.get("live") or guest.get("stored")
    name = str(guest.get("name"))
    if not isinstance(domain, dict):
        return Move(name, to, running, (), ("libvirt does not know it; only its command line is seen",))
    for found in (
        *_machine(domain, target),
        *_cpu(guest, domain, source, target),
        *_devices(domain, running),
        *_versions(source, target),
        *_storage(domain, target),
    ):
        if isinstance(found, Reason):
            reasons.append(found)
        else:
            unknown.append(found)
    return Move(name, to, running, tuple(reasons), tuple(unknown))


def _machine(domain: dict[str, Any], target: Side) -> Iterator[Reason | str]:
    arch, machine = str(domain.get("arch") or ""), str(domain.get("machine") or "")
    there = str(target.hypervisor.get("architecture") or target.cpu.get("architecture") or "")
    if arch and there and arch != there and {arch, there} != {"i686", "x86_64"}:
        if domain.get("type") == "kvm":
            yield Reason(Severity.ERROR, f"it is for {arch}; the other host's processor is {there}")
        else:
            yield f"whether the other host emulates {arch} is not in its facts"
        return
    if domain.get("type") == "kvm" and target.hypervisor and not target.hypervisor.get("kvm"):
        yield Reason(Severity.ERROR, "it runs with KVM, which the other host has not (/dev/kvm)")
    if machine and not target.machines:
        yield "the other host's machine types are not known"
    elif machine and machine not in target.machines:
        yield Reason(Severity.ERROR, f"machine type {machine}: the other host's QEMU has none of that name")


def _cpu(guest: dict[str, Any], domain: dict[str, Any], source: Side, target: Side) -> Iterator[Reason | str]:
    cpu = _mapping(domain.get("cpu"))
    mode = str(cpu.get("mode") or "")
    asked = [tuple(_strings(f)) for f in _items(cpu.get("features")) if isinstance(f, list)]
    named = {f[0] for f in asked if len(f) == 2 and f[1] in ("require", "force")}
    off = {f[0] for f in asked if len(f) == 2 and f[1] in ("disable", "forbid")}
    if mode in ("host-passthrough", "maximum"):
        if not source.flags or not target.flags:
            yield f"its processor is {mode}, and one of the hosts does not tell its own"
            return
        lost, gained = source.flags - target.flags - off, target.flags - source.flags
        if lost:
            yield Reason(Severity.ERROR, f"its processor is {mode}, and the other host's lacks {_list(lost)}")
        elif gained or source.cpu.get("vendor") != target.cpu.get("vendor"):
            yield Reason(Severity.WARNING, f"its processor is {mode}, and the other host's is another one")
        return
    has = (source.guest_features(guest) | named) - off
    offered = target.features(str(domain.get("type") or ""))
    if not offered:
        if has or mode:
            yield "what the other host's processor can give a guest is not known"
        return
    lost = has - offered
    if lost:
        what = f"its processor ({cpu.get('model') or mode or 'the default'}) has {_list(lost)}"
        yield Reason(
            Severity.ERROR, f"{what}, which the other host can't give it" + (" (BZ#516029)" if "nx" in lost else "")
        )
    if mode == "custom" and not source.guest_features(guest):
        yield f"which features its CPU model {cpu.get('model')} has could not be told"


def _devices(domain: dict[str, Any], running: bool) -> Iterator[Reason]:
    passed = [d for d in _mappings(domain.get("devices")) if d.get("kind") == "hostdev"]
    passed += [d for d in _mappings(domain.get("nics")) if d.get("type") == "hostdev"]
    if passed and running:
        yield Reason(
            Severity.ERROR, f"{len(passed)} devices of its host are passed to it: it can't leave while it runs"
        )


def _versions(source: Side, target: Side) -> Iterator[Reason]:
    for what, key in (("QEMU", "qemu"), ("libvirt", "libvirt")):
        old, new = source.text("Hypervisor", key), target.text("Hypervisor", key)
        if old and new and rpmvercmp(new, old) < 0:
            yield Reason(Severity.WARNING, f"the other host's {what} {new} is older than {old}, which it runs with")


def _storage(domain: dict[str, Any], target: Side) -> Iterator[Reason]:
    for disk in _mappings(domain.get("disks")):
        if not disk.get("source"):
            continue
        if disk.get("type") in ("file", "block", "dir") and disk.get("device") in ("disk", "lun"):
            yield Reason(
                Severity.INFO,
                f"disk {disk.get('target')} is {disk.get('source')}: the other host must see it, or it is copied too",
            )
        old = re.match(r"5(\.|$)", target.text("OperatingSystem", "version"))
        if disk.get("format") == "qcow2" and target.text("OperatingSystem", "id") == "rhel" and old:
            yield Reason(Severity.WARNING, f"disk {disk.get('target')} is qcow2, a preview there (BZ#517880)")


def _clock(side: Side) -> tuple[float | None, str]:
    """(this host's clock minus the true time in s, in words); None where nothing keeps it."""
    for state in _mappings(side.fact("KeeperStates").get("states")):
        if state.get("synchronised"):
            offset = state.get("offset_s")
            if isinstance(offset, (int, float)):
                return float(offset), f"{offset:+.6f} s by {state.get('keeper')}"
            return 0.0, f"kept by {state.get('keeper')}"
    kernel = side.fact("KernelClock")
    if not kernel and not side.fact("KeeperStates"):
        return None, ""
    if kernel.get("synchronised"):
        return 0.0, "the kernel says that it is kept"
    return None, "not kept"


def _formats(guest: dict[str, Any]) -> Iterator[str]:
    for which in ("stored", "live"):
        for disk in _mappings(_mapping(guest.get(which)).get("disks")):
            if disk.get("format") and disk.get("source"):
                yield str(disk["format"])


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _mappings(value: Any) -> list[dict[str, Any]]:
    return [item for item in _items(value) if isinstance(item, dict)]


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _strings(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _yes(value: Any) -> str:
    return "" if value is None else "yes" if value else "no"


def _on(value: Any) -> bool | None:
    return None if value is None else str(value) in ("1", "Y", "y")


def _count(found: frozenset[str]) -> str:
    return f"{len(found)} known" if found else ""


def _more(found: frozenset[str]) -> str:
    return f"+ {_list(found)}" if found else "nothing more"


def _list(found: frozenset[str] | set[str]) -> str:
    names = sorted(found)
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


__all__ = ["FACTS", "Comparison", "Move", "Reason", "Row", "compare"]
