"""Which file is meant by a module's name: depmod's configuration for what will be, its output for what is.

depmod.d(5), and tools/depmod.c of kmod (depmod_module_is_higher_priority).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

BUILT_IN = "built-in"
#: How many lines of modules.dep are read: no kernel has half as many modules.
_LISTED_MAX = 20_000


@dataclass(frozen=True)
class SearchOrder:
    """depmod's choice between files of one name.

    `order` lists directories below the module tree, best first, BUILT_IN standing for all others; `overrides` are
    (module's name, pattern of kernels or "*", directory), the last that fits wins: one that says the very path of a
    file, the name with the dashes it has there. `configured` is False where no file says an order, so that depmod's
    default holds.
    """

    order: tuple[str, ...] = ("updates", BUILT_IN)
    overrides: tuple[tuple[str, str, str], ...] = ()
    configured: bool = False

    def rank(self, path: str) -> int:
        """How early a path below the tree comes; smaller is better."""
        built_in = self.order.index(BUILT_IN) if BUILT_IN in self.order else len(self.order)
        for number, directory in enumerate(self.order):
            if directory != BUILT_IN and path.startswith(directory + "/"):
                return number
        return built_in

    def choose(self, name: str, release: str, paths: Iterable[str]) -> tuple[str, bool]:
        """(the path below the tree that depmod takes for a module, whether that is certain).

        Of equals depmod keeps the one that readdir returned first, which nobody can foresee.
        """
        paths = sorted(paths)
        for module, kernels, directory in reversed(self.overrides):
            if kernels == "*" or _matches(kernels, release):
                for path in paths:
                    if path.partition(".ko")[0] == f"{directory}/{module}":
                        return path, True
        ranks = [self.rank(path) for path in paths]
        best = min(ranks)
        return paths[ranks.index(best)], ranks.count(best) == 1


#: A pattern that repeats a repetition, or repeats much, can keep a backtracking matcher busy for ever.
_ENDLESS = re.compile(r"\)[*+?{]|(?:[*+?{].*){7}", re.S)


def _matches(pattern: str, release: str) -> bool:
    """Whether depmod's kernel pattern, unanchored, fits a release; one that could cost too much fits nothing."""
    if len(pattern) > 200 or _ENDLESS.search(pattern):
        return False
    try:
        return re.search(pattern, release) is not None
    except re.error:
        return False


def parse_depmod_conf(texts: Iterable[str]) -> SearchOrder:
    """The search order that configuration files say, in the order depmod reads them.  Lines it does not know are
    passed over, as depmod does (it warns)."""
    order: list[str] = []
    overrides: list[tuple[str, str, str]] = []
    for text in texts:
        for line in text.replace("\\\n", " ").splitlines():
            words = line.split("#")[0].split()
            if not words:
                continue
            if words[0] == "search":
                order += words[1:]
            elif words[0] == "override" and len(words) >= 4:
                overrides.append((words[1], words[2], words[3]))
    if not order:
        return SearchOrder(overrides=tuple(overrides))
    return SearchOrder(tuple(order), tuple(overrides), True)


def parse_modules_dep(text: str, tree: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """modules.dep: path below the tree -> name's file and the files it needs, nearest first.

    The keys are module names with underscores; the paths of old files are absolute and lose the tree in front.
    """
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    bases = tuple(f"{base}/" for base in dict.fromkeys((tree, tree.replace("/usr/lib/", "/lib/", 1), f"/usr{tree}")))

    def below(path: str) -> str:
        for base in bases:
            if path.startswith(base):
                return path[len(base) :]
        return path

    for line in text.splitlines()[:_LISTED_MAX]:
        path, colon, rest = line.partition(":")
        if colon:
            needs = rest.split()
            if "/" in (path[:1], *(need[:1] for need in needs)):
                path, needs = below(path), [below(need) for need in needs]
            found.setdefault(name_of(path), (path, tuple(needs)))
    return found


def name_of(path: str) -> str:
    """The name the kernel and modprobe know a module file by: its base name up to .ko, with underscores."""
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


def parse_modules_symbols(text: str) -> dict[str, str]:
    """modules.symbols: symbol -> name of the module that exports it."""
    found = re.findall(r"^[ \t]*alias[ \t]+symbol:(\S+)[ \t]+(\S+)[ \t]*$", text, re.M)
    return dict(reversed(found))


def shadowed(directories: Iterable[Iterable[tuple[str, str]]]) -> list[tuple[str, str]]:
    """(name, path) of the configuration files to read: of one name the first directory's, all in the order of names."""
    chosen: dict[str, str] = {}
    for entries in directories:
        for name, path in entries:
            chosen.setdefault(name, path)
    return sorted(chosen.items())
