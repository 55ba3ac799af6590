"""Start-up: what a face costs before it does anything, beside an interpreter that imports argparse and json."""

from __future__ import annotations

import sys
import tempfile

from tests.bench.compare import compare, show


def main() -> None:
    hostward = [
        sys.executable,
        "-I",
        "-c",
        "import sys; sys.path.insert(0, 'agent'); from hostward.cli import run; run()",
    ]
    with tempfile.TemporaryDirectory() as empty:
        sides = {
            "python3 -I -c 'import argparse, json'": [sys.executable, "-I", "-c", "import argparse, json"],
            "hostward --version": [*hostward, "--version"],
            "hostward check --root EMPTY": [*hostward, "check", "--root", empty],
        }
        show("Start-up", compare(sides, runs=15), base="python3 -I -c 'import argparse, json'")


if __name__ == "__main__":
    main()
