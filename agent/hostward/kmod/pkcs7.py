"""PKCS#7 messages behind modules, read and verified with the kernel's answers in the kernel's order.

crypto/asymmetric_keys/pkcs7.asn1, pkcs7_parser.c, pkcs7_verify.c and pkcs7_trust.c; certs/system_keyring.c.
"""

from __future__ import annotations

from dataclasses import dataclass

from hostward.kmod.certificates import Certificate, Trusted, parse_certificate
from hostward.kmod.der import DER_MAX, INTEGER, OCTET_STRING, OID, SEQUENCE, SET, BadDer, Der, parse_oid
from hostward.kmod.publickey import EcKey, RsaKey, digest_of, has_digest

_SIGNED_DATA, _DATA = bytes.fromhex("2a864886f70d010702"), bytes.fromhex("2a864886f70d010701")
#: What Authenticode signs (SPC_INDIRECT_DATA); the kernel reads it, and takes it for EFI executables alone.
_INDIRECT_DATA = bytes.fromhex("2b060104018237020104")
#: Object identifiers of digests (RFC 5754, NIST).
DIGESTS = {
    bytes.fromhex("2b0e03021a"): "sha1",
    bytes.fromhex("608648016503040201"): "sha256",
    bytes.fromhex("608648016503040202"): "sha384",
    bytes.fromhex("608648016503040203"): "sha512",
    bytes.fromhex("608648016503040204"): "sha224",
    bytes.fromhex("608648016503040208"): "sha3-256",
    bytes.fromhex("608648016503040209"): "sha3-384",
    bytes.fromhex("60864801650304020a"): "sha3-512",
}
#: Those of keys: RSA, and ECDSA with each of the digests.
_RSA = bytes.fromhex("2a864886f70d010101")
_ECDSA = {bytes.fromhex("2a8648ce3d04" + last) for last in ("01", "0301", "0302", "0303", "0304")} | {
    bytes.fromhex("6086480165030403" + last) for last in ("0a", "0b", "0c")
}
#: ML-DSA-44, -65 and -87, which the kernel verifies since 7.0.
_ML_DSA = {bytes.fromhex("6086480165030403" + last) for last in ("11", "12", "13")}
_SIGNERS_MAX = 64

GOOD, BAD, NO_KEY, UNKNOWN = "good", "bad", "no key", ""


class Refused(Exception):
    """What the kernel's parser answers to a message: the name of an errno."""


@dataclass(frozen=True)
class Signer:
    """A SignerInfo. `key_id` is set where it names its key by that, else `issuer` and `serial` are.

    `digest` is "" and `kind` "ml-dsa" where this can't be worked with here.
    """

    issuer: bytes
    serial: bytes
    key_id: bytes
    digest: str
    kind: str
    has_attributes: bool
    signature: bytes

    def is_by(self, certificate: Certificate) -> bool:
        if self.key_id:
            return certificate.key_id == self.key_id
        return (certificate.serial, certificate.issuer) == (self.serial, self.issuer)


@dataclass(frozen=True)
class Message:
    """A SignedData: the type of what is signed, whether it is inside, certificates that came along, who signed."""

    data_type: bytes
    has_data: bool
    certificates: tuple[Certificate, ...]
    signers: tuple[Signer, ...]


def parse_message(data: bytes) -> Message:
    """Raises Refused."""
    if len(data) > DER_MAX:
        raise Refused("EMSGSIZE")
    try:
        return _message(Der(data))
    except BadDer:
        raise Refused("EBADMSG") from None


def _message(der: Der) -> Message:
    outer = der.take(SEQUENCE)
    if outer.value(OID) != _SIGNED_DATA:
        raise Refused("EINVAL")
    wrapped = outer.take(0xA0)
    outer.done()
    signed = wrapped.take(SEQUENCE)
    wrapped.done()
    if signed.value(INTEGER) not in (b"\1", b"\3"):
        raise Refused("EINVAL")
    digests = signed.take(SEQUENCE if signed.tag == SEQUENCE else SET)
    while digests.at < digests.end:
        parse_oid(digests)
    content = signed.take(SEQUENCE)
    data_type = content.value(OID)
    inside = content.maybe(0xA0)
    content.done()
    if data_type not in (_DATA, _INDIRECT_DATA):
        raise Refused("EINVAL")
    certificates = []
    bag = signed.maybe(0xA0, 0xA2)
    while bag is not None and bag.at < bag.end:
        certificates.append(parse_certificate(bag.whole(SEQUENCE)))
    signed.maybe(0xA1, 0xA3)
    infos = signed.take(SEQUENCE if signed.tag == SEQUENCE else SET)
    signed.done()
    signers: list[Signer] = []
    while infos.at < infos.end and len(signers) < _SIGNERS_MAX:
        signers.append(_signer(infos.take(SEQUENCE)))
    # pkcs7_check_authattrs(): one with nobody's signature, or with attributes on some of them, is inconsistent.
    if not signers or len({signer.has_attributes for signer in signers}) > 1:
        raise Refused("EBADMSG")
    return Message(data_type, inside is not None, tuple(certificates), tuple(signers))


def _signer(info: Der) -> Signer:
    version = info.value(INTEGER)
    if version not in (b"\1", b"\3"):
        raise Refused("EINVAL")
    issuer = serial = key_id = b""
    if info.tag == 0x80:
        key_id = info.value()
    else:
        pair = info.take(SEQUENCE)
        start = pair.at
        _check_name(pair.take(SEQUENCE))
        issuer = Der(pair.data, start, pair.at).value()
        serial = pair.value(INTEGER)
        pair.done()
    digest = DIGESTS.get(parse_oid(info))
    if digest is None:
        raise Refused("ENOPKG")
    attributes = info.maybe(0xA0, 0xA2)
    algorithm = parse_oid(info)
    kind = "rsa" if algorithm == _RSA else "ecdsa" if algorithm in _ECDSA else "ml-dsa"
    if kind == "ml-dsa" and algorithm not in _ML_DSA:
        raise Refused("ENOPKG")
    signature = info.value(OCTET_STRING)
    info.maybe(0xA1, 0xA3)
    info.done()
    # The version says by what the key is named; the other, where that is there, the kernel leaves as nothing.
    if (version == b"\3") != bool(key_id):
        issuer = serial = key_id = b""
    return Signer(issuer, serial, key_id, digest, kind, attributes is not None, signature)


def _check_name(name: Der) -> None:
    """That a Name has its form: sets of sequences of a type and a value (pkcs7.asn1)."""
    while name.at < name.end:
        relative = name.take(SET)
        while relative.at < relative.end:
            pair = relative.take(SEQUENCE)
            pair.take(OID)
            pair.take()
            pair.done()


def verify_message(content: memoryview, message: bytes, trusted: Trusted) -> str:
    """What verify_pkcs7_signature() answers for a module: "good"; "bad" (EKEYREJECTED); "no key" (ENOKEY); the name of
    another errno; "" for what can't be told here."""
    try:
        found = parse_message(message)
    except Refused as refused:
        return str(refused)
    if found.has_data:
        return "EBADMSG"
    if found.data_type != _DATA or found.signers[0].has_attributes:
        return BAD if all(signer.kind != "ml-dsa" for signer in found.signers) else UNKNOWN
    answer = NO_KEY
    for signer in found.signers:
        one = _verify_signer(content, signer, found.certificates, trusted)
        if one in (BAD, UNKNOWN):
            return one
        if one == GOOD:
            answer = GOOD
    return answer


def _verify_signer(content: memoryview, signer: Signer, along: tuple[Certificate, ...], trusted: Trusted) -> str:
    own = [certificate for certificate in along if signer.is_by(certificate)]
    if own and not _fits(content, signer, own[0]):
        return BAD if own[0].key is not None else UNKNOWN
    keys = [certificate for certificate in trusted.certificates if signer.is_by(certificate)]
    if not keys:
        # One that came along may lead to a trusted one by a chain, which is not followed here.
        open_ = own or any(signer.is_by(certificate) for certificate in trusted.perhaps)
        return NO_KEY if trusted.complete and not open_ else UNKNOWN
    if signer.kind == "ml-dsa" or not has_digest(signer.digest) or any(key.key is None for key in keys):
        return UNKNOWN
    return GOOD if any(_fits(content, signer, key) for key in keys) else BAD


def _fits(content: memoryview, signer: Signer, certificate: Certificate) -> bool:
    key = certificate.key
    kind = {"rsa": RsaKey, "ecdsa": EcKey}.get(signer.kind)
    if key is None or kind is None or not isinstance(key, kind):
        return False
    return key.verifies(digest_of(signer.digest, content), signer.digest, signer.signature)
