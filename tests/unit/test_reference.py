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


def test_the_page_of_the_release_note_is_current_and_every_bullet_is_proven() -> None:
    argv = [sys.executable, "-c", "from tools import release_note; print(release_note.text(), end='')"]
    made = subprocess.run(argv, capture_output=True, text=True, cwd=REPOSITORY, timeout=60)
    assert made.returncode == 0, made.stderr
    assert made.stdout == (REPOSITORY / "docs/rhel-5.6-kvm.md").read_text(), "run tools/release_note.py"
    rows = [line for line in made.stdout.splitlines() if line.startswith("| ")][2:]
    assert len(rows) == 12, "section 4.15 has twelve bullets"
    assert not any("`nothing`" in row for row in rows)
