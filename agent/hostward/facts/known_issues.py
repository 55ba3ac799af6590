"""Known issues: vendors' release notes as data (config/known-issues/*.yaml and the site's own)."""

from __future__ import annotations

from dataclasses import dataclass

from hostward.facts import fact
from hostward.host import Host, Missing
from hostward.model import BZ, Reference, Unavailable
from hostward.versions import satisfies
from hostward.yamldoc import ConfigError, Document

SITE = "/etc/hostward/known-issues.d"


@dataclass(frozen=True)
class KnownIssue:
    """One entry of a vendor's release notes.

    `package` and `kernel` say where it applies: a package's name and a condition on the kernel's
    release such as `< 2.6.18-203.el5`; empty where they do not matter.
    """

    id: str
    product: str
    release: str
    section: str
    title: str
    happens: str
    advice: str
    check: str = ""
    references: tuple[Reference, ...] = ()
    package: str = ""
    kernel: str = ""


@dataclass(frozen=True)
class KnownIssues:
    entries: tuple[KnownIssue, ...]

    def of_check(self, id: str) -> tuple[KnownIssue, ...]:
        """The entries that a check in code answers for."""
        return tuple(entry for entry in self.entries if entry.check == id)


@fact
def known_issues() -> KnownIssues:
    """Reads the shipped entries and the site's.  A broken file makes the fact unavailable, with file and line."""
    from hostward.host.data import data_directory

    here = Host.running()
    entries: list[KnownIssue] = []
    for directory in (f"{data_directory()}/known-issues", SITE):
        try:
            names = here.names(directory)
        except Missing:
            continue
        for name in names:
            if name.endswith(".yaml"):
                path = f"{directory}/{name}"
                try:
                    entries += parse_known_issues(path, here.read(path))
                except ConfigError as error:
                    raise Unavailable(str(error)) from None
    return KnownIssues(tuple(entries))


def parse_known_issues(path: str, data: bytes) -> list[KnownIssue]:
    """The entries of one file.  Raises ConfigError naming file, line and the nearest right key."""
    file = Document(path, data)
    if file.root is None:
        return []
    top = dict(file.known(file.root, "the file", ("product", "release", "section", "issues")))
    head = {}
    for key in ("product", "release", "section"):
        if key not in top:
            raise ConfigError(file.at(file.root), f"the file needs {key}")
        head[key] = file.scalar(top[key], "a text", key)
    found: list[KnownIssue] = []
    for node in file.sequence(top["issues"], "issues") if "issues" in top else []:
        given = dict(
            file.known(node, "an issue", ("id", "bug", "references", "title", "happens", "advice", "applies", "check"))
        )
        words = {}
        for key in ("id", "title", "happens", "advice", "check"):
            if key in given:
                words[key] = file.scalar(given[key], "a text", key).strip()
            elif key != "check":
                raise ConfigError(file.at(node), f"an issue needs {key}")
        references: list[Reference] = []
        if "bug" in given:
            references.append(BZ(int(file.number(given["bug"], "a whole number", "bug", 1, 1e9))))
        for item in file.sequence(given["references"], "references") if "references" in given else []:
            references.append(Reference(file.scalar(item, "a text", "a reference")))
        applies = dict(file.known(given["applies"], "applies", ("package", "kernel"))) if "applies" in given else {}
        where = {key: file.scalar(value, "a text", f"applies.{key}") for key, value in applies.items()}
        if "kernel" in where:
            try:
                satisfies("0", where["kernel"])
            except ValueError as error:
                raise ConfigError(file.at(applies["kernel"]), str(error)) from None
        found.append(KnownIssue(**head, **words, references=tuple(references), **where))
    return found
