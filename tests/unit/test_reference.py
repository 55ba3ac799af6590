"""docs/checks.md is what the checks say today."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_the_reference_is_current(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "from tools import reference; print(reference.text(), end='')"]
    made = subprocess.run(argv, capture_output=True, text=True, cwd=REPOSITORY, timeout=60)
    assert made.returncode == 0, made.stderr
    assert made.stdout == (REPOSITORY / "docs/checks.md").read_text(), "run tools/reference.py"
