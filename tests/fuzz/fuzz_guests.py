"""Definitions of guests, mutated, through the reader, the checks and the paths of known issues: nothing but BadXml.

PYTHONPATH=agent .venv/bin/python -m tests.fuzz.fuzz_guests SECONDS [SEED]
"""

from __future__ import annotations

import random
import re
import sys
import time

from hostward.checks.guest_clones import clones
from hostward.checks.guest_features import uses
from hostward.checks.guest_migration import plugged
from hostward.checks.guests import ac97_windows7, emulated_nic
from hostward.facts.domain import domain_of
from hostward.facts.domain_xml import BadXml, parse
from hostward.facts.guests import Guest, Guests
from hostward.facts.issue_matches import _in_definition
from hostward.facts.known_issues import KnownIssue, known_issues
from tests.hosts.domains import CASES

SEEDS = [case.xml().encode() for case in CASES]
ISSUES: list[tuple[KnownIssue, tuple[str, ...]]] = [
    (issue, ()) for issue in known_issues().entries if issue.match is not None and issue.match.domain is not None
]
_VALUES = [b"", b"\xff", b"0", b"-1", b"9" * 30, b"x" * 300, b"\xc3\xa9", b"&#x0;", b"&#xd800;", b"&lt;", b"rtl8139"]
_VALUE = re.compile(rb"'([^']*)'")
_ELEMENT = re.compile(rb"<[a-z][^>]*/>")


def mutated(chance: random.Random) -> bytes:
    """A definition of the corpus with values exchanged, elements lost and doubled, bytes flipped and cut."""
    data = bytearray(chance.choice(SEEDS))
    for _ in range(chance.randrange(1, 5)):
        if not data:
            break
        at, kind = chance.randrange(len(data)), chance.randrange(10)
        values, elements = list(_VALUE.finditer(data)), list(_ELEMENT.finditer(data))
        if kind < 5 and values:
            one = chance.choice(values)
            data[one.start() + 1 : one.end() - 1] = chance.choice([*_VALUES, chance.choice(values).group(1)])
        elif kind == 5:
            data[at] = chance.randrange(256)
        elif kind == 6:
            del data[at : at + chance.randrange(60)]
        elif kind == 7 and elements:
            one = chance.choice(elements)
            del data[one.start() : one.end()]
        elif kind == 8 and elements:
            one = chance.choice(elements)
            data[one.end() : one.end()] = chance.choice(elements).group() * chance.randrange(1, 5)
        else:
            data[at:at] = chance.choice([b"<!-- -->", b"<![CDATA[x]]>", b"<?pi?>", b"<!DOCTYPE a>", b"&amp;"])
    return bytes(data)


def judged(data: bytes) -> bool:
    """Whether it could be read; then every rule about guests has had it.  Raises what none of them may raise."""
    try:
        domain = domain_of(parse(data), "here", data)
    except BadXml:
        return False
    guest = Guest(domain.name, domain.uuid, "", True, stored=domain, live=domain)
    for rule in (emulated_nic, ac97_windows7, clones):
        list(rule(Guests((guest,))))
    list(uses(guest))
    list(_in_definition(domain, "stored", ISSUES))
    assert plugged(domain, domain) == [], "a definition has no device more than itself"
    return True


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns() % 1_000_000
    chance, end, count, read = random.Random(seed), time.monotonic() + seconds, 0, 0
    while time.monotonic() < end:
        data = mutated(chance)
        count += 1
        try:
            read += judged(data)
        except Exception:
            sys.stderr.write(f"seed {seed}, number {count}: {data!r}\n")
            raise
    print(f"seed {seed}: {count} definitions, {read} of them read and judged, {count - read} refused")


if __name__ == "__main__":
    main()
