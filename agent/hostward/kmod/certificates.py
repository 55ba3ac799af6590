"""The certificates whose keys a kernel trusts modules by: those in its image, those that the firmware hands over."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hostward.kmod.der import BIT_STRING, BOOLEAN, DER_MAX, INTEGER, OCTET_STRING, OID, SEQUENCE, BadDer, Der
from hostward.kmod.publickey import CURVES, EcKey, RsaKey, ec_key, rsa_key

_RSA_ENCRYPTION = bytes.fromhex("2a864886f70d010101")
_EC_PUBLIC_KEY = bytes.fromhex("2a8648ce3d0201")
_SUBJECT_KEY_ID = bytes.fromhex("551d0e")
#: How a certificate begins: its own length, that of what is signed, then version 3.
_BEGINS = re.compile(rb"\x30\x82..\x30(?:\x82..|\x81.)\xa0\x03\x02\x01\x02", re.DOTALL)
#: More places than this are not looked at in an image, nor more certificates than this in a list.
_PLACES_MAX = 4096
_LIST_MAX = 1024
#: EFI_CERT_X509_GUID (UEFI 2.10, 32.4.1), as it lies in memory.
_EFI_X509 = bytes.fromhex("a159c0a5e494a74a87b5ab155c2bf072")


@dataclass(frozen=True)
class Certificate:
    """What of an X.509 certificate finds and verifies signatures: the serial number's and issuer's own bytes, the
    subject key id (b"" without one), the key (None: of a kind that can't be worked with here)."""

    serial: bytes
    issuer: bytes
    key_id: bytes
    key: RsaKey | EcKey | None


@dataclass(frozen=True)
class Trusted:
    """Certificates that a kernel takes signatures by; `complete` is whether it can have no others but `perhaps`."""

    certificates: tuple[Certificate, ...]
    complete: bool
    perhaps: tuple[Certificate, ...] = ()


def parse_certificate(data: bytes) -> Certificate:
    """A certificate (RFC 5280).  Raises BadDer."""
    signed = Der(data).take(SEQUENCE).take(SEQUENCE)
    signed.maybe(0xA0)
    serial = signed.value(INTEGER)
    signed.take(SEQUENCE)
    issuer = signed.value(SEQUENCE)
    signed.take(SEQUENCE)
    signed.take(SEQUENCE)
    key = _public_key(signed.take(SEQUENCE))
    key_id = b""
    while signed.at < signed.end:
        if signed.tag == 0xA3:
            key_id = _subject_key_id(signed.take().take(SEQUENCE))
        else:
            signed.take()
    return Certificate(serial, issuer, key_id, key)


def _public_key(info: Der) -> RsaKey | EcKey | None:
    algorithm = info.take(SEQUENCE)
    bits = info.value(BIT_STRING)
    oid = algorithm.value(OID)
    if bits[:1] != b"\0":
        return None
    if oid == _RSA_ENCRYPTION:
        return rsa_key(bits[1:])
    curve = CURVES.get(algorithm.value(OID)) if oid == _EC_PUBLIC_KEY and algorithm.tag == OID else None
    return ec_key(curve, bits[1:]) if curve else None


def _subject_key_id(extensions: Der) -> bytes:
    while extensions.at < extensions.end:
        extension = extensions.take(SEQUENCE)
        oid = extension.value(OID)
        extension.maybe(BOOLEAN)
        if oid == _SUBJECT_KEY_ID:
            return Der(extension.value(OCTET_STRING)).value(OCTET_STRING)
    return b""


def parse_certificates(found: Iterable[bytes]) -> tuple[Certificate, ...]:
    """Those of them that can be read; the kernel too goes on after one that it can't."""
    known = []
    for data in found:
        try:
            known.append(parse_certificate(data))
        except BadDer:
            continue
    return tuple(known)


def built_in(data: bytes, bits: int, big: bool) -> tuple[bytes, ...] | None:
    """The certificates of system_certificate_list in a section of vmlinux; None where no such list is.

    certs/system_certificates.S: the certificates one behind the other, their whole length as a word of the machine's
    at the next 8 bytes and, since 5.14, that of the first alone (module_cert_size), by which this list is told from
    that of revoked ones. Between list and length there may be room for one more (SYSTEM_EXTRA_CERTIFICATE).
    """
    word = struct.Struct((">" if big else "<") + ("Q" if bits == 64 else "I"))
    older: tuple[bytes, ...] | None = None
    after = 0
    for number, match in enumerate(_BEGINS.finditer(data)):
        if number >= _PLACES_MAX:
            break
        start = match.start()
        if start < after:
            continue  # inside a list that was looked at
        found = _row(data, start)
        length = sum(map(len, found))
        if not length:
            continue
        after = start + length
        at = after + -after % 8
        for place in (at, at + _extra(data, at)):
            if data[place : place + word.size] != word.pack(length):
                continue
            first = place + 8
            if data[first : first + word.size] == word.pack(len(found[0])):
                return found
            older = older or found
    return older


def _row(data: bytes, at: int) -> tuple[bytes, ...]:
    """The certificates that stand one behind the other from there on."""
    found: list[bytes] = []
    while len(found) < _LIST_MAX and data[at : at + 2] == b"\x30\x82":
        end = at + 4 + int.from_bytes(data[at + 2 : at + 4], "big")
        try:
            parse_certificate(data[at:end])
        except BadDer:
            break
        found.append(data[at:end])
        at = end
    return tuple(found)


def _extra(data: bytes, at: int) -> int:
    """The room of zeros there, in bytes, that SYSTEM_EXTRA_CERTIFICATE keeps for a certificate."""
    end = min(len(data), at + DER_MAX)
    return (len(data[at:end]) - len(data[at:end].lstrip(b"\0"))) // 8 * 8


def efi_certificates(variable: bytes) -> Iterator[bytes]:
    """The X.509 certificates in EFI signature lists (UEFI 2.10, 32.4.1), without the variable's attributes.

    Lists that are cut short end it.
    """
    at = 0
    while at + 28 <= len(variable):
        size, header, each = struct.unpack_from("<III", variable, at + 16)
        if size < 28 or at + size > len(variable):
            return
        if variable[at : at + 16] == _EFI_X509 and each > 16:
            for entry in range(at + 28 + header, at + size - each + 1, each):
                yield variable[entry + 16 : entry + each]
        at += size
