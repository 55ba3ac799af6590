"""Trees that mean harm: how long `hostward check --root` takes on each; at most 2 s."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile

from tests.bench.compare import run_once
from tests.hosts.hostile import STORIES

LIMIT_S = 2.0


def main() -> None:
    print(f"Hostile trees: hostward check --root TREE, median of 3  (target {LIMIT_S:g} s each)")
    argv = [sys.executable, "-I", "-c", "import sys; sys.path.insert(0, 'agent'); from hostward.cli import run; run()"]
    for story in sorted(STORIES):
        with tempfile.TemporaryDirectory() as root:
            STORIES[story](os.path.join(root, "tree"))
            samples = [run_once([*argv, "check", "--root", os.path.join(root, "tree")], {}) for _ in range(3)]
        wall = statistics.median(sample[0] for sample in samples)
        peak = max(sample[2] for sample in samples)
        verdict = "met" if wall <= LIMIT_S else "MISSED"
        print(f"  {story.ljust(22)} wall {wall * 1000:7.1f} ms  peak {peak:6.1f} MiB  {verdict}")


if __name__ == "__main__":
    main()
