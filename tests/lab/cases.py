"""Modules to put before a kernel: real ones, the lab's own, and both with one thing changed.

Each function below yields cases for one kernel, as (name, files to load in this order). What a kernel answers is
for the kernel to say and for the agent to foresee: no expectation stands here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.lab import elfedit
from tests.lab.debs import Kernel
from tests.lab.modlab import Load, built

Case = tuple[str, list[Load]]


@dataclass(frozen=True)
class Modules:
    """The modules at hand for one kernel."""

    kernel: Kernel

    def lab(self, name: str) -> bytes:
        return (built(self.kernel) / f"{name}.ko").read_bytes()

    def own(self, name: str) -> Path:
        """The file of an in-tree module."""
        return next(iter(sorted(self.kernel.modules.rglob(f"{name}.ko*"))))


def chain(modules: Modules, *names: str) -> list[Load]:
    return [Load(f"{name}.ko", modules.lab(name)) for name in names]


def symbols(m: Modules) -> Iterator[Case]:
    """Symbols that are there, are not, are others, or are not for everybody."""
    yield "provider-and-users", chain(m, "labprov", "labcount", "labplain", "labspaced", "labweak", "labboth")
    yield "kernel-symbols", chain(m, "labkernel", "labgpl")
    yield "no-provider", chain(m, "labboth")
    yield "weak-without-provider", chain(m, "labweak")
    yield "provider-with-another-crc", chain(m, "labother", "labcount", "labweak", "labboth", "labplain")
    yield "crc-changed", [Load("labkernel.ko", elfedit.versions(m.lab("labkernel"), {"kfree": 1}))]
    yield "no-version-for-a-symbol", [Load("labkernel.ko", elfedit.versions(m.lab("labkernel"), {"kfree": None}))]
    proprietary = elfedit.field(m.lab("labgpl"), "license", "Proprietary")
    yield "gpl-only-from-proprietary", [Load("labgpl.ko", proprietary)]
