"""`hostward hook`: what libvirt's hook (packaging/libvirt/qemu) asks when a guest is started or migrated in."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from hostward.model import Severity

if TYPE_CHECKING:
    from hostward.config import Config
    from hostward.facts.guests import Guest
    from hostward.model import Finding

GO, REFUSE = 0, 10
#: The most that it takes, in seconds: a start that waits for libvirt's hook holds the guest's lock.
LIMIT_S = 0.8
#: The most that one program asked for a fact may take, in seconds.
_PROGRAM_S = 0.3


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser("hook", help="judge a guest that libvirt is about to start (libvirt's hook runs it)")
    parser.add_argument("name", help="the guest; its definition is on standard input")
    parser.add_argument("operation", help="what libvirt is about to do: prepare or migrate")
    parser.add_argument("--config", metavar="FILE", default="")
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    """REFUSE for a guest with a finding of severity error where the configuration says so (guests.hook), else GO,
    whatever happens.  It never asks libvirt, which waits for it."""
    signal.signal(signal.SIGALRM, _late)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        return _judge(arguments)
    except Exception as error:
        from hostward.engine import describe

        print(f"hostward: the guest was not judged: {describe(error)}", file=sys.stderr)
        return GO


def _late(*_: Any) -> None:
    print(f"hostward: the guest was not judged within {LIMIT_S:g} s", file=sys.stderr, flush=True)
    os._exit(GO)


def _judge(arguments: argparse.Namespace) -> int:
    from hostward import config
    from hostward.facts.domain import domain_of
    from hostward.facts.domain_xml import BYTES_MAX, parse
    from hostward.facts.guests import Guest

    settings = config.load(arguments.config)
    data = sys.stdin.buffer.read(BYTES_MAX + 1)
    domain = domain_of(parse(data), f"libvirt ({arguments.operation})", data)
    errors = _errors(Guest(domain.name, domain.uuid, stored=domain), settings)
    if not errors:
        return GO
    refuse = settings.guests_hook == "refuse"
    from hostward.report.text import safe

    for check, finding in errors:
        said = f"{finding.summary} [{check}]; {finding.advice}".rstrip("; ")
        print(f"hostward: {safe(said)}", file=sys.stderr)
    if refuse:
        print("hostward: not started, as guests.hook says in its configuration", file=sys.stderr, flush=True)
    _tell(domain.name, arguments.operation, errors, refuse)
    return REFUSE if refuse else GO


def _errors(guest: Guest, settings: Config) -> list[tuple[str, Finding]]:
    """(check, finding) of severity error about this guest, by every check that looks at guests."""
    from hostward import checks
    from hostward.engine import Engine, facts_of
    from hostward.facts.guests import Guests
    from hostward.host import Host

    host = Host.running()
    host.program_timeout_s = _PROGRAM_S
    engine = Engine(host, settings)
    engine.facts["Guests"] = Guests((guest,), ("libvirt",))
    found = []
    for check in checks.load_all().values():
        if "Guests" not in facts_of(check.function):
            continue
        for finding in engine.run(check).findings:
            about = finding.subject == guest.name or finding.subject.endswith(f" {guest.name}")
            if about and finding.severity is Severity.ERROR:
                found.append((check.id, finding))
    return found


def _tell(name: str, operation: str, errors: list[tuple[str, Finding]], refuse: bool) -> None:
    """The journal is told too: libvirt shows what a hook says only where it refuses."""
    from hostward.host.journald import JournalWriter

    what = "refused" if refuse else "started all the same"
    writer = JournalWriter()
    for check, finding in errors:
        fields = {"PRIORITY": "3", "HOSTWARD_CHECK": check, "HOSTWARD_SUBJECT": finding.subject}
        writer.send(f"guest {name} ({operation}, {what}): {finding.summary}", fields)


__all__ = ["GO", "LIMIT_S", "REFUSE", "add", "main"]
