"""Mutated modules, symvers, maps, kernel images and initramfs archives through the readers of hostward.kmod.

    python tests/fuzz/fuzz_kmod.py                       a million inputs, all processors
    python tests/fuzz/fuzz_kmod.py --seed 7 --only 1234  one of them again, with its traceback

Nothing but the documented exceptions may come out, no input may take longer than runner.TIME_MAX_S or more memory than
runner.GROWTH_MAX.  Exits 1 when one does.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from tests.fuzz import runner
from tests.fuzz.kmod_inputs import maker
from tests.fuzz.kmod_seeds import seeds
from tests.fuzz.kmod_targets import TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=int(time.time()) & 0xFFFFFF)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", type=int, help="the number of one input to run again")
    parser.add_argument("--save", help="with --only: write the input to this file")
    arguments = parser.parse_args()
    known = seeds()
    make = maker(known)
    if arguments.only is not None:
        name, reader, data = make(runner.draw(arguments.seed, arguments.only))
        print(f"{reader}, from {name}, {len(data)} bytes")
        if arguments.save:
            with open(arguments.save, "wb") as file:
                file.write(data)
        TARGETS[reader][0](data)
        return 0
    kinds: dict[str, int] = {}
    for seed in known:
        kinds[seed.kind] = kinds.get(seed.kind, 0) + 1
    print(
        f"seed {arguments.seed}; files to mutate: {', '.join(f'{n} {kind}' for kind, n in kinds.items())}", flush=True
    )
    start = time.monotonic()
    tally = runner.in_processes(arguments.seed, arguments.inputs, arguments.jobs, make, TARGETS)
    took = time.monotonic() - start
    print(
        f"{tally.inputs:,} inputs in {took:.0f} s, {tally.inputs / took:,.0f} a second on {arguments.jobs} processors"
    )
    print(", ".join(f"{count:,} {name}" for name, count in sorted(tally.by_reader.items())))
    print(f"{tally.accepted:,} were read to their end, the others refused with a documented reason")
    print(f"slowest: {tally.slowest_s * 1000:.0f} ms of a processor ({tally.slowest})")
    print(f"peak memory of a process: {tally.peak >> 20} MB, {tally.base >> 20} MB of them at its start")
    print(f"most memory by one input: {tally.growth >> 20} MB ({tally.hungriest})")
    for failure in tally.failures:
        print(f"\nFAILED with seed {arguments.seed}: {failure}")
    print("\nno failure" if not tally.failures else f"\n{len(tally.failures)} failures")
    return 1 if tally.failures or tally.inputs != arguments.inputs else 0


if __name__ == "__main__":
    sys.exit(main())
