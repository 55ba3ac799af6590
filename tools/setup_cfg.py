"""Writes setup.cfg from pyproject.toml for setuptools before 61, which does not read [project] (EL 9 has 53).

    python3 tools/setup_cfg.py [DIRECTORY]

With a newer setuptools nothing is written. Python 3.9 reads no TOML by itself, so the tomli that pip carries is used.
The [project] table is taken out of pyproject.toml, in which an old setuptools would find nothing else of use.
"""

from __future__ import annotations

import configparser
import importlib
import re
import sys
from pathlib import Path
from typing import Any


def toml(text: str) -> dict[str, Any]:
    for name in ("tomllib", "tomli", "pip._vendor.tomli", "toml"):
        try:
            parsed: dict[str, Any] = importlib.import_module(name).loads(text)
        except ImportError:
            continue
        return parsed
    raise SystemExit("setup_cfg: no TOML parser: install python3-tomli, or pip 21.2 or later")


def setup_cfg(given: dict[str, Any], directory: Path) -> configparser.ConfigParser:
    """The same metadata, as setuptools 40.6 and later read it from setup.cfg."""
    project, tool = given["project"], given["tool"]["setuptools"]
    made = configparser.ConfigParser()

    def lines(values: list[str]) -> str:
        return "\n" + "\n".join(values)

    made["metadata"] = {
        "name": project["name"],
        "version": "attr: " + tool["dynamic"]["version"]["attr"],
        "description": project["description"],
        "long_description": "file: " + project["readme"],
        "license": project["license"]["text"],
    }
    made["options"] = {
        "package_dir": lines([f"{name} = {where}" for name, where in tool["package-dir"].items()]),
        "packages": "find:",
        "python_requires": project["requires-python"],
        "install_requires": lines(project["dependencies"]),
        "zip_safe": "False",
    }
    made["options.packages.find"] = {"where": tool["packages"]["find"]["where"][0]}
    if "package-data" in tool:
        made["options.package_data"] = {name: lines(globs) for name, globs in tool["package-data"].items()}
    made["options.entry_points"] = {
        "console_scripts": lines([f"{name} = {what}" for name, what in project["scripts"].items()])
    }
    made["options.data_files"] = {
        where: lines([str(file.relative_to(directory)) for glob in globs for file in sorted(directory.glob(glob))])
        for where, globs in tool["data-files"].items()
    }
    return made


def main() -> None:
    import setuptools

    if int(setuptools.__version__.split(".")[0]) >= 61:
        return
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    source = directory / "pyproject.toml"
    text = source.read_text()
    made = setup_cfg(toml(text), directory)
    with open(directory / "setup.cfg", "w") as file:
        made.write(file)
    text = re.sub(r"^\[project.*?(?=^\[(?!project))", "", text, flags=re.S | re.M)
    text = re.sub(r"^\[tool\.setuptools.*?(?=^\[(?!tool\.setuptools))", "", text, flags=re.S | re.M)
    source.write_text(re.sub(r'"setuptools>=\d+"', '"setuptools", "wheel"', text))


if __name__ == "__main__":
    main()
