"""What pip installs is whole: the console script, and the agent's own data beside it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.slow
def test_an_installed_wheel_runs_away_from_the_checkout(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(
        REPOSITORY, source, ignore=shutil.ignore_patterns(".git", ".venv", "tests", "build", "*.egg-info", ".*_cache")
    )
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    built = subprocess.run(
        [*pip, "wheel", "--no-deps", "-w", str(tmp_path / "wheels"), str(source)], capture_output=True, text=True
    )
    if built.returncode and "setuptools" in built.stderr:
        pytest.skip("setuptools can't be had from a package index here, so no wheel can be built")
    assert built.returncode == 0, built.stderr
    (wheel,) = (tmp_path / "wheels").glob("hostward-*.whl")
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", str(venv)], check=True)
    python = venv / "bin" / "python"
    subprocess.run([python, "-m", "pip", "-q", "install", "--no-deps", str(wheel)], check=True, capture_output=True)
    shutil.rmtree(source)

    def run(*arguments: str) -> str:
        return subprocess.run(
            [venv / "bin" / "hostward", *arguments], check=True, capture_output=True, text=True, cwd="/"
        ).stdout

    assert run("--version").startswith("hostward ")
    assert "BZ#509361" in run("explain", "modules.kernel-floor")
    installed = {str(p.relative_to(venv / "share" / "hostward")) for p in (venv / "share" / "hostward").rglob("*.*")}
    shipped = {str(p.relative_to(REPOSITORY / "config")) for p in (REPOSITORY / "config").rglob("*.*")}
    assert installed == shipped
