"""What modprobe would do: which modules a word means, in what order it would load them, and what keeps it from it.

modprobe.d(5), and libkmod of kmod 30: libkmod-config.c (the files), libkmod-module.c (kmod_module_new_from_lookup,
kmod_module_probe_insert_module), libkmod.c (the look-ups), shared/util.c (alias_normalize).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

#: How many modules one word may pull in; real ones pull in a few dozen.
_PULLED_MAX = 100
#: How many patterns of an index that begin with a wildcard are looked at; real indexes have none, and these are what
#: a look-up spends its time on.
_ANYWHERE_MAX = 500
_WILD = re.compile(r"[*?\[\\]")


class Softdep(NamedTuple):
    """`softdep NAME pre: ... post: ...`; `module` is a pattern of names, `file` the base name of the file it is in."""

    file: str
    module: str
    pre: tuple[str, ...]
    post: tuple[str, ...]


@dataclass(frozen=True)
class ModprobeConfig:
    """The lines of modprobe.d, in the order they are read.

    `blacklist` stops aliases only (`cmdline_blacklist` are those of the kernel's command line); `install` replaces the
    loading with a command (a pattern of names, and the command as text), of which the first that fits holds, as with
    `softdeps`. `aliases` are (pattern, module).
    """

    blacklist: frozenset[str] = frozenset()
    install: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[tuple[str, str], ...] = ()
    softdeps: tuple[Softdep, ...] = ()
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cmdline_blacklist: frozenset[str] = frozenset()

    def command(self, name: str) -> str:
        """The command of the install line that holds for a module; "" where none does."""
        return next((command for pattern, command in self.install.items() if fits(pattern, name)), "")

    def stops(self, name: str) -> str:
        """The command of an install line that keeps a module from ever being loaded by modprobe; "" where none does."""
        command = self.command(name)
        return command if re.fullmatch(r"(/usr)?/bin/(false|true)|:", command.strip()) else ""

    def with_kernel(self, modules_softdep: str, cmdline: Iterable[str] = ()) -> ModprobeConfig:
        """With a kernel's modules.softdep, whose place among the files is by its name, like theirs, and with the
        modprobe.blacklist= of its command line."""
        own = parse_modprobe_conf([("modules.softdep", modules_softdep)]).softdeps
        values = (word.partition("=")[2] for word in cmdline if word.startswith("modprobe.blacklist="))
        kept_out = frozenset(name for value in values for name in value.split(",") if name)
        return replace(
            self,
            softdeps=tuple(sorted((*self.softdeps, *own), key=lambda dep: dep.file)),
            blacklist=self.blacklist | kept_out,
            cmdline_blacklist=kept_out,
        )

    @functools.cached_property
    def _softdeps(self) -> tuple[dict[str, int], list[int]]:
        """Where in `softdeps` each plain name comes first, and where the patterns are."""
        plain: dict[str, int] = {}
        wild = []
        for number, dep in enumerate(self.softdeps):
            if _WILD.search(dep.module):
                wild.append(number)
            else:
                plain.setdefault(dep.module, number)
        return plain, wild

    def softdep(self, name: str) -> Softdep | None:
        """The softdep line that holds for a module: the first that fits."""
        plain, wild = self._softdeps
        best = plain.get(name, len(self.softdeps))
        best = next((n for n in wild if n < best and fits(self.softdeps[n].module, name)), best)
        return self.softdeps[best] if best < len(self.softdeps) else None


def parse_modprobe_conf(files: Iterable[tuple[str, str]]) -> ModprobeConfig:
    """The (base name, text) of each file, in the order modprobe reads them.  Lines it does not know are passed over, as
    modprobe does (it warns)."""
    blacklist: set[str] = set()
    install: dict[str, str] = {}
    aliases: list[tuple[str, str]] = []
    softdeps: list[Softdep] = []
    options: dict[str, tuple[str, ...]] = {}
    for file, text in files:
        for line in text.replace("\\\n", "").split("\n"):
            words = line.strip("\t ").split(None, 2)
            if len(words) < 2 or line.startswith("#"):
                continue
            name = normalized(words[1])
            rest = words[2].rstrip() if len(words) > 2 else ""
            if name is None:
                continue
            if words[0] == "blacklist":
                blacklist.add(name)
            elif words[0] == "alias" and rest:
                aliases.append((name, normalized(rest.split()[0]) or ""))
            elif words[0] == "install" and rest:
                install.setdefault(name, rest)
            elif words[0] == "softdep" and rest:
                softdeps.append(Softdep(file, name, *_softdeps(rest)))
            elif words[0] == "options" and rest:
                options[name] = (*options.get(name, ()), rest)
    return ModprobeConfig(frozenset(blacklist), install, tuple(dict.fromkeys(aliases)), tuple(softdeps), options)


def _softdeps(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(pre, post); words in front of either are passed over."""
    found: dict[str, list[str]] = {"": [], "pre:": [], "post:": []}
    mode = ""
    for word in text.split():
        if word in ("pre:", "post:"):
            mode = word
        else:
            found[mode].append(word)
    return tuple(found["pre:"]), tuple(found["post:"])


def normalized(alias: str) -> str | None:
    """A name or an alias with `_` for `-`, except inside brackets; None where a bracket stands alone."""
    if "[" not in alias and "]" not in alias:
        return alias.replace("-", "_")
    parts = re.split(r"(\[[^\]]*\])", alias)
    for n in range(0, len(parts), 2):
        if "[" in parts[n] or "]" in parts[n]:
            return None
        parts[n] = parts[n].replace("-", "_")
    return "".join(parts)


def fits(pattern: str, word: str) -> bool:
    """fnmatch(3) without flags.  Takes time in proportion to the product of the lengths, whatever the pattern."""
    wild = _WILD.search(pattern)
    if wild is None:
        return pattern == word
    if not word.startswith(pattern[: wild.start()]):
        return False
    try:
        first, rest, last_length = _compiled(pattern)
    except re.error:
        return False
    if not rest:
        return first.fullmatch(word) is not None
    here = first.match(word)
    for piece in rest[:-1]:
        # Every piece has one length, so the first place where it fits leaves the most for the others.
        here = piece.search(word, here.end()) if here else None
    start = len(word) - last_length
    return here is not None and start >= here.end() and rest[-1].fullmatch(word, start) is not None


@functools.lru_cache(4096)
def _compiled(pattern: str) -> tuple[re.Pattern[str], tuple[re.Pattern[str], ...], int]:
    """The pieces between the stars of a pattern: the first, the others, and the length of what the last one matches."""
    pieces = _pieces(pattern)
    first, *rest = [re.compile("".join(piece), re.S) for piece in pieces]
    return first, tuple(rest), len(pieces[-1])


def _pieces(pattern: str) -> list[list[str]]:
    """What stands between the stars of a pattern, each character of it as a regular expression."""
    pieces: list[list[str]] = [[]]
    at = 0
    while at < len(pattern):
        c = pattern[at]
        at += 1
        if c == "*":
            pieces.append([])
        elif c == "?":
            pieces[-1].append(".")
        elif c == "\\" and at < len(pattern):
            pieces[-1].append(re.escape(pattern[at]))
            at += 1
        elif c == "[" and pattern.find("]", at + 1) >= 0:
            end = pattern.find("]", at + 1)
            inside = pattern[at:end]
            at = end + 1
            negated = inside[:1] in ("!", "^")
            escaped = re.sub(r"([\\\[\]^&~|])", r"\\\1", inside[negated:])
            pieces[-1].append(f"[{'^' if negated else ''}{escaped}]")
        else:
            pieces[-1].append(re.escape(c))
    return pieces


class Aliases:
    """The lines `alias PATTERN MODULE` of modules.alias or modules.symbols."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._plain: dict[str, list[tuple[int, str]]] = {}
        self._wild: list[tuple[int, str, str]] = []
        self._anywhere: list[tuple[int, str, str]] = []
        for number, (pattern, module) in enumerate(pairs):
            wild = _WILD.search(pattern)
            if wild is None:
                self._plain.setdefault(pattern, []).append((number, module))
            elif wild.start() or len(self._anywhere) < _ANYWHERE_MAX:
                (self._wild if wild.start() else self._anywhere).append((number, pattern, module))

    @classmethod
    def parse(cls, text: str) -> Aliases:
        lines = (line.split() for line in text.splitlines() if line.startswith("alias "))
        words = ((line[1], line[2]) for line in lines if len(line) == 3)
        return cls((n, m.replace("-", "_")) for p, m in words for n in (normalized(p),) if n is not None)

    @classmethod
    def of_builtin(cls, modinfo: str) -> Aliases:
        """Those of modules.builtin.modinfo: NUL-separated `MODULE.FIELD=VALUE`."""
        found = []
        for entry in modinfo.split("\0"):
            key, _, value = entry.partition("=")
            module, _, name = key.partition(".")
            pattern = normalized(value) if name == "alias" else None
            if pattern is not None:
                found.append((pattern, module.replace("-", "_")))
        return cls(found)

    def modules(self, word: str) -> list[str]:
        """The modules that a word is an alias of, in the order of the lines, each once."""
        found = list(self._plain.get(word, ()))
        found += [(n, m) for n, pattern, m in (*self._wild, *self._anywhere) if fits(pattern, word)]
        return list(dict.fromkeys(module for _, module in sorted(found)))

    def names(self) -> list[str]:
        """The aliases without wildcards."""
        return list(self._plain)


class Meaning(NamedTuple):
    """The modules that a word means, and by what: "name", "modprobe.d alias", "symbol", "install line", "alias",
    "built-in", "built-in alias"; "" where it means none."""

    modules: tuple[str, ...]
    how: str

    @property
    def by_alias(self) -> bool:
        """Whether `blacklist` applies."""
        return self.how in ("modprobe.d alias", "symbol", "alias", "built-in alias")


class Action(NamedTuple):
    """What modprobe does with one module: `kind` is insmod, builtin or install; `path` the file, or the command."""

    kind: str
    module: str
    path: str
    options: str = ""


class ModuleIndex:
    """What depmod wrote for one kernel; `text` gives a file of its directory by name, "" where there is none.

    `dep` maps a module's name to its path below the tree and the paths of what it needs, nearest first. Aliases are
    read when they are first asked for.
    """

    def __init__(
        self, dep: Mapping[str, tuple[str, tuple[str, ...]]], builtin: frozenset[str], text: Callable[[str], str]
    ) -> None:
        self.dep = dep
        self.builtin = builtin
        self._text = text

    @functools.cached_property
    def aliases(self) -> Aliases:
        return Aliases.parse(self._text("modules.alias"))

    @functools.cached_property
    def symbols(self) -> Aliases:
        return Aliases.parse(self._text("modules.symbols"))

    @functools.cached_property
    def builtin_aliases(self) -> Aliases:
        return Aliases.of_builtin(self._text("modules.builtin.modinfo"))


class Modprobe:
    """modprobe on one kernel."""

    def __init__(self, index: ModuleIndex, config: ModprobeConfig, name_of: Callable[[str], str]) -> None:
        self.index = index
        self.config = config
        self._name_of = name_of
        self._meanings: dict[str, Meaning] = {}

    def meaning(self, word: str) -> Meaning:
        """What modprobe takes a word for: the first of its look-ups that finds anything (modprobe -R)."""
        if word not in self._meanings:
            self._meanings[word] = self._meaning(word)
        return self._meanings[word]

    def _meaning(self, word: str) -> Meaning:
        name = normalized(word)
        if name is None:
            return Meaning((), "")
        configured = tuple(module for pattern, module in self.config.aliases if fits(pattern, name))
        if configured:
            return Meaning(configured, "modprobe.d alias")
        if name in self.index.dep:
            return Meaning((name,), "name")
        if name.startswith("symbol:"):
            found = self.index.symbols.modules(name)
            if found:
                return Meaning(tuple(found), "symbol")
        if name in self.config.install:
            return Meaning((name,), "install line")
        found = self.index.aliases.modules(name)
        if found:
            return Meaning(tuple(found), "alias")
        if name in self.index.builtin:
            return Meaning((name,), "built-in")
        found = self.index.builtin_aliases.modules(name)
        return Meaning(tuple(found), "built-in alias" if found else "")

    def actions(self, word: str) -> list[Action]:
        """What `modprobe WORD` would do, in order, with nothing loaded yet (modprobe --show-depends)."""
        done: list[Action] = []
        meaning = self.meaning(word)
        for module in meaning.modules:
            if not (meaning.by_alias and module in self.config.blacklist):
                self._probe(module, set(), done, normalized(word) if meaning.by_alias else None)
        return done

    def _probe(self, module: str, visited: set[str], done: list[Action], alias: str | None = None) -> None:
        """__kmod_module_get_probe_list(): what it depends on, farthest first, each with its softdeps; then itself."""
        if module in visited or len(visited) > _PULLED_MAX:
            return
        visited.add(module)
        for path in reversed(self.index.dep.get(module, ("", ()))[1]):
            self._with_softdeps(self._name_of(path), visited, done)
        self._with_softdeps(module, visited, done, alias)

    def _with_softdeps(self, module: str, visited: set[str], done: list[Action], alias: str | None = None) -> None:
        soft = self.config.softdep(module)
        for word in () if soft is None else soft.pre:
            for name in self.meaning(word).modules:
                self._probe(name, visited, done)
        replaced = self.config.command(module) if soft is None or not (soft.pre or soft.post) else ""
        options = " ".join(o for key in dict.fromkeys((module, alias)) if key for o in self.config.options.get(key, ()))
        path = self.index.dep.get(module, ("", ()))[0]
        if replaced:
            done.append(Action("install", module, replaced, options))
        elif path:
            done.append(Action("insmod", module, path, options))
        elif module in self.index.builtin:
            done.append(Action("builtin", module, ""))
        for word in () if soft is None else soft.post:
            for name in self.meaning(word).modules:
                self._probe(name, visited, done)
