"""One mutated input for a reader of hostward.kmod from random numbers."""

from __future__ import annotations

import gzip
import random
from collections.abc import Sequence

from tests.fuzz import mutations
from tests.fuzz.kmod_seeds import Seed
from tests.fuzz.runner import Maker

#: How often each kind is drawn.
SHARES = {
    "module": 60,
    "symvers": 9,
    "map": 3,
    "kallsyms": 1,
    "config": 1,
    "vmlinux": 9,
    "image": 5,
    "initramfs": 10,
    "packed": 2,
}
_TEXTS = ("symvers", "map", "kallsyms", "config")


def maker(seeds: Sequence[Seed]) -> Maker:
    """A function from random numbers to (seed's name, reader, input); kinds without a seed are left out."""
    by_kind: dict[str, list[Seed]] = {}
    for seed in seeds:
        by_kind.setdefault(seed.kind, []).append(seed)
    by_kind["packed"] = [s for s in seeds if " of " in s.name and s.kind != "image"]
    kinds = [kind for kind in SHARES if by_kind.get(kind)]
    weights = [SHARES[kind] for kind in kinds]
    donors = {kind: [seed.data for seed in by_kind[kind]] for kind in kinds}

    def make(draw: random.Random) -> tuple[str, str, bytes]:
        kind = draw.choices(kinds, weights)[0]
        seed = draw.choice(by_kind[kind])
        data = _mutated(draw, seed, kind, donors[kind])
        if draw.random() < 0.02 and len(data) < 1 << 17 and kind in ("module", "symvers", "initramfs"):
            # Broken inside, sound outside.
            data = gzip.compress(data, 1)
        return seed.name, kind, data

    return make


def _mutated(draw: random.Random, seed: Seed, kind: str, donors: Sequence[bytes]) -> bytes:
    fields = seed.fields
    if fields is not None:
        return mutations.several(draw, seed.data, lambda d, data: mutations.elf(d, data, fields, donors))
    once = mutations.words if kind in _TEXTS and " of " not in seed.name else mutations.anywhere
    return mutations.several(draw, seed.data, lambda d, data: once(d, data, donors))
