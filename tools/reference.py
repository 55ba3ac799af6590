"""Writes docs/checks.md, the reference of all checks and remedies, from the checks themselves: tools/reference.py"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY / "agent"))

from hostward import checks, remedies  # noqa: E402
from hostward.engine import parameter_types  # noqa: E402

TARGET = REPOSITORY / "docs" / "checks.md"


def lines() -> Iterator[str]:
    yield "# Checks and remedies"
    yield ""
    yield "Made from the code by `tools/reference.py`; `hostward explain` prints the same."
    for check in checks.load_all().values():
        yield ""
        yield f"## `{check.id}`"
        yield ""
        yield f"What ought to be true: {check.title}."
        if check.why:
            yield ""
            yield from check.why.splitlines()
        yield ""
        names = ", ".join(f"`{kind}`" for _, kind, _ in parameter_types(check.function))
        yield f"Reads the facts {names}."
        if check.references:
            yield ""
            yield "See " + ", ".join(f"[{r.text}]({r.url})" if r.url else r.text for r in check.references) + "."
    yield ""
    yield "## Remedies"
    yield ""
    yield "| remedy | what it does | who agrees | chosen by |"
    yield "| --- | --- | --- | --- |"
    for remedy in remedies.load_all().values():
        how = f"`fix --choose {remedy.choice}`" if remedy.choice else "`fix`, the default"
        yield f"| `{remedy.id}` | {remedy.title} | {remedy.kind.value} | {how} |"


def text() -> str:
    return "\n".join(lines()) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text())
