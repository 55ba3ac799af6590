"""What a package transaction touched, by the names of its files; everything where nobody says what."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from hostward.facts.module_trees import TreeModule, module_name
from hostward.facts.verdicts import JudgedModule

_IN_TREE = re.compile(r"/lib/modules/([^/]+)/(.+)")
_SCRIPTS = "/etc/sysconfig/modules/"
_DEEP = 20  # modules that need each other


@dataclass(frozen=True)
class Touched:
    """`files` are module files outside the kernels' own trees, `kernels` releases whose own files came, changed or
    went; all without a leading /usr, which packages and file systems may name or leave out.
    """

    everything: bool = False
    files: frozenset[str] = frozenset()
    kernels: frozenset[str] = frozenset()
    scripts: bool = False

    @property
    def nothing(self) -> bool:
        return not (self.everything or self.files or self.kernels or self.scripts)

    def module(self, module: TreeModule) -> bool:
        return self.everything or module.release in self.kernels or self._file(module.path, module.target)

    def judged(self, module: JudgedModule, depth: int = _DEEP) -> bool:
        """Whether the module, the file behind its link, or a module that it needs was touched."""
        if self.everything or module.release in self.kernels or self._file(module.path, module.file):
            return True
        return depth > 0 and any(self.judged(provider, depth - 1) for provider in module.providers)

    def named(self, names: Iterable[str]) -> bool:
        """Whether a module of one of these names was touched, in a kernel's own tree or outside."""
        return self.everything or any(module_name(file) in names for file in self.files)

    def _file(self, *paths: str) -> bool:
        return any(_plain(path) in self.files for path in paths if path)


EVERYTHING = Touched(everything=True)


def by_files(names: Iterable[str]) -> Touched:
    """What a transaction touched that changed these files."""
    files: set[str] = set()
    kernels: set[str] = set()
    scripts = False
    for name in names:
        path = _plain(name)
        if path.startswith(_SCRIPTS):
            scripts = True
            continue
        match = _IN_TREE.fullmatch(path)
        if match is None:
            continue
        release, rest = match.groups()
        if "/" not in rest or rest.startswith("kernel/"):
            kernels.add(release)
        if module_name(path):
            files.add(path)
    return Touched(False, frozenset(files), frozenset(kernels), scripts)


def _plain(path: str) -> str:
    return path[4:] if path.startswith("/usr/lib/") else path
