"""The signature that stands behind a module file (include/linux/module_signature.h, scripts/sign-file.c)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from hostward.kmod.certificates import Trusted
from hostward.kmod.der import INTEGER, OID, SEQUENCE, BadDer, Der, parse_oid
from hostward.kmod.pkcs7 import DIGESTS, verify_message

MAGIC = b"~Module signature appended~\n"
_HASHES = {0: "md4", 1: "md5", 2: "sha1", 3: "ripemd160", 4: "sha256", 5: "sha384", 6: "sha512", 7: "sha224"}
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


def verify(data: bytes, trusted: Trusted) -> str:
    """What the kernel makes of the signature behind a module's bytes, inflated: "good"; "bad" (EKEYREJECTED);
    "no key" (ENOKEY); another errno that it answers, by name; "" for what can't be told.

    mod_verify_sig() of kernel/module/signing.c. What read_signature() finds wrong with the trailer is not repeated.
    """
    found = read_signature(data)
    if found is None or found.problem or found.kind != "PKCS#7":
        return ""
    end = len(data) - len(MAGIC) - 12
    start = len(data) - found.size
    return verify_message(memoryview(data)[:start], data[start:end], trusted)


def _pkcs7(body: bytes) -> tuple[str, str, str]:
    """(signer's common name, certificate's serial in hex, digest) of the first signer; "" for what can't be read.

    ContentInfo > SignedData > SignerInfos > SignerInfo: version, issuer and serial or key id, digest (RFC 5652).
    """
    try:
        signed = Der(body).take(SEQUENCE)
        signed.take(OID)
        signed = signed.take().take(SEQUENCE)
        infos = signed.take()
        while signed.at < signed.end:
            infos = signed.take()
        info = infos.take(SEQUENCE)
        info.take(INTEGER)
        signer = key = ""
        if info.tag == SEQUENCE:
            names = info.take()
            issuer, key = names.value(), names.value().hex()
            at = issuer.find(b"\x06\x03" + _COMMON_NAME)
            if at >= 0:
                signer = Der(issuer, at + 5).value().decode("utf-8", "backslashreplace")
        elif info.tag == 0x80:
            key = info.value().hex()
        return signer, key, DIGESTS.get(parse_oid(info), "")
    except BadDer:
        return "", "", ""
