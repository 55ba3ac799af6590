"""The one door to libvirt: each question has a connection of its own and at most so long.

Facts ask through a read-only connection where libvirt lets them: a guest's clock, a definition with its passwords, and
what a driver can run are refused there (CVE-2019-3886, CVE-2019-10167, CVE-2019-10168). The calls block in C, so they
are made in a thread that is left behind if they hang.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from hostward.host.errors import HostError

T = TypeVar("T")

TIMEOUT_S = 10.0
#: Guests asked for their time at once: the daemon serves five calls of a client at a time (max_client_requests), and
#: one that had to wait there would make the reading of the next less exact.
_AT_ONCE = 4


@dataclass(frozen=True)
class LibvirtDomain:
    """A domain as libvirt has it. `stored` is None for a transient one, `live` for one that does not run."""

    name: str
    uuid: str
    running: bool
    autostart: bool
    stored: bytes | None
    live: bytes | None


@dataclass(frozen=True)
class GuestTime:
    """What a guest's clock said, in ns since 1970, and this host's just before it was asked and just after.

    `began` is why it runs, in libvirt's words (virDomainRunningReason): booted, migrated, restored, unpaused, ...
    `problem` says why there is no reading; then the three are 0. `connected` is False where no agent is at the other
    end of the guest's channel.
    """

    guest_ns: int = 0
    before_ns: int = 0
    after_ns: int = 0
    began: str = ""
    problem: str = ""
    connected: bool = True


@dataclass(frozen=True)
class Capabilities:
    """What a driver can run here: its own documents (formatcaps.html, formatdomaincaps.html), and versions as
    "9.0.0"; `hypervisor` is "" where the driver tells none. `host_models` are the processors that a guest with
    host-model gets, every feature named, as <cpu> documents by virtualization type (kvm, qemu); what the driver can't
    tell is not there."""

    libvirt: str
    hypervisor: str
    host: bytes
    host_models: dict[str, bytes]


def domains(uri: str, timeout_s: float = TIMEOUT_S) -> list[LibvirtDomain]:
    """Every domain of one driver.

    Raises HostError: libvirt-python is not installed, nothing listens, the driver isn't there, or no whole answer
    came within `timeout_s`.
    """
    return _within(uri, timeout_s, _domains)


def times(uri: str, uuids: Iterable[str], timeout_s: float = TIMEOUT_S) -> dict[str, GuestTime]:
    """The clocks of running guests, by UUID, asked through their guest agents (virDomainGetTime); each is asked twice
    and the narrower reading counts.  Nothing is changed.  Raises HostError as `domains` does.
    """
    wanted = list(uuids)
    answers: dict[str, GuestTime] = {}
    deadline = time.monotonic() + timeout_s

    def ask(libvirt: Any, connection: Any) -> None:
        import threading

        todo = wanted[::-1]

        def some() -> None:
            while todo and time.monotonic() < deadline:
                try:
                    uuid = todo.pop()
                except IndexError:
                    return
                answers[uuid] = _time(libvirt, connection, uuid)

        threads = [threading.Thread(target=some, daemon=True) for _ in range(min(_AT_ONCE, len(wanted)))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    try:
        # The connection is closed only by a thread that came to its end: a call may still be under way in it.
        _within(uri, timeout_s + 0.5, ask, write=True)
    except HostError:
        if not answers:
            raise
    silent = GuestTime(problem=f"no answer within {timeout_s:g} s")
    return {uuid: answers.get(uuid, silent) for uuid in wanted}


def set_time(uri: str, uuid: str, timeout_s: float = TIMEOUT_S) -> None:
    """Sets a guest's clock to this host's, through its guest agent (virDomainSetTime).  Raises HostError."""

    def ask(libvirt: Any, connection: Any) -> None:
        domain = connection.lookupByUUIDString(uuid)
        seconds, ns = divmod(time.time_ns(), 1_000_000_000)
        domain.setTime({"seconds": seconds, "nseconds": ns}, 0)

    _within(uri, timeout_s, ask, write=True)


def stored(uri: str, uuid: str, timeout_s: float = TIMEOUT_S) -> bytes:
    """A domain's stored definition whole, with its passwords: what `define` takes to put it back.  Raises HostError."""

    def ask(libvirt: Any, connection: Any) -> bytes:
        domain = connection.lookupByUUIDString(uuid)
        if not domain.isPersistent():
            raise HostError(f"{uri} {domain.name()}", "is transient: it has no stored definition")
        flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
        return str(domain.XMLDesc(flags)).encode("utf-8", "surrogateescape")

    return _within(uri, timeout_s, ask, write=True)


def define(uri: str, xml: bytes, validate: bool, timeout_s: float = TIMEOUT_S) -> None:
    """Stores a definition; with `validate` libvirt holds it against its schema first.  A running guest goes on as it
    is.  Raises HostError with what libvirt has against it."""

    def ask(libvirt: Any, connection: Any) -> None:
        text = xml.decode("utf-8", "surrogateescape")
        connection.defineXMLFlags(text, libvirt.VIR_DOMAIN_DEFINE_VALIDATE if validate else 0)

    _within(uri, timeout_s, ask, write=True)


def capabilities(uri: str, timeout_s: float = TIMEOUT_S) -> Capabilities:
    """What this driver can run here.  Raises HostError."""

    def ask(libvirt: Any, connection: Any) -> Capabilities:
        models = {}
        for kind in ("kvm", "qemu"):
            try:
                told = str(connection.getDomainCapabilities(None, None, None, kind, 0))
                models[kind] = _expanded(libvirt, connection, _host_model(told), kind).encode()
            except libvirt.libvirtError:
                continue  # no such virtualization here, or a libvirt before 1.2.7 or 4.4.0
        version = ""
        try:
            version = _version(int(connection.getVersion()))
        except libvirt.libvirtError:
            pass
        host = str(connection.getCapabilities()).encode()
        return Capabilities(
            _version(int(connection.getLibVersion())), version, host, {k: m for k, m in models.items() if m}
        )

    return _within(uri, timeout_s, ask, write=True)


def expanded(
    uri: str, cpus: Iterable[tuple[str, bytes]], timeout_s: float = TIMEOUT_S
) -> dict[tuple[str, bytes], bytes]:
    """(virtualization type, <cpu> document) to the same with every feature of its model named; what libvirt can't
    expand is not there.  Raises HostError."""
    wanted = list(cpus)

    def ask(libvirt: Any, connection: Any) -> dict[tuple[str, bytes], bytes]:
        found = {}
        for kind, cpu in wanted:
            try:
                found[kind, cpu] = _expanded(libvirt, connection, cpu.decode(), kind).encode()
            except libvirt.libvirtError:
                continue
        return found

    return _within(uri, timeout_s, ask, write=True)


def _expanded(libvirt: Any, connection: Any, cpu: str, kind: str) -> str:
    flag = libvirt.VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES
    return str(connection.baselineHypervisorCPU(None, None, None, kind, [cpu], flag)) if cpu else ""


def _host_model(domain_capabilities: str) -> str:
    """The <cpu> of <mode name='host-model'>, as a guest would have it."""
    import re

    found = re.search(r"<mode name='host-model' supported='yes'>(.*?)</mode>", domain_capabilities, re.S)
    if found is None:
        return ""
    return f"<cpu mode='custom' match='exact'>{found[1]}</cpu>"


def _version(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def _within(uri: str, timeout_s: float, ask: Callable[[Any, Any], T], write: bool = False) -> T:
    """What `ask(libvirt, connection)` returns.  Raises HostError: for its errors, and at the time limit."""
    import threading

    answer: list[T | HostError] = []

    def call() -> None:
        try:
            answer.append(_connected(uri, ask, write))
        except HostError as error:
            answer.append(error)
        except Exception as error:
            answer.append(HostError(uri, f"asking libvirt failed: {type(error).__name__}: {error}"))

    thread = threading.Thread(target=call, name=f"libvirt {uri}", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if not answer:
        raise HostError(uri, f"libvirt did not answer within {timeout_s:g} s")
    if isinstance(answer[0], HostError):
        raise answer[0]
    return answer[0]


def _connected(uri: str, ask: Callable[[Any, Any], T], write: bool) -> T:
    try:
        import libvirt
    except ImportError:
        raise HostError(uri, "libvirt's Python binding (python3-libvirt) is not installed") from None
    libvirt.registerErrorHandler(lambda *_: None, None)  # it prints every error otherwise
    try:
        connection = libvirt.open(uri) if write else libvirt.openReadOnly(uri)
    except libvirt.libvirtError as error:
        raise HostError(uri, f"cannot be asked: {error.get_error_message()}") from None
    try:
        return ask(libvirt, connection)
    except libvirt.libvirtError as error:
        raise HostError(uri, f"libvirt refused: {' '.join(str(error.get_error_message()).split())}") from None
    finally:
        connection.close()


def _time(libvirt: Any, connection: Any, uuid: str) -> GuestTime:
    try:
        domain = connection.lookupByUUIDString(uuid)
        began = _began(libvirt, domain)
        readings = []
        for _ in range(2):
            before = time.time_ns()
            said = domain.getTime(0)
            after = time.time_ns()
            readings.append(GuestTime(said["seconds"] * 1_000_000_000 + said["nseconds"], before, after, began))
        return min(readings, key=lambda reading: reading.after_ns - reading.before_ns)
    except libvirt.libvirtError as error:
        # "not connected" and "not responding" have one code; only the first says so without a wait.
        gone = error.get_error_code() == libvirt.VIR_ERR_AGENT_UNRESPONSIVE and "not connected" in str(error)
        return GuestTime(problem=str(error.get_error_message()), connected=not gone)


def _began(libvirt: Any, domain: Any) -> str:
    state, reason = domain.state()
    if state != libvirt.VIR_DOMAIN_RUNNING:
        return ""
    prefix = "VIR_DOMAIN_RUNNING_"
    names = {getattr(libvirt, name): name for name in dir(libvirt) if name.startswith(prefix)}
    return names.get(reason, "").replace(prefix, "").lower().replace("_", " ")


def _domains(libvirt: Any, connection: Any) -> list[LibvirtDomain]:
    every = connection.listAllDomains(0)
    persistent = {d.UUID() for d in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT)}
    auto = {d.UUID() for d in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_AUTOSTART)}
    found = []
    for domain in every:
        running = domain.ID() >= 0
        inactive = _xml(libvirt, domain, libvirt.VIR_DOMAIN_XML_INACTIVE) if domain.UUID() in persistent else None
        live = _xml(libvirt, domain, 0) if running else None
        if inactive is None and live is None:
            continue  # gone since the list was made
        found.append(LibvirtDomain(domain.name(), domain.UUIDString(), running, domain.UUID() in auto, inactive, live))
    return found


def _xml(libvirt: Any, domain: Any, flags: int) -> bytes | None:
    """A domain's XML; None when it went away meanwhile."""
    try:
        return str(domain.XMLDesc(flags)).encode("utf-8", "surrogateescape")
    except libvirt.libvirtError as error:
        if error.get_error_code() in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID):
            return None
        raise
