"""Hostile and broken XML: an answer or a reason, in bounded time and memory, and nothing read that was not given."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hostward.facts.domain import domain_of
from hostward.facts.domain_xml import BYTES_MAX, BadXml, parse
from hostward.host import Host
from tests.hosts.domains import CASES
from tests.hosts.tree import Tree

LAUGHS = (
    b"<?xml version='1.0'?><!DOCTYPE domain [<!ENTITY a 'ha'>"
    + b"".join(b"<!ENTITY %c '%s'>" % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9))
    + b"]><domain type='qemu'><name>&j;</name></domain>"
)
REFUSED = {
    "billion laughs": (LAUGHS, "line 1: a document type declaration: refused"),
    "an external entity": (
        b"<!DOCTYPE d [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><domain><name>&x;</name></domain>",
        "document type declaration",
    ),
    "an external DTD": (b"<!DOCTYPE d SYSTEM 'http://127.0.0.1:9/x.dtd'><domain/>", "document type declaration"),
    "a parameter entity": (b"<!DOCTYPE d [<!ENTITY % p SYSTEM 'file:///dev/zero'> %p;]><domain/>", "document type"),
    "laughs in UTF-16": (LAUGHS.decode().replace("<?xml version='1.0'?>", "").encode("utf-16"), "document type"),
    "an entity nobody declared": (b"<domain><name>&x;</name></domain>", "undefined entity"),
    "100 MB in an attribute": (b"<domain type='" + b"x" * (100 << 20) + b"'/>", "bytes, more than the"),
    "an attribute within the bytes": (b"<domain type='" + b"x" * (300 << 10) + b"'/>", "an attribute of 307200"),
    "a text without end": (b"<domain><name>" + b"x" * (300 << 10) + b"</name></domain>", "a text of more than"),
    "nested deeply": (b"<domain>" + b"<a>" * 100 + b"</a>" * 100 + b"</domain>", "nested more than 64 deep"),
    "nested a million times": (b"<a>" * (1 << 20), "nested more than 64 deep"),
    "more elements than a domain has": (b"<domain>" + b"<a/>" * 60_000 + b"</domain>", "more than 50000 elements"),
    "more attributes": (b"<domain " + b" ".join(b"a%d='1'" % n for n in range(100)) + b"/>", "more than 64 attributes"),
    "not XML": (b"name: guest\n", "not XML"),
    "nothing": (b"", "not XML: no element found"),
    "zeros": (b"\0" * 4096, "not XML"),
    "bytes that are not UTF-8": (b"<domain><name>\xff\xfe</name></domain>", "not XML: not well-formed"),
    "an encoding that no one has": (b"<?xml version='1.0' encoding='klingon'?><domain/>", "not XML: unknown encoding"),
    "an encoding that is no text": (b"<?xml version='1.0' encoding='zlib'?><domain/>", "not XML"),
    "two roots": (b"<domain/><domain/>", "junk after document element"),
    "cut off": (b"<domain type='kvm'><name>a</name><devices><disk", "not XML: unclosed token"),
    "a prefix without its namespace": (b"<domain><qemu:commandline/></domain>", "unbound prefix"),
    "another document": (b"<network><name>default</name></network>", "not a domain: the document is a <network>"),
    "no name": (b"<domain type='kvm'><uuid/></domain>", "a domain without a name"),
    "a status without a domain": (b"<domstatus state='running' pid='1'/>", "not a domain"),
}


@pytest.mark.parametrize("what", sorted(REFUSED))
def test_refused_with_a_reason(what: str) -> None:
    data, reason = REFUSED[what]
    begun = time.monotonic()
    with pytest.raises(BadXml) as error:
        domain_of(parse(data), "here")
    assert reason in str(error.value)
    assert time.monotonic() - begun < 2


def test_the_bounds_leave_room_for_real_definitions() -> None:
    data = b"<domain type='kvm'><name>a</name><devices>" + b"<disk type='file'/>" * 2000 + b"</devices></domain>"
    assert len(domain_of(parse(data), "here").disks) == 2000
    assert len(data) < BYTES_MAX


def test_other_encodings_that_libvirt_reads_too() -> None:
    for encoding in ("utf-16", "iso-8859-15"):
        text = f"<?xml version='1.0' encoding='{encoding}'?><domain type='kvm'><name>g\xe4st</name></domain>"
        assert domain_of(parse(text.encode(encoding)), "here").name == "g\xe4st"


def test_laughter_stays_small() -> None:
    """In a process of its own, so that its peak is its own: refusing takes no more than reading a plain file."""
    code = (
        "import re, sys; from hostward.facts.domain_xml import parse, BadXml\n"
        "data = sys.stdin.buffer.read()\n"
        "try: parse(data)\n"
        "except BadXml: print(int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read()).group(1)) >> 10)\n"
    )
    argv = [sys.executable, "-c", code]
    here = Path(__file__).parents[3]
    for what in ("billion laughs", "nested a million times", "laughs in UTF-16"):
        data = REFUSED[what][0]
        env = {"PYTHONPATH": "agent"}
        done = subprocess.run(argv, input=data, capture_output=True, env=env, cwd=here, timeout=20)
        assert 0 < int(done.stdout) < 60, (what, done.stdout, done.stderr)


def test_mutated_definitions_are_read_or_refused() -> None:
    """Nothing but BadXml comes out of the reader, and nothing out of the rules; tests/fuzz/fuzz_guests.py goes on."""
    from tests.fuzz.fuzz_guests import judged, mutated

    chance = random.Random(7)
    read = sum(judged(mutated(chance)) for _ in range(4000))
    assert 1000 < read < 3000, read


def test_a_tree_full_of_them_costs_its_bad_files_only(tmp_path: Path) -> None:
    """Bad files are named, each with its reason; the good one beside them is read."""
    from hostward.facts.guests import guests

    tree = Tree(tmp_path)
    for what, (data, _) in REFUSED.items():
        tree.file(f"/etc/libvirt/qemu/{what.replace(' ', '-')}.xml", data)
    tree.file("/etc/libvirt/qemu/good.xml", CASES[0].xml())
    tree.fifo("/etc/libvirt/qemu/fifo.xml")
    tree.link("/etc/libvirt/qemu/out.xml", "/../../../../../../etc/passwd")
    tree.link("/etc/libvirt/qemu/loop.xml", "loop.xml")
    begun = time.monotonic()
    found = guests(Host.at(str(tmp_path)))
    assert time.monotonic() - begun < 2
    assert [guest.name for guest in found.guests] == [CASES[0].name]
    # the link that leads out finds nothing inside the tree; every other one is a problem of its own
    assert len(found.problems) == len(REFUSED) + 2
    assert all(problem.startswith("/etc/libvirt/qemu/") for problem in found.problems)
    assert any("fifo.xml: is a FIFO" in problem for problem in found.problems)
