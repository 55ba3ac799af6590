"""A PKCS#7 message as it stands behind signed modules, without a signature that could be verified (RFC 5652)."""

from __future__ import annotations

SHA256 = bytes.fromhex("0609608648016503040201")
_SIGNED_DATA, _DATA = bytes.fromhex("06092a864886f70d010702"), bytes.fromhex("06092a864886f70d010701")
_RSA, _COMMON_NAME = bytes.fromhex("06092a864886f70d010101"), bytes.fromhex("0603550403")


def der(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    if len(body) < 128:
        return bytes((tag, len(body))) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + body


def message(signer: str, serial: int) -> bytes:
    """ContentInfo > SignedData with one SignerInfo, by issuer and serial number."""
    name = der(0x30, der(0x31, der(0x30, _COMMON_NAME, der(0x0C, signer.encode()))))
    number = der(0x02, serial.to_bytes((serial.bit_length() + 8) // 8, "big"))
    digest = der(0x30, SHA256)
    info = der(0x30, der(0x02, b"\1"), der(0x30, name, number), digest, der(0x30, _RSA), der(0x04, b"\x5a" * 256))
    signed = der(0x30, der(0x02, b"\1"), der(0x31, digest), der(0x30, _DATA), der(0x31, info))
    return der(0x30, _SIGNED_DATA, der(0xA0, signed))
