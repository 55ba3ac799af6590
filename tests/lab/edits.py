"""Real modules of real kernels, with a few bytes changed."""

from __future__ import annotations

import lzma
from collections.abc import Mapping

from tests.lab.debs import Kernel, NotAtHand

_SIGNED = b"~Module signature appended~\n"


def in_tree(kernel: Kernel, name: str) -> bytes:
    """An in-tree module of a kernel as its ELF file, inflated and without its signature.  Raises NotAtHand."""
    for path in sorted(kernel.modules.rglob(f"{name}.ko*")):
        data = path.read_bytes()
        if path.suffix == ".xz":
            data = lzma.decompress(data)
        return unsigned(data)
    raise NotAtHand(f"kernel {kernel.release} has no module {name}")


def unsigned(data: bytes) -> bytes:
    """The module without the signature at its end (struct module_signature: its last word is the length)."""
    if not data.endswith(_SIGNED):
        return data
    end = len(data) - len(_SIGNED)
    return data[: end - 12 - int.from_bytes(data[end - 4 : end], "big")]


def renamed(data: bytes, names: Mapping[str, str]) -> bytes:
    """Every NUL-terminated whole name replaced by another as long: in the string table, __versions and .modinfo."""
    for old, new in names.items():
        assert len(old) == len(new)
        count = 0
        for before in (b"\0", b"="):
            pattern = before + old.encode() + b"\0"
            count += data.count(pattern)
            data = data.replace(pattern, before + new.encode() + b"\0")
        assert count, f"{old} is not in this module"
    return data
