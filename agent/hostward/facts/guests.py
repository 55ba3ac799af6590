"""The guests of this host: from libvirt where it answers, else from its files; and every QEMU that runs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hostward.facts import fact
from hostward.facts.domain import Domain, domain_of
from hostward.facts.domain_xml import BYTES_MAX, BadXml, parse
from hostward.facts.qemu_command import QemuCommand, is_qemu, parse_command
from hostward.host import Host, HostError, Missing
from hostward.model import NotApplicable

#: libvirt's drivers that keep domains, by the name of their directories, and the URI that asks each.
DRIVERS = {
    "qemu": "qemu:///system",
    "libxl": "xen:///system",
    "lxc": "lxc:///system",
    "ch": "ch:///system",
    "bhyve": "bhyve:///system",
}
#: One of these is there where something listens: the daemon for all drivers, or one for each since libvirt 5.6.
SOCKETS = {"qemu": "virtqemud", "libxl": "virtxend", "lxc": "virtlxcd", "ch": "virtchd", "bhyve": "virtbhyved"}
GUESTS_MAX = 10_000
XML_BYTES_MAX = 256 << 20  # of all definitions together
COMMAND_BYTES_MAX = 1 << 20


@dataclass(frozen=True)
class Guest:
    """A guest. `stored` is what its next start uses (None for a transient one), `live` what runs now (None when it
    does not run). A guest that libvirt does not know has neither, and its `command`.

    `uri` is the libvirt driver it belongs to, "" for none. `pid` is its QEMU's process, 0 where that is not known.
    """

    name: str
    uuid: str
    uri: str = ""
    running: bool = False
    pid: int = 0
    autostart: bool = False
    stored: Domain | None = None
    live: Domain | None = None
    command: QemuCommand | None = None

    @property
    def definitions(self) -> tuple[Domain, ...]:
        """The definitions there are, the stored one first."""
        return tuple(d for d in (self.stored, self.live) if d is not None)


@dataclass(frozen=True)
class Guests:
    """`sources` are what was asked (libvirt URIs, directories, /proc). `problems` are what could not be read, each with
    its place: guests may be missing for it. `notes` say why something else was asked instead; nothing is missing.
    """

    guests: tuple[Guest, ...] = ()
    sources: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def unread(self) -> str:
        """What could not be read, in a line; "" when everything was."""
        more = f" and {len(self.problems) - 3} more" if len(self.problems) > 3 else ""
        return "; ".join(self.problems[:3]) + more

    def get(self, name: str) -> Guest | None:
        """The first guest of that name."""
        return next((guest for guest in self.guests if guest.name == name), None)


class _Reader:
    """Turns XML into definitions and keeps count of what could not be."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.left = XML_BYTES_MAX
        self.problems: list[str] = []

    def definition(self, data: bytes, source: str) -> tuple[Domain | None, int]:
        """(the definition, the process that a status document names), (None, 0) for one that can't be used."""
        if len(data) > self.left:
            if self.left >= 0:
                self.problems.append(f"{source}: more than {XML_BYTES_MAX >> 20} MiB of definitions; no more are read")
            self.left = -1
            return None, 0
        self.left -= len(data)
        try:
            root = parse(data)
            pid = root.get("pid", "") if root.tag == "domstatus" else ""
            return domain_of(root, source, data), int(pid) if pid.isascii() and pid.isdigit() and len(pid) < 10 else 0
        except BadXml as error:
            self.problems.append(f"{source}: {error}")
            return None, 0

    def file(self, path: str) -> tuple[Domain | None, int]:
        try:
            return self.definition(self.host.read(path, BYTES_MAX), path)
        except Missing:
            return None, 0  # undefined, or stopped, since the directory was read
        except HostError as error:
            self.problems.append(str(error))
            return None, 0

    def names(self, directory: str) -> list[str]:
        """The names of the definitions in a directory, without .xml; none where there is no such directory."""
        try:
            names = [name[:-4] for name in self.host.names(directory) if name.endswith(".xml")]
        except Missing:
            return []
        except HostError as error:
            self.problems.append(str(error))
            return []
        if len(names) > GUESTS_MAX:
            self.problems.append(f"{directory}: only the first {GUESTS_MAX} of {len(names)} definitions were read")
        return names[:GUESTS_MAX]


@fact
def guests(host: Host) -> Guests:
    """Raises NotApplicable where no guest is defined and none runs.

    Of a tree only the stored definitions count: what its /run says ran is long gone.
    """
    reader = _Reader(host)
    found: list[Guest] = []
    sources: list[str] = []
    notes: list[str] = []
    for driver, uri in DRIVERS.items():
        stored = f"/etc/libvirt/{driver}"
        if host.live and listens(host, driver):
            try:
                found += _from_libvirt(reader, uri, host.program_timeout_s)
                sources.append(uri)
                continue
            except HostError as error:
                notes.append(f"{error}; its files were read instead")
        if host.is_dir(stored) or (host.live and host.is_dir(f"/run/libvirt/{driver}")):
            found += _from_files(reader, driver, uri)
            sources.append(stored)
    if host.live:
        found = _with_processes(found, _processes(host))
        sources.append("/proc")
    if not found and not reader.problems:
        raise NotApplicable("no guest is defined or running on this host")
    found.sort(key=lambda guest: (guest.uri, guest.name, guest.pid))
    return Guests(tuple(found), tuple(sources), tuple(reader.problems), tuple(notes))


def listens(host: Host, driver: str) -> bool:
    """Whether a daemon's socket is there that answers for this driver, and the driver has ever been used."""
    if host.exists(f"/run/libvirt/{SOCKETS[driver]}-sock-ro"):
        return True
    return host.exists("/run/libvirt/libvirt-sock-ro") and (driver == "qemu" or host.is_dir(f"/etc/libvirt/{driver}"))


def _from_libvirt(reader: _Reader, uri: str, timeout_s: float) -> list[Guest]:
    from hostward.host import libvirt

    found = []
    for domain in libvirt.domains(uri, timeout_s):
        where = f"{uri} {domain.name}"
        stored = reader.definition(domain.stored, where)[0] if domain.stored is not None else None
        live = reader.definition(domain.live, f"{where} (running)")[0] if domain.live is not None else None
        if stored is not None or live is not None:
            found.append(Guest(domain.name, domain.uuid, uri, domain.running, 0, domain.autostart, stored, live))
    return found


def _from_files(reader: _Reader, driver: str, uri: str) -> list[Guest]:
    """Stored definitions of /etc/libvirt/DRIVER, and the status documents of /run/libvirt/DRIVER where it is live."""
    host = reader.host
    directory, state = f"/etc/libvirt/{driver}", f"/run/libvirt/{driver}"
    found: dict[str, Guest] = {}
    for name in reader.names(directory):
        stored, _ = reader.file(f"{directory}/{name}.xml")
        if stored is not None:
            autostart = host.is_link(f"{directory}/autostart/{name}.xml")
            found[name] = Guest(stored.name, stored.uuid, uri, autostart=autostart, stored=stored)
    for name in reader.names(state) if host.live else []:
        live, pid = reader.file(f"{state}/{name}.xml")
        if live is None or (pid and not host.exists(f"/proc/{pid}")):
            continue  # left behind by a daemon that was killed
        known = found.get(name) or Guest(live.name, live.uuid, uri)
        found[name] = replace(known, running=True, pid=pid, live=live)
    return list(found.values())


def _processes(host: Host) -> list[QemuCommand]:
    """Every QEMU that runs a machine; those of other containers' too, where this one sees them."""
    found = []
    try:
        pids = [name for name in host.names("/proc") if name.isascii() and name.isdigit()]
    except HostError:
        return []
    for pid in pids:
        try:
            data = host.read(f"/proc/{pid}/cmdline", COMMAND_BYTES_MAX)
        except HostError:
            continue
        argv = data.decode("utf-8", "surrogateescape").rstrip("\0").split("\0")
        if is_qemu(argv):
            found.append(parse_command(argv, int(pid)))
        if len(found) >= GUESTS_MAX:
            break
    return found


def _with_processes(found: list[Guest], processes: list[QemuCommand]) -> list[Guest]:
    """The guests with their processes: by pid, else by UUID; a process of no guest's is a guest of its own."""
    by_pid = {guest.pid: at for at, guest in enumerate(found) if guest.pid}
    by_uuid = {guest.uuid: at for at, guest in enumerate(found) if guest.running and guest.uuid}
    for command in processes:
        at = by_pid.get(command.pid, by_uuid.get(command.uuid, -1))
        if at >= 0:
            found[at] = replace(found[at], pid=command.pid, command=command)
        else:
            name = command.name or f"{command.program.rpartition('/')[2]} process {command.pid}"
            found.append(Guest(name, command.uuid, "", True, command.pid, command=command))
    return found


__all__ = ["Guest", "Guests"]
