"""One file of known issues, checked word by word: an error names the file, the line and what would be right."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from hostward.facts import domain_path
from hostward.facts.known_issues import DomainMatch, FileMatch, KnownIssue, Match
from hostward.model import BZ, Reference, Severity
from hostward.versions import satisfies
from hostward.yamldoc import ConfigError, Document, nearest

#: The id that os-release gives the system, or its family, for the product that a file's head names.
PRODUCTS = {
    "Red Hat Enterprise Linux": "rhel",
    "Fedora": "fedora",
    "Debian": "debian",
    "Ubuntu": "ubuntu",
    "SUSE Linux Enterprise Server": "sles",
    "openSUSE Leap": "opensuse",
}
_HEAD = ("product", "release", "section")
_ISSUE = ("id", "bug", "bugs", "references", "title", "happens", "advice", "severity", "applies", "check", "match")
_APPLIES = ("distribution", "release", "package", "version", "kernel", "architecture", "on")
_UNIT_STATES = ("active", "inactive", "enabled", "disabled", "masked")


def parse_known_issues(path: str, data: bytes, ours: bool = False) -> list[KnownIssue]:
    """The entries of one file.  Raises ConfigError naming file, line and the nearest right key."""
    return _Reader(Document(path, data, ours)).entries()


class _Reader:
    def __init__(self, file: Document) -> None:
        self.file = file

    def entries(self) -> list[KnownIssue]:
        file = self.file
        if file.root is None:
            return []
        top = dict(file.known(file.root, "the file", (*_HEAD, "issues")))
        head: dict[str, Any] = {}
        for key in _HEAD:
            if key not in top:
                raise ConfigError(file.at(file.root), f"the file needs {key}")
            head[key] = self.text(top[key], key)
        nodes = file.sequence(top["issues"], "issues") if "issues" in top else []
        return [self.issue(node, head) for node in nodes]

    def issue(self, node: Any, head: dict[str, Any]) -> KnownIssue:
        file = self.file
        given = dict(file.known(node, "an issue", _ISSUE))
        words: dict[str, Any] = {}
        for key in ("id", "title", "happens", "advice", "check"):
            if key in given:
                words[key] = self.text(given[key], key)
            elif key != "check":
                raise ConfigError(file.at(node), f"an issue needs {key}")
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", words["id"]):
            raise ConfigError(
                file.at(given["id"]), f"an id is of small letters, digits, dots and dashes: {words['id']}"
            )
        if "check" in given and "match" in given:
            raise ConfigError(file.at(given["match"]), "an issue has a check in code or a match, not both")
        applies = self.applies(given["applies"], head["product"]) if "applies" in given else {}
        return KnownIssue(
            **head,
            **words,
            **applies,
            references=tuple(self.references(given)),
            severity=self.severity(given["severity"]) if "severity" in given else Severity.WARNING,
            match=self.match(given["match"]) if "match" in given else None,
            source=file.at(node),
        )

    def references(self, given: dict[str, Any]) -> list[Reference]:
        file = self.file
        numbers = [given["bug"]] if "bug" in given else []
        numbers += file.sequence(given["bugs"], "bugs") if "bugs" in given else []
        found: list[Reference] = []
        for item in numbers:
            if re.fullmatch(r"[A-Z]+-\d+", str(item.value)):
                found.append(Reference(item.value, f"https://issues.redhat.com/browse/{item.value}"))
            else:
                found.append(BZ(int(file.number(item, "a whole number", "bug", 1, 1e9))))
        for item in file.sequence(given["references"], "references") if "references" in given else []:
            text = self.text(item, "a reference")
            found.append(Reference(text, text if text.startswith("https://") else ""))
        return found

    def severity(self, node: Any) -> Severity:
        return Severity[self.word(node, "severity", tuple(s.word for s in Severity)).upper()]

    def applies(self, node: Any, product: str) -> dict[str, Any]:
        file = self.file
        given = dict(file.known(node, "applies", _APPLIES))
        found: dict[str, Any] = {}
        if "distribution" in given:
            found["distributions"] = self.texts(given["distribution"], "applies.distribution")
        if "release" in given:
            found["releases"] = self.condition(given["release"], "applies.release")
            if "distribution" not in given:
                if product not in PRODUCTS:
                    raise ConfigError(
                        file.at(given["release"]),
                        f"applies.release needs applies.distribution, as {product} is no product known here"
                        + nearest(product, PRODUCTS),
                    )
                found["distributions"] = (PRODUCTS[product],)
        if "package" in given:
            found["package"] = self.text(given["package"], "applies.package")
        if "version" in given:
            if "package" not in given:
                raise ConfigError(
                    file.at(given["version"]), "applies.version needs applies.package: a version of what?"
                )
            found["versions"] = self.condition(given["version"], "applies.version")
        if "kernel" in given:
            found["kernel"] = self.condition(given["kernel"], "applies.kernel")
        if "architecture" in given:
            found["architectures"] = self.texts(given["architecture"], "applies.architecture")
        if "on" in given:
            found["on"] = self.word(given["on"], "applies.on", ("host", "guest", "any"))
        return found

    def match(self, node: Any) -> Match:
        file = self.file
        parts: dict[str, Callable[[Any], Any]] = {
            "domain": self.domain,
            "module": self.module,
            "unit": self.unit,
            "sysfs": self.a_file,
            "config": self.a_file,
        }
        given = dict(file.known(node, "match", parts))
        if not given:
            raise ConfigError(file.at(node), f"match needs one of {', '.join(parts)}")
        found = {key: parts[key](value) for key, value in given.items()}
        files = tuple(found[key] for key in ("sysfs", "config") if key in found)
        return Match(found.get("domain"), found.get("module"), found.get("unit"), files)

    def domain(self, node: Any) -> DomainMatch:
        file = self.file
        if not isinstance(node, file.yaml.MappingNode):
            return DomainMatch(has=self.paths(node, "match.domain"))
        keys = ("has", "has-any", "lacks", "above", "count-above", "os", "which")
        given = dict(file.known(node, "match.domain", keys))
        if not set(given) & {"has", "has-any", "above", "count-above", "os"}:
            raise ConfigError(
                file.at(node), "match.domain needs has, has-any, above, count-above or os, or it is true of every one"
            )
        which = (
            self.word(given["which"], "match.domain.which", ("stored", "live", "any")) if "which" in given else "any"
        )
        return DomainMatch(
            has=self.paths(given["has"], "match.domain.has") if "has" in given else (),
            has_any=self.paths(given["has-any"], "match.domain.has-any") if "has-any" in given else (),
            lacks=self.paths(given["lacks"], "match.domain.lacks") if "lacks" in given else (),
            above=tuple(self.numbers(given["above"], "match.domain.above")) if "above" in given else (),
            count_above=tuple((p, int(n)) for p, n in self.numbers(given["count-above"], "match.domain.count-above"))
            if "count-above" in given
            else (),
            os=self.texts(given["os"], "match.domain.os") if "os" in given else (),
            which=which,
        )

    def module(self, node: Any) -> tuple[str, bool]:
        if not isinstance(node, self.file.yaml.MappingNode):
            return self.text(node, "match.module"), True
        given = dict(self.file.known(node, "match.module", ("name", "loaded")))
        if "name" not in given:
            raise ConfigError(self.file.at(node), "match.module needs name")
        return self.text(given["name"], "match.module.name"), self.truth(given.get("loaded"), "match.module.loaded")

    def unit(self, node: Any) -> tuple[str, str]:
        given = dict(self.file.known(node, "match.unit", ("name", "state")))
        for key in ("name", "state"):
            if key not in given:
                raise ConfigError(self.file.at(node), f"match.unit needs {key}")
        name = self.text(given["name"], "match.unit.name")
        if not re.fullmatch(r"[\w:.@\\-]+\.[a-z]+", name):
            raise ConfigError(
                self.file.at(given["name"]), f"match.unit.name: a unit's whole name, such as ksmtuned.service: {name}"
            )
        return name, self.word(given["state"], "match.unit.state", _UNIT_STATES)

    def a_file(self, node: Any) -> FileMatch:
        given = dict(self.file.known(node, "a file", ("path", "matches", "exists")))
        if "path" not in given:
            raise ConfigError(self.file.at(node), "a file needs path")
        path = self.text(given["path"], "path")
        if not path.startswith("/"):
            raise ConfigError(self.file.at(given["path"]), f"path must be absolute, not {path}")
        pattern = self.text(given["matches"], "matches") if "matches" in given else ""
        try:
            re.compile(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise ConfigError(self.file.at(given["matches"]), f"matches is no regular expression: {error}") from None
        exists = self.truth(given.get("exists"), "exists")
        if pattern and not exists:
            raise ConfigError(self.file.at(node), "a file that must not exist can't be matched")
        return FileMatch(path, pattern, exists)

    # The small words

    def text(self, node: Any, what: str) -> str:
        text = self.file.scalar(node, "a text", what).strip()
        if not text:
            raise ConfigError(self.file.at(node), f"{what} is empty")
        return text

    def texts(self, node: Any, what: str) -> tuple[str, ...]:
        """One text or a list of them."""
        if isinstance(node, self.file.yaml.SequenceNode):
            return tuple(self.text(item, what) for item in node.value)
        return (self.text(node, what),)

    def word(self, node: Any, what: str, known: tuple[str, ...]) -> str:
        text = self.file.scalar(node, "a text", what)
        if text not in known:
            raise ConfigError(self.file.at(node), f"{what}: {text} is none of {', '.join(known)}{nearest(text, known)}")
        return text

    def truth(self, node: Any, what: str) -> bool:
        """A yes or no; yes where nothing is given."""
        if node is None:
            return True
        if not str(getattr(node, "tag", "")).endswith(":bool"):
            raise ConfigError(self.file.at(node), f"{what} must be true or false")
        return str(node.value).lower() in ("true", "yes", "on")

    def condition(self, node: Any, what: str) -> str:
        text = self.text(node, what)
        try:
            satisfies("0", text)
        except ValueError as error:
            raise ConfigError(self.file.at(node), str(error)) from None
        return text

    def paths(self, node: Any, what: str) -> tuple[str, ...]:
        nodes = node.value if isinstance(node, self.file.yaml.SequenceNode) else [node]
        return tuple(self.path(item, what) for item in nodes)

    def path(self, node: Any, what: str) -> str:
        text = self.text(node, what)
        wrong = domain_path.wrong_with(text)
        if wrong:
            raise ConfigError(self.file.at(node), f"{what}: {wrong}")
        return text

    def numbers(self, node: Any, what: str) -> list[tuple[str, float]]:
        found = []
        for _, key, value in self.file.mapping(node, what):
            found.append((self.path(key, what), self.file.number(value, "a number", what, 0, 1e12)))
        return found
