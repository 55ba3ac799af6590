"""Writes setup.py from pyproject.toml for setuptools before 61, which does not read [project] (EL 9 has 53).

    python3 tools/old_setuptools.py

With a newer setuptools nothing is done. Python 3.9 reads no TOML by itself, so the tomli that pip carries is used. (A
setup.cfg would not do: there this setuptools writes `known_issues` for a directory `known-issues`.)
"""

from __future__ import annotations

import importlib
import pprint
import re
from pathlib import Path
from typing import Any


def toml(text: str) -> dict[str, Any]:
    for name in ("tomllib", "tomli", "pip._vendor.tomli", "toml"):
        try:
            parsed: dict[str, Any] = importlib.import_module(name).loads(text)
        except ImportError:
            continue
        return parsed
    raise SystemExit("old_setuptools: no TOML parser: install python3-tomli, or pip 21.2 or later")


def arguments(given: dict[str, Any]) -> dict[str, Any]:
    """The same metadata as arguments of setuptools.setup(); paths are below the working directory."""
    project, tool = given["project"], given["tool"]["setuptools"]
    module, _, attribute = tool["dynamic"]["version"]["attr"].rpartition(".")
    where = tool["packages"]["find"]["where"][0]
    code = Path(where, *module.split("."), "__init__.py").read_text()
    version = re.search(rf'^{attribute} = "(.*)"$', code, re.M)
    assert version is not None, f"{module} does not say {attribute}"
    packages = sorted(
        str(file.parent.relative_to(where)).replace("/", ".") for file in Path(where).rglob("__init__.py")
    )
    return {
        "name": project["name"],
        "version": version[1],
        "description": project["description"],
        "long_description": Path(project["readme"]).read_text(),
        "long_description_content_type": "text/markdown",
        "license": project["license"]["text"],
        "python_requires": project["requires-python"],
        "install_requires": project["dependencies"],
        "package_dir": tool["package-dir"],
        "packages": packages,
        "entry_points": {"console_scripts": [f"{name} = {what}" for name, what in project["scripts"].items()]},
        "data_files": [
            (where, [str(file) for glob in globs for file in sorted(Path().glob(glob))])
            for where, globs in tool["data-files"].items()
        ],
    }


def main() -> None:
    import setuptools

    if int(setuptools.__version__.split(".")[0]) >= 61:
        return
    source = Path("pyproject.toml")
    text = source.read_text()
    Path("setup.py").write_text(
        f"import setuptools\n\nsetuptools.setup(\n    **{pprint.pformat(arguments(toml(text)))}\n)\n"
    )
    source.write_text(re.sub(r'"setuptools>=\d+"', '"setuptools", "wheel"', text))


if __name__ == "__main__":
    main()
