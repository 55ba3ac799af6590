"""Signatures of modules against the certificates of kernels, and against what openssl says of them."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from functools import cache
from pathlib import Path

import pytest

from hostward.kmod.certificates import Trusted, built_in, efi_certificates, parse_certificates
from hostward.kmod.image import read_image
from hostward.kmod.module import unpacked
from hostward.kmod.publickey import CURVES, EcKey, ec_key
from hostward.kmod.signature import MAGIC, verify
from tests.lab import debs, signed
from tests.lab.foreign import KERNELS, foreign

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


@cache
def trusted(role: str) -> Trusted:
    certificates = read_image(debs.kernel(role).image.read_bytes(), "vmlinuz").certificates
    assert certificates is not None
    return Trusted(parse_certificates(certificates), True)


def openssl_says(content: bytes, message: bytes, pem: str, directory: Path) -> bool:
    (directory / "content").write_bytes(content)
    (directory / "certificate").write_text(pem)
    argv = ["openssl", "cms", "-verify", "-binary", "-noverify", "-inform", "DER", "-out", "/dev/null"]
    argv += ["-content", str(directory / "content"), "-certfile", str(directory / "certificate")]
    return subprocess.run(argv, input=message, capture_output=True).returncode == 0


@pytest.mark.parametrize("role", ["A", "B", "C", "D", "R"])
def test_a_kernels_own_modules_are_signed_by_its_own_key(role: str) -> None:
    other = "B" if role == "A" else "A"
    paths = sorted(debs.kernel(role).modules.rglob("*.ko*"))[::40]
    spent_s = 0.0
    for path in paths:
        data = unpacked(path.read_bytes())
        begun = time.process_time()
        assert verify(data, trusted(role)) == "good", path
        spent_s += time.process_time() - begun
        assert verify(data, trusted(other)) == "no key", path
        assert verify(data, Trusted(trusted(other).certificates, False)) == "", path
    print(f"{len(paths)} modules of {role}, {spent_s / len(paths) * 1000:.1f} ms each")
    assert spent_s / len(paths) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suite", "architecture", "flavour"), [k for k in KERNELS if k[1] in ("amd64", "i386", "ppc64el")]
)
def test_modules_of_other_architectures_and_years(suite: str, architecture: str, flavour: str) -> None:
    of = foreign(suite, architecture, flavour)
    keys = Trusted(parse_certificates(read_image(of.image.read_bytes(), "vmlinuz").certificates or ()), True)
    paths = sorted(of.modules.rglob("*.ko*"))[::40]
    assert paths and {verify(unpacked(path.read_bytes()), keys) for path in paths} == {"good"}


@pytest.mark.parametrize("role", ["A", "C"])
def test_one_altered_bit_anywhere_is_seen(role: str) -> None:
    data = signed.own(debs.kernel(role))
    content, message = signed.parts(data)
    chance = random.Random(5)
    for at in [0, 1, len(content) - 1, *chance.sample(range(len(content)), 40)]:
        altered = content[:at] + bytes((content[at] ^ 1 << chance.randrange(8),)) + content[at + 1 :]
        assert verify(signed.trailer(altered, message), trusted(role)) == "bad", at
    kept = []
    for at in range(len(message)):
        altered = message[:at] + bytes((message[at] ^ 1,)) + message[at + 1 :]
        state = verify(signed.trailer(content, altered), trusted(role))
        assert state in ("good", "bad", "no key", "EBADMSG", "EINVAL", "ENOPKG"), at
        kept += [at] if state == "good" else []
    # What the kernel does not look at, as the lab shows: the list of digests, the parameters of algorithms, SET or
    # SEQUENCE. Of the signature itself, which stands last, every bit counts.
    assert len(kept) < 24 and max(kept) < len(message) - 104 + 12, kept


@needs_openssl
@pytest.mark.parametrize("kind", signed.KEYS)
@pytest.mark.parametrize("digest", ["sha1", "sha224", "sha256", "sha384", "sha512"])
def test_the_same_answer_as_openssl(kind: str, digest: str, tmp_path: Path) -> None:
    content = b"\x7fELF" + random.Random(kind + digest).randbytes(3000)
    own = Trusted(parse_certificates([signed.certificate(kind)]), True)
    assert own.certificates[0].key is not None
    message = signed.sign(content, kind, digest)
    tail = bytearray(message)
    tail[-9] ^= 4
    for what, mark in ((content, message), (content + b"\0", message), (content, bytes(tail))):
        begun = time.process_time()
        answer = verify(signed.trailer(what, mark), own)
        assert time.process_time() - begun < 0.1
        assert answer == ("good" if openssl_says(what, mark, signed.key(kind), tmp_path) else "bad")
    by_key_id = signed.sign(content, kind, digest, "-noattr", "-nocerts", "-keyid")
    assert verify(signed.trailer(content, by_key_id), own) == "good"
    assert verify(signed.trailer(content, by_key_id), Trusted((), True)) == "no key"


@needs_openssl
def test_a_certificate_of_the_firmware_leaves_it_open() -> None:
    content = bytes(100)
    data = signed.trailer(content, signed.sign(content, "p256"))
    certificate = signed.certificate("p256")
    entry = bytes(16) + certificate
    size = (28 + len(entry)).to_bytes(4, "little")
    guid = bytes.fromhex("a159c0a5e494a74a87b5ab155c2bf072")
    variable = guid + size + bytes(4) + len(entry).to_bytes(4, "little") + entry
    assert list(efi_certificates(variable * 2)) == [certificate] * 2
    assert list(efi_certificates(variable[:-1])) == []
    assert verify(data, Trusted((), True, parse_certificates([certificate]))) == ""


@needs_openssl
def test_a_list_of_certificates_is_told_from_one_of_revoked_ones() -> None:
    one, two = signed.certificate("p256"), signed.certificate("rsa2048")

    def listed(*found: bytes, first: bool) -> bytes:
        whole = b"".join(found)
        sizes = len(whole).to_bytes(8, "little") + (len(found[0]).to_bytes(8, "little") if first else bytes(8))
        return whole + bytes(-len(whole) % 8) + sizes

    section = bytes(64) + listed(two, first=False) + listed(one, two, first=True)
    assert built_in(section, 64, False) == (one, two)
    assert built_in(bytes(64) + listed(two, first=False), 64, False) == (two,)
    assert built_in(bytes(64) + one + bytes(64), 64, False) is None


def test_points_off_the_curve_are_no_keys() -> None:
    for curve in CURVES.values():
        size = (curve.p.bit_length() + 7) // 8
        point = b"\4" + curve.x.to_bytes(size, "big") + curve.y.to_bytes(size, "big")
        assert ec_key(curve, point) == EcKey(curve, curve.x, curve.y)
        assert ec_key(curve, point[:-1] + bytes((point[-1] ^ 1,))) is None
        assert ec_key(curve, point[:-1]) is None


def test_garbage_and_truncation_never_raise() -> None:
    content, message = signed.parts(signed.own(debs.kernel("C")))
    chance = random.Random(7)
    for length in range(len(message)):
        assert verify(signed.trailer(content, message[:length]), trusted("C")) in ("EBADMSG", "EINVAL")
    for _ in range(2000):
        noise = bytearray(message)
        for _ in range(chance.randrange(1, 6)):
            noise[chance.randrange(len(noise))] = chance.randrange(256)
        verify(signed.trailer(content[:64], bytes(noise)), trusted("C"))
        built_in(bytes(8) + bytes(noise), 64, False)
        parse_certificates([bytes(noise)])
        list(efi_certificates(bytes(noise)))
        verify(chance.randbytes(chance.randrange(200)) + MAGIC, trusted("C"))
