"""Writes docs/rhel-5.6-kvm.md: section 4.15 of the release notes, each bullet with what judges it and what proves it.

From the known issues, the checks' own signatures and the tests marked `proves`: tools/release_note.py
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY / "agent"))

from hostward import checks, remedies  # noqa: E402
from hostward.engine import parameter_types  # noqa: E402
from hostward.facts.known_issue_file import parse_known_issues  # noqa: E402

TARGET = REPOSITORY / "docs" / "rhel-5.6-kvm.md"
NOTE = REPOSITORY / "config" / "known-issues" / "rhel-5.6-kvm.yaml"
TESTS = REPOSITORY / "tests"


def proofs() -> dict[str, list[str]]:
    """The tests that carry @pytest.mark.proves(ID, ...), by id."""
    found: dict[str, list[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        text = path.read_text()
        if "mark.proves" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.FunctionDef):
                continue
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Attribute) and mark.func.attr == "proves":
                    for argument in mark.args:
                        assert isinstance(argument, ast.Constant)
                        place = f"{path.relative_to(REPOSITORY)}::{node.name}"
                        found.setdefault(str(argument.value), []).append(place)
    return found


def lines() -> Iterator[str]:
    known = checks.load_all()
    proven = proofs()
    mending = remedies.load_all()
    yield "# RHEL 5.6 release notes, section 4.15 kvm: every bullet as a rule that runs"
    yield ""
    yield "Made by `tools/release_note.py` from `config/known-issues/rhel-5.6-kvm.yaml`, the checks, and the tests"
    yield "marked `proves`. `hostward explain CHECK` tells more of each; `hostward known-issues --release 5.6`"
    yield "lists them."
    yield ""
    yield "| bullet | check | facts it reads | applies | proven by |"
    yield "| --- | --- | --- | --- | --- |"
    issues = parse_known_issues(NOTE.name, NOTE.read_bytes())
    for issue in issues:
        check = known[issue.check]
        facts = ", ".join(f"`{kind}`" for _, kind, _ in parameter_types(check.function))
        bugs = "".join(f" [{r.text}]({r.url})" for r in issue.references)
        tests = "<br>".join(f"`{place}`" for place in proven.get(issue.id, ["nothing"]))
        where = issue.needs.replace("<", "&lt;").replace(">", "&gt;")
        yield f"| {issue.title}{bugs} | `{issue.check}` | {facts} | {where} | {tests} |"
    for issue in issues:
        yield ""
        yield f"## {issue.title}"
        yield ""
        yield issue.happens
        yield ""
        yield f"What to do: {issue.advice}"
        named = sorted(id for id in mending if id in _remedies_of(issue.check))
        if named:
            yield ""
            yield "Remedies: " + ", ".join(f"`{id}`" for id in named) + "."


def _remedies_of(check: str) -> set[str]:
    """The remedies that a check's findings name: the texts of its function that are remedies' ids."""
    import inspect

    tree = ast.parse(inspect.getsource(sys.modules[checks.CHECKS[check].function.__module__]))
    name = checks.CHECKS[check].function.__name__
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return {str(c.value) for c in ast.walk(node) if isinstance(c, ast.Constant) and isinstance(c.value, str)}
    return set()


def text() -> str:
    return "\n".join(lines()) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text())
