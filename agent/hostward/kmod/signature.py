"""The signature that stands behind a module file (include/linux/module_signature.h, scripts/sign-file.c)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

MAGIC = b"~Module signature appended~\n"
_HASHES = {0: "md4", 1: "md5", 2: "sha1", 3: "ripemd160", 4: "sha256", 5: "sha384", 6: "sha512", 7: "sha224"}
#: DER object identifiers of digests (RFC 5754, NIST).
_OIDS = {
    bytes.fromhex("2b0e03021a"): "sha1",
    bytes.fromhex("608648016503040201"): "sha256",
    bytes.fromhex("608648016503040202"): "sha384",
    bytes.fromhex("608648016503040203"): "sha512",
    bytes.fromhex("608648016503040204"): "sha224",
    bytes.fromhex("608648016503040208"): "sha3-256",
    bytes.fromhex("608648016503040209"): "sha3-384",
    bytes.fromhex("60864801650304020a"): "sha3-512",
}
_COMMON_NAME = bytes.fromhex("550403")


@dataclass(frozen=True)
class Signature:
    """What the trailer tells without a key to verify it with.

    `kind` is "PKCS#7", "X.509" (kernels 3.7 to 4.2) or "PGP"; `signer` the certificate's common name, `key` its
    serial number or key id in hex, `hash` the digest; "" where it does not say.  `size` is all that follows
    the module, in bytes.  `problem` is set for a trailer that is broken, which no kernel takes.
    """

    kind: str
    signer: str
    key: str
    hash: str
    size: int
    problem: str = ""


def read_signature(data: bytes, file_size: int | None = None) -> Signature | None:
    """The signature at the end of a module's bytes; None where there is none.

    `data` may be the end of the file alone, from where its signature begins; `file_size` is then the whole's, in bytes.
    """
    if not data.endswith(MAGIC):
        return None
    end = len(data) - len(MAGIC)
    if end < 12:
        return Signature("", "", "", "", len(MAGIC), "no room for the signature's own header")
    algo, digest, kind, signer_size, key_size, size = struct.unpack_from(">BBBBB3xI", data, end - 12)
    whole = 12 + len(MAGIC) + size + signer_size + key_size
    if whole >= (len(data) if file_size is None else file_size):
        return Signature("", "", "", "", len(MAGIC), "the signature claims to be longer than the file")
    body = data[end - 12 - size : end - 12]
    if kind == 2:
        if algo or digest or signer_size or key_size:
            return Signature("PKCS#7", "", "", "", whole, "a PKCS#7 signature with fields that must be zero")
        signer, key, hash_name = _pkcs7(body)
        return Signature("PKCS#7", signer, key, hash_name, whole)
    start = end - 12 - size - key_size - signer_size
    signer = data[start : start + signer_size].decode("utf-8", "backslashreplace")
    key = data[start + signer_size : start + signer_size + key_size].hex()
    return Signature({0: "PGP", 1: "X.509"}.get(kind, f"type {kind}"), signer, key, _HASHES.get(digest, ""), whole)


def _tlv(data: bytes, at: int, end: int) -> tuple[int, int, int]:
    """(tag, start of the content, its end) of the DER value at `at`.  Raises ValueError."""
    if at + 2 > end:
        raise ValueError("cut short")
    tag, length, at = data[at], data[at + 1], at + 2
    if length & 0x80:
        count = length & 0x7F
        if count == 0 or count > 4 or at + count > end:
            raise ValueError("a length of no use")
        length, at = int.from_bytes(data[at : at + count], "big"), at + count
    if at + length > end:
        raise ValueError("longer than what holds it")
    return tag, at, at + length


def _children(data: bytes, start: int, end: int) -> list[tuple[int, int, int]]:
    found: list[tuple[int, int, int]] = []
    while start < end and len(found) < 64:
        child = _tlv(data, start, end)
        found.append(child)
        start = child[2]
    return found


def _pkcs7(body: bytes) -> tuple[str, str, str]:
    """(signer's common name, certificate's serial in hex, digest) of the first signer; "" for what can't be read.

    ContentInfo > SignedData > SignerInfos > SignerInfo: version, issuer and serial or key id, digest (RFC 5652).
    """
    try:
        _, start, end = _tlv(body, 0, len(body))
        content = _children(body, start, end)[1]
        _, start, end = _tlv(body, content[1], content[2])
        infos = [child for child in _children(body, start, end) if child[0] == 0x31][-1]
        _, start, end = _tlv(body, infos[1], infos[2])
        parts = _children(body, start, end)
        signer = key = ""
        if parts[1][0] == 0x30:
            issuer, serial = _children(body, parts[1][1], parts[1][2])[:2]
            key = body[serial[1] : serial[2]].hex()
            at = body.find(b"\x06\x03" + _COMMON_NAME, issuer[1], issuer[2])
            if at >= 0:
                _, first, last = _tlv(body, at + 5, issuer[2])
                signer = body[first:last].decode("utf-8", "backslashreplace")
        elif parts[1][0] == 0x80:
            key = body[parts[1][1] : parts[1][2]].hex()
        oid = _children(body, parts[2][1], parts[2][2])[0]
        return signer, key, _OIDS.get(body[oid[1] : oid[2]], "")
    except (ValueError, IndexError):
        return "", "", ""
