"""Only host/ touches a machine: no other floor opens a path, runs a program or reads a clock; checks/ do no I/O."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "agent" / "hostward"

MODULES = {"subprocess", "socket", "tempfile", "shutil", "pathlib", "glob", "fcntl", "time", "datetime"}
CALLS = {"open", "input", "print"}
OS = {
    *("open", "read", "pread", "write", "stat", "lstat", "listdir", "scandir", "readlink", "uname", "access"),
    *("unlink", "remove", "rename", "replace", "symlink", "mkdir", "makedirs", "walk", "system", "popen", "kill"),
}
OS_PATH = {"exists", "lexists", "isfile", "isdir", "islink", "realpath", "getsize", "getmtime"}
FLOORS = ("checks", "facts", "kmod", "remedies")
#: What the rule forbids and is meant all the same, with the reason.
ALLOWED = {
    ("engine.py", "datetime"): "the day, for switch-offs that expire; handed in by tests",
    ("config.py", "datetime"): "the type of an expiry date, not a clock",
}


def reaches(path: Path) -> set[str]:
    """The names in a file that reach out to the machine."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names} & MODULES
        elif isinstance(node, ast.ImportFrom):
            found |= {(node.module or "").split(".")[0]} & MODULES
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
            found.add(f"{node.func.id}()")
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            found |= {f"os.{node.attr}"} & {f"os.{name}" for name in OS}
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Attribute)
            and isinstance(node.value.value, ast.Name)
            and (node.value.value.id, node.value.attr) == ("os", "path")
        ):
            found |= {f"os.path.{node.attr}"} & {f"os.path.{name}" for name in OS_PATH}
    return found


FILES = [p for floor in FLOORS for p in sorted((PACKAGE / floor).rglob("*.py"))]
FILES += [PACKAGE / name for name in ("engine.py", "config.py", "yamldoc.py", "model.py", "versions.py")]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_way_round_the_host(path: Path) -> None:
    name = str(path.relative_to(PACKAGE))
    assert {what for what in reaches(path) if (name, what) not in ALLOWED} == set()


def test_the_rule_finds_what_it_forbids(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("import subprocess\nfrom pathlib import Path\nos.listdir('/')\nos.path.isdir('/')\nopen('x')\n")
    assert reaches(bad) == {"subprocess", "pathlib", "os.listdir", "os.path.isdir", "open()"}


@pytest.mark.parametrize("path", sorted((PACKAGE / "checks").rglob("*.py")), ids=lambda p: p.name)
def test_checks_do_not_even_know_a_host(path: Path) -> None:
    imported = {
        node.module
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module
    }
    assert not {name for name in imported if name.startswith("hostward.host")}
