"""What libvirt says of its domains: a read-only connection, one question, at most so long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hostward.host.errors import HostError

TIMEOUT_S = 10.0


@dataclass(frozen=True)
class LibvirtDomain:
    """A domain as libvirt has it. `stored` is None for a transient one, `live` for one that does not run."""

    name: str
    uuid: str
    running: bool
    autostart: bool
    stored: bytes | None
    live: bytes | None


def domains(uri: str, timeout_s: float = TIMEOUT_S) -> list[LibvirtDomain]:
    """Every domain of one driver.

    Raises HostError: libvirt-python is not installed, nothing listens, the driver isn't there, or no whole answer
    came within `timeout_s`. The calls block in C, so they are made in a thread that is left behind if they hang.
    """
    import threading

    answer: list[list[LibvirtDomain] | HostError] = []

    def ask() -> None:
        try:
            answer.append(_ask(uri))
        except HostError as error:
            answer.append(error)

    thread = threading.Thread(target=ask, name=f"libvirt {uri}", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if not answer:
        raise HostError(uri, f"libvirt did not answer within {timeout_s:g} s")
    if isinstance(answer[0], HostError):
        raise answer[0]
    return answer[0]


def _ask(uri: str) -> list[LibvirtDomain]:
    try:
        import libvirt
    except ImportError:
        raise HostError(uri, "libvirt's Python binding (python3-libvirt) is not installed") from None
    libvirt.registerErrorHandler(lambda *_: None, None)  # it prints every error otherwise
    try:
        connection = libvirt.openReadOnly(uri)
    except libvirt.libvirtError as error:
        raise HostError(uri, f"cannot be asked: {error.get_error_message()}") from None
    try:
        every = connection.listAllDomains(0)
        stored = {d.UUID() for d in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT)}
        auto = {d.UUID() for d in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_AUTOSTART)}
        found = []
        for domain in every:
            running = domain.ID() >= 0
            inactive = _xml(libvirt, domain, libvirt.VIR_DOMAIN_XML_INACTIVE) if domain.UUID() in stored else None
            live = _xml(libvirt, domain, 0) if running else None
            if inactive is None and live is None:
                continue  # gone since the list was made
            found.append(
                LibvirtDomain(domain.name(), domain.UUIDString(), running, domain.UUID() in auto, inactive, live)
            )
        return found
    except libvirt.libvirtError as error:
        raise HostError(uri, f"stopped answering: {error.get_error_message()}") from None
    finally:
        connection.close()


def _xml(libvirt: Any, domain: Any, flags: int) -> bytes | None:
    """A domain's XML; None when it went away meanwhile."""
    try:
        return str(domain.XMLDesc(flags)).encode("utf-8", "surrogateescape")
    except libvirt.libvirtError as error:
        if error.get_error_code() in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID):
            return None
        raise
