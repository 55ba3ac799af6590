"""A module of the kernel's own and everything that may befall its signature, as files to load."""

from __future__ import annotations

import functools
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hostward.kmod.module import unpacked
from hostward.kmod.signature import MAGIC, read_signature
from tests.lab.debs import Kernel

#: What makes a key, by the name it goes by here.
KEYS = {
    "rsa2048": ("-newkey", "rsa:2048"),
    "rsa4096": ("-newkey", "rsa:4096"),
    "p256": ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
    "p384": ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"),
    "p521": ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521"),
}


def own(kernel: Kernel, name: str = "irqbypass.ko") -> bytes:
    """A module of the kernel's tree, inflated."""
    (path,) = kernel.modules.rglob(name + "*")
    return unpacked(path.read_bytes())


def trailer(content: bytes, message: bytes) -> bytes:
    return content + message + struct.pack(">BBBBB3xI", 0, 0, 2, 0, 0, len(message)) + MAGIC


def parts(data: bytes) -> tuple[bytes, bytes]:
    """(the module, the PKCS#7 message behind it)."""
    found = read_signature(data)
    assert found is not None and not found.problem
    start = len(data) - found.size
    return data[:start], data[start : -len(MAGIC) - 12]


@functools.cache
def key(kind: str) -> str:
    """A fresh key and its certificate in PEM; lives as long as the tests do."""
    with tempfile.TemporaryDirectory() as directory:
        argv = ["openssl", "req", "-x509", *KEYS[kind], "-nodes", "-days", "36500", "-subj", f"/CN=Lab {kind}"]
        out = f"{directory}/key.pem"
        subprocess.run([*argv, "-keyout", f"{directory}/k", "-out", out], check=True, capture_output=True)
        return Path(f"{directory}/k").read_text() + Path(out).read_text()


def certificate(kind: str) -> bytes:
    """The certificate of such a key, as DER."""
    argv = ["openssl", "x509", "-outform", "DER"]
    return subprocess.run(argv, input=key(kind).encode(), check=True, capture_output=True).stdout


def sign(content: bytes, kind: str, digest: str = "sha256", *options: str) -> bytes:
    """The PKCS#7 message that `openssl cms` makes, as scripts/sign-file does where no other options are given."""
    with tempfile.TemporaryDirectory() as directory:
        pem = Path(directory) / "pem"
        pem.write_text(key(kind))
        argv = ["openssl", "cms", "-sign", "-binary", "-outform", "DER", "-md", digest, "-signer", str(pem)]
        argv += list(options or ("-noattr", "-nocerts"))
        return subprocess.run(argv, input=content, check=True, capture_output=True).stdout


def befallen(data: bytes) -> Iterator[tuple[str, bytes]]:
    """(a name for it, the file)."""
    content, message = parts(data)

    def put(at: int, value: int) -> bytes:
        return message[:at] + bytes((value,)) + message[at + 1 :]

    yield "intact", data
    for part in (0x18, len(content) // 3, len(content) // 2, len(content) - 1):
        yield f"byte-{part}", trailer(content[:part] + bytes((content[part] ^ 1,)) + content[part + 1 :], message)
    # Every byte of the message's structure in turn: tags, lengths, versions, object identifiers, names.
    for at in [*range(min(len(message), 200)), len(message) - 1, len(message) - 40]:
        yield f"message-{at}-low", trailer(content, put(at, message[at] ^ 1))
        yield f"message-{at}-high", trailer(content, put(at, message[at] ^ 0x80))
    for cut in (0, 1, 2, 10, len(message) // 2, len(message) - 1):
        yield f"cut-to-{cut}", trailer(content, message[:cut])
    yield "zeros-behind", trailer(content, message + bytes(8))
    yield "too-long", trailer(content, message + bytes(65536 - len(message)))
    for kind in KEYS:
        yield f"stranger-{kind}", trailer(content, sign(content, kind))
    for digest in ("md5", "sha1", "sha224", "sha384", "sha512"):
        yield f"stranger-{digest}", trailer(content, sign(content, "rsa2048", digest))
    yield "stranger-key-id", trailer(content, sign(content, "rsa2048", "sha256", "-noattr", "-nocerts", "-keyid"))
    yield "stranger-attributes", trailer(content, sign(content, "rsa2048", "sha256", "-nocerts"))
    yield "stranger-with-data", trailer(content, sign(content, "rsa2048", "sha256", "-noattr", "-nocerts", "-nodetach"))
    yield "stranger-of-another", trailer(content, sign(b"another", "rsa2048"))
