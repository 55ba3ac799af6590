"""Signatures by RSA (PKCS#1 v1.5, RFC 8017) and ECDSA (FIPS 186-4) verified in whole numbers.

Verifying uses nothing secret, so that it takes no constant time does no harm.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import NamedTuple

from hostward.kmod.der import INTEGER, SEQUENCE, BadDer, Der

#: The DigestInfo before a digest (RFC 8017, 9.2).
_PREFIXES = {
    "sha1": bytes.fromhex("3021300906052b0e03021a05000414"),
    "sha224": bytes.fromhex("302d300d06096086480165030402040500041c"),
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
    "sha3-256": bytes.fromhex("3031300d060960864801650304020805000420"),
    "sha3-384": bytes.fromhex("3041300d060960864801650304020905000430"),
    "sha3-512": bytes.fromhex("3051300d060960864801650304020a05000440"),
}
#: The largest modulus that is worked with, in bits: the kernel's (rsa_check_key_length(), crypto/rsa.c).
_MODULUS_MAX = 4096
_EXPONENT_MAX = 64


class Curve(NamedTuple):
    """y^2 = x^3 - 3x + b over p, with a generator of order n."""

    p: int
    b: int
    n: int
    x: int
    y: int


_P256 = (1 << 256) - (1 << 224) + (1 << 192) + (1 << 96) - 1
_P384 = (1 << 384) - (1 << 128) - (1 << 96) + (1 << 32) - 1
_P521 = (1 << 521) - 1
#: By the object identifiers in a certificate (SEC 2; FIPS 186-4, D.1.2).
CURVES = {
    bytes.fromhex("2a8648ce3d030107"): Curve(
        _P256,
        0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
        0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
        0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
        0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
    ),
    bytes.fromhex("2b81040022"): Curve(
        _P384,
        0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF,
        0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
        0xAA87CA22BE8B05378EB1C71EF320AD746E1D3B628BA79B9859F741E082542A385502F25DBF55296C3A545E3872760AB7,
        0x3617DE4A96262C6F5D9E98BF9292DC29F8F41DBD289A147CE9DA3113B5F0B8C00A60B1CE1D7E819D7A431D7C90EA0E5F,
    ),
    bytes.fromhex("2b81040023"): Curve(
        _P521,
        int(
            "0051953EB9618E1C9A1F929A21A0B68540EEA2DA725B99B315F3B8B489918EF109"
            "E156193951EC7E937B1652C0BD3BB1BF073573DF883D2C34F1EF451FD46B503F00",
            16,
        ),
        int(
            "01FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF"
            "FA51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409",
            16,
        ),
        int(
            "00C6858E06B70404E9CD9E3ECB662395B4429C648139053FB521F828AF606B4D3D"
            "BAA14B5E77EFE75928FE1DC127A2FFA8DE3348B3C1856A429BF97E7E31C2E5BD66",
            16,
        ),
        int(
            "011839296A789A3BC0045C8A5FB42C7D1BD998F54449579B446817AFBD17273E66"
            "2C97EE72995EF42640C550B9013FAD0761353C7086A272C24088BE94769FD16650",
            16,
        ),
    ),
}


def has_digest(name: str) -> bool:
    """Whether a digest by this name can be verified here."""
    return name in _PREFIXES


def digest_of(name: str, *parts: bytes | memoryview) -> bytes:
    """The digest of these bytes; `name` is one that has_digest() knows."""
    found = hashlib.new(name.replace("-", "_"))
    for part in parts:
        found.update(part)
    return found.digest()


class RsaKey(NamedTuple):
    modulus: int
    exponent: int

    def verifies(self, digest: bytes, hash_name: str, signature: bytes) -> bool:
        """Whether the signature is this key's over the digest: padding and all are compared as a whole."""
        size = (self.modulus.bit_length() + 7) // 8
        number = int.from_bytes(signature, "big")
        if len(signature) != size or number >= self.modulus:
            return False
        tail = _PREFIXES[hash_name] + digest
        padding = size - len(tail) - 3
        if padding < 8:
            return False
        return (
            pow(number, self.exponent, self.modulus).to_bytes(size, "big") == b"\0\1" + b"\xff" * padding + b"\0" + tail
        )


class EcKey(NamedTuple):
    curve: Curve
    x: int
    y: int

    def verifies(self, digest: bytes, hash_name: str, signature: bytes) -> bool:
        """Whether the signature (ECDSA-Sig-Value of RFC 3279) is this key's over the digest."""
        try:
            pair = Der(signature).take(SEQUENCE)
            r, s = _positive(pair), _positive(pair)
            pair.done()
        except BadDer:
            return False
        p, n = self.curve.p, self.curve.n
        if not (0 < r < n and 0 < s < n):
            return False
        number = int.from_bytes(digest, "big") >> max(0, 8 * len(digest) - n.bit_length())
        inverse = pow(s, -1, n)
        x, z = _sum(self.curve, number * inverse % n, r * inverse % n, (self.x, self.y))
        return z != 0 and x * pow(z * z, -1, p) % p % n == r


def rsa_key(encoded: bytes) -> RsaKey | None:
    """An RSAPublicKey of RFC 8017; None for one that is not worked with.  Raises BadDer."""
    pair = Der(encoded).take(SEQUENCE)
    modulus, exponent = _positive(pair), _positive(pair)
    fits = 512 <= modulus.bit_length() <= _MODULUS_MAX and exponent.bit_length() <= _EXPONENT_MAX
    return RsaKey(modulus, exponent) if fits and modulus & 1 and exponent > 1 else None


def ec_key(curve: Curve, point: bytes) -> EcKey | None:
    """A public key by its uncompressed point (SEC 1, 2.3.4); None where that is not on the curve."""
    size = (curve.p.bit_length() + 7) // 8
    if len(point) != 1 + 2 * size or point[0] != 4:
        return None
    x, y = int.from_bytes(point[1 : 1 + size], "big"), int.from_bytes(point[1 + size :], "big")
    on_it = x < curve.p and y < curve.p and (y * y - x * x * x + 3 * x - curve.b) % curve.p == 0
    return EcKey(curve, x, y) if on_it else None


def _positive(der: Der) -> int:
    return int.from_bytes(der.value(INTEGER), "big", signed=True)


def _double(p: int, x: int, y: int, z: int) -> tuple[int, int, int]:
    square = z * z % p
    slope = 3 * (x - square) * (x + square) % p
    yy = y * y % p
    four = 4 * x * yy % p
    x3 = (slope * slope - 2 * four) % p
    return x3, (slope * (four - x3) - 8 * yy * yy) % p, 2 * y * z % p


def _add(p: int, a: tuple[int, int, int], b: tuple[int, int, int]) -> tuple[int, int, int]:
    if not a[2]:
        return b
    if not b[2]:
        return a
    az, bz = a[2] * a[2] % p, b[2] * b[2] % p
    ax, bx = a[0] * bz % p, b[0] * az % p
    ay, by = a[1] * bz * b[2] % p, b[1] * az * a[2] % p
    if ax == bx:
        return _double(p, *a) if ay == by else (1, 1, 0)
    h, slope = bx - ax, by - ay
    hh = h * h % p
    hhh = h * hh % p
    v = ax * hh % p
    x3 = (slope * slope - hhh - 2 * v) % p
    return x3, (slope * (v - x3) - ay * hhh) % p, a[2] * b[2] * h % p


@lru_cache(maxsize=16)
def _multiples(p: int, x: int, y: int) -> list[tuple[int, int, int]]:
    """0 to 15 times a point."""
    found = [(1, 1, 0), (x, y, 1)]
    for _ in range(14):
        found.append(_add(p, found[-1], found[1]))
    return found


def _sum(curve: Curve, first: int, second: int, point: tuple[int, int]) -> tuple[int, int]:
    """(x, z) of first * generator + second * point: four bits of both at a time."""
    p = curve.p
    ours, theirs = _multiples(p, curve.x, curve.y), _multiples(p, *point)
    total = (1, 1, 0)
    for shift in range((curve.n.bit_length() + 3) // 4 * 4 - 4, -4, -4):
        if total[2]:
            for _ in range(4):
                total = _double(p, *total)
        for number, multiples in ((first, ours), (second, theirs)):
            digit = number >> shift & 15
            if digit:
                total = _add(p, total, multiples[digit])
    return total[0], total[2]
