"""YAML that a person wrote, each thing with its line, so that an error can say where and what would be right."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class ConfigError(Exception):
    """A configuration that can't be used: file, line, what is wrong and what would be right."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")


def nearest(word: str, known: Iterable[str]) -> str:
    import difflib

    near = difflib.get_close_matches(word, list(known), 1, 0.4)
    return f"; did you mean {near[0]}?" if near else f"; known: {', '.join(sorted(known))}"


class Document:
    """One YAML file as nodes that remember their lines.

    `ours` is for hostward's own data alone: libyaml reads it twelve times as fast, and nested deeply enough ends the
    process, where PyYAML's own reader raises RecursionError.
    """

    def __init__(self, path: str, data: bytes, ours: bool = False) -> None:
        import yaml

        self.path = path
        self.yaml = yaml
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            number = data.count(b"\n", 0, error.start) + 1
            raise ConfigError(f"{path}:{number}", "not UTF-8 text") from None
        try:
            loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader) if ours else yaml.SafeLoader
            self.root = yaml.compose(text, Loader=loader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f":{mark.line + 1}" if mark is not None else ""
            problem = getattr(error, "problem", None) or "not valid YAML"
            raise ConfigError(f"{path}{line}", f"not valid YAML: {problem}") from None
        except RecursionError:
            raise ConfigError(path, "nested too deeply to be a configuration") from None

    def at(self, node: Any) -> str:
        return f"{self.path}:{node.start_mark.line + 1}"

    def mapping(self, node: Any, what: str) -> list[tuple[str, Any, Any]]:
        """(key, key's node, value's node) of a mapping without duplicates.  Raises ConfigError."""
        if not isinstance(node, self.yaml.MappingNode):
            raise ConfigError(self.at(node), f"{what} must be a mapping of keys to values, not {kind_of(node)}")
        seen: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, self.yaml.ScalarNode):
                raise ConfigError(self.at(key), f"a key of {what} must be a word")
            if key.value in seen:
                raise ConfigError(self.at(key), f"{key.value} stands twice in {what}")
            seen[key.value] = (key.value, key, value)
        return list(seen.values())

    def sequence(self, node: Any, what: str) -> list[Any]:
        """The nodes of a list.  Raises ConfigError."""
        if not isinstance(node, self.yaml.SequenceNode):
            raise ConfigError(self.at(node), f"{what} must be a list, not {kind_of(node)}")
        return list(node.value)

    def scalar(self, node: Any, kind: str, what: str) -> str:
        tag = getattr(node, "tag", "").rpartition(":")[2]
        if not isinstance(node, self.yaml.ScalarNode) or tag not in _TAGS[kind]:
            raise ConfigError(self.at(node), f"{what} must be {kind}, not {kind_of(node)}")
        return str(node.value)

    def number(self, node: Any, kind: str, what: str, low: float, high: float) -> float:
        text = self.scalar(node, kind, what)
        try:
            value = float(text)
        except ValueError:
            raise ConfigError(self.at(node), f"{what} must be {kind} in plain digits, not {text!r}") from None
        if not low <= value <= high:
            raise ConfigError(self.at(node), f"{what} must lie between {low:g} and {high:g}, not {text}")
        return value

    def known(self, node: Any, what: str, keys: Iterable[str]) -> list[tuple[str, Any]]:
        """The entries of a mapping whose keys must be among `keys`.  Raises ConfigError with the nearest right one."""
        found = []
        for name, key, value in self.mapping(node, what):
            if name not in keys:
                raise ConfigError(self.at(key), f"unknown key {name} in {what}{nearest(name, keys)}")
            found.append((name, value))
        return found


_TAGS = {
    "a text": ("str",),
    "a whole number": ("int",),
    "a number": ("int", "float"),
    "a date such as 2027-01-31": ("timestamp",),
}


def kind_of(node: Any) -> str:
    tag = str(node.tag).rpartition(":")[2]
    words = {"map": "a mapping", "seq": "a list", "null": "nothing", "bool": "a yes or no", "int": "a number"}
    if tag in words:
        return words[tag]
    return f"{node.value!r}" if isinstance(node.value, str) else tag
