"""Unit files of systemd as they lie on a disk: which one counts, and whether it is enabled.

The answers are those of `systemctl --root=DIR is-enabled` (src/shared/install.c of systemd), told without
running anything.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass

from hostward.host import Host, HostError, Missing

#: systemd.unit(5), "Unit File Load Path" of the system manager, best first.
DIRECTORIES = (
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.attached",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
)
PERSISTENT = "/etc/systemd/system"
FILE_MAX = 1 << 20
_DROPINS_MAX = 200
_LINKS_MAX = 20
_WANTS = (".wants", ".requires", ".upholds")


@dataclass(frozen=True)
class UnitFile:
    """One unit as its files say it.

    `state` is the word of `systemctl is-enabled` ("enabled", "disabled", "static", "masked", "alias",
    "linked", "indirect", "generated", ..., "not-found"); `bad` when its file can't be made out.
    `id` is the name of the file it really is, after aliases.  `settings` are (section, key, value) in
    the order systemd reads them, drop-ins last.
    """

    name: str
    id: str
    path: str
    state: str
    settings: tuple[tuple[str, str, str], ...] = ()
    trouble: str = ""

    @property
    def masked(self) -> bool:
        return self.state in ("masked", "masked-runtime")

    def values(self, section: str, key: str) -> list[str]:
        """The values of a list setting; an empty one forgets those before it."""
        found: list[str] = []
        for in_section, name, value in self.settings:
            if (in_section, name) == (section, key):
                if value:
                    found.append(value)
                else:
                    found.clear()
        return found


def parse(text: str) -> list[tuple[str, str, str]]:
    """(section, key, value) of a unit file in order; systemd.syntax(7)."""
    found: list[tuple[str, str, str]] = []
    section, held = "", ""
    for raw in text.split("\n"):
        line = raw.strip()
        if line[:1] in ("#", ";") or (not line and not held):
            continue  # a comment inside a continued line is skipped, too
        if line.endswith("\\"):
            held += line[:-1] + " "
            continue
        line, held = held + line, ""
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif "=" in line:
            key, _, value = line.partition("=")
            found.append((section, key.strip(), value.strip()))
    return found


def template_of(name: str) -> str:
    """`phc2sys@.service` for `phc2sys@eth0.service`; "" for what is no instance."""
    match = re.fullmatch(r"([^@/]+@)[^/]+(\.[a-z]+)", name)
    return match.group(1) + match.group(2) if match else ""


class UnitFiles:
    """The unit directories of a host, each listed once."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.directories: list[str] = []
        self._entries: dict[str, dict[str, str]] = {}
        self._known: dict[str, UnitFile] = {}
        #: what could not be read, for the person who asks why something is missing
        self.trouble: list[str] = []
        seen = set()
        for path in DIRECTORIES:
            try:
                real = host.resolve(path)
                with host.directory(path) as directory:
                    entries = directory.entries()
            except HostError as error:
                if host.is_link(path) or host.exists(path):
                    self.trouble.append(str(error))
                continue
            if real not in seen:  # /lib is /usr/lib on most hosts of today
                seen.add(real)
                self.directories.append(path)
                self._entries[path] = dict(entries)

    def _subdirectory(self, path: str) -> dict[str, str]:
        if path not in self._entries:
            try:
                with self.host.directory(path) as directory:
                    self._entries[path] = dict(directory.entries())
            except HostError:
                self._entries[path] = {}
        return self._entries[path]

    def services(self) -> Iterator[tuple[str, str]]:
        """(name, path) of each service file that is no link, the one that counts of each name."""
        seen = set()
        for directory in self.directories:
            for name, kind in self._entries[directory].items():
                if name.endswith(".service") and name not in seen:
                    seen.add(name)
                    if kind == "file":
                        yield name, f"{directory}/{name}"

    def instances(self, template: str) -> list[str]:
        """Names of instances of `phc2sys@.service` that anything links to or that have a file of their own."""
        prefix, _, suffix = template.partition("@")
        found = set()
        for directory in self.directories:
            places = [directory]
            places += [f"{directory}/{n}" for n, k in self._entries[directory].items() if k == "dir" and _is_wants(n)]
            for place in places:
                for name in self._subdirectory(place):
                    if name.startswith(f"{prefix}@") and name.endswith(suffix) and name != template:
                        found.add(name)
        return sorted(found)

    def wanted(self, name: str) -> str:
        """The link in a .wants, .requires or .upholds directory that has a unit started, "" when there is none."""
        for directory in self.directories:
            for entry, kind in self._entries[directory].items():
                if kind == "dir" and _is_wants(entry) and name in self._subdirectory(f"{directory}/{entry}"):
                    return f"{directory}/{entry}/{name}"
        return ""

    def get(self, name: str) -> UnitFile:
        """The unit of this name, found as systemd would."""
        if name not in self._known:
            self._known[name] = self._find(name)
        return self._known[name]

    def _find(self, name: str) -> UnitFile:
        found = self._lookup(name)
        if found is None:
            template = template_of(name)
            found = self._lookup(template) if template else None
            if found is None:
                return UnitFile(name, name, "", "not-found")
        directory, file = found
        path = f"{directory}/{file}"
        where, target, masked = self._follow(path)
        if masked:
            return UnitFile(name, name, target, "masked-runtime" if target.startswith("/run/") else "masked")
        if not target:
            return UnitFile(name, name, path, "bad", (), where)
        real = posixpath.basename(target)
        if template_of(name) and real == template_of(name):
            real = name
        try:
            text = self.host.text(target, FILE_MAX)
        except Missing as error:
            return UnitFile(name, name, path, "not-found", (), str(error))
        except HostError as error:
            return UnitFile(name, real, target, "bad", (), str(error))
        settings = tuple(parse(text) + self._dropins(real, name))
        unit = UnitFile(name, real, target, "", settings)
        return UnitFile(name, real, target, self._state(unit, path, target), settings)

    def _lookup(self, name: str) -> tuple[str, str] | None:
        for directory in self.directories:
            if name in self._entries[directory]:
                return directory, name
        return None

    def _follow(self, path: str) -> tuple[str, str, bool]:
        """(what is wrong, the file a unit path leads to or the mask's own path, whether it is masked)."""
        for _ in range(_LINKS_MAX):
            try:
                if not self.host.is_link(path):
                    # an empty file masks, too
                    return "", path, self.host.is_file(path) and self.host.stat(path).st_size == 0
                target = self.host.readlink(path)
            except HostError as error:
                return str(error), "", False
            after = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
            if after == "/dev/null":
                return "", path, True
            directory, name = posixpath.split(after)
            if directory in DIRECTORIES and name == posixpath.basename(path):
                return f"{path}: leads to the same name in another unit directory, a loop to systemd", "", False
            # a link to another unit means that unit, whichever file of it counts
            if directory in DIRECTORIES and name != posixpath.basename(path):
                best = self._lookup(name)
                if best is not None:
                    after = f"{best[0]}/{best[1]}"
            path = after
        return f"{path}: symbolic links in a loop", "", False

    def _dropins(self, *names: str) -> list[tuple[str, str, str]]:
        """Settings of NAME.d/*.conf in every unit directory; a file hides one of its name in a worse directory."""
        files: dict[str, str] = {}
        for name in dict.fromkeys((*names, *(template_of(n) for n in names))):
            for directory in self.directories:
                if name and self._entries[directory].get(f"{name}.d") in ("dir", "link"):
                    for file in self._subdirectory(f"{directory}/{name}.d"):
                        if file.endswith(".conf"):
                            files.setdefault(file, f"{directory}/{name}.d/{file}")
        found: list[tuple[str, str, str]] = []
        for file in sorted(files)[:_DROPINS_MAX]:
            try:
                found += parse(self.host.text(files[file], FILE_MAX))
            except HostError as error:
                self.trouble.append(str(error))
        return found

    def _state(self, unit: UnitFile, path: str, target: str) -> str:
        """unit_file_lookup_state of systemd's install.c, for a unit that is neither masked nor absent."""
        if posixpath.basename(target) not in (unit.name, template_of(unit.name)):
            return "alias"
        home = posixpath.dirname(path)
        if "/generator" in home:
            return "generated"
        if home.endswith("/transient"):
            return "transient"
        state = self._linked(unit, home, only_installed=True)
        if state:
            return state
        if self._linked(unit, home, only_installed=False):
            return "indirect"
        if any(unit.values("Install", key) for key in ("WantedBy", "RequiredBy", "UpheldBy", "Alias")):
            return "disabled"
        return "indirect" if unit.values("Install", "Also") else "static"

    def _linked(self, unit: UnitFile, home: str, only_installed: bool) -> str:
        """The state that links to this unit give it, "" for none; find_symlinks_in_scope of install.c."""
        known = {unit.name, *(word for value in unit.values("Install", "Alias") for word in value.split())}
        default = unit.values("Install", "DefaultInstance")
        if default and "@." in unit.name:
            known.add(unit.name.replace("@.", f"@{default[-1]}."))
        runtime = elsewhere = same_config = same_runtime = below = False
        for directory in self.directories:
            linked, same = self._links_in(directory, unit, known, only_installed, below)
            if linked:
                if directory == PERSISTENT:
                    return "enabled"
                runtime = runtime or directory.startswith("/run/")
                elsewhere = elsewhere or not directory.startswith("/run/")
            elif same:
                same_config = same_config or directory == PERSISTENT
                same_runtime = same_runtime or directory.startswith("/run/")
            below = below or directory == home
        if runtime:
            return "enabled-runtime"
        if elsewhere and template_of(unit.name):
            return "static"
        return "linked" if same_config else "linked-runtime" if same_runtime else ""

    def _links_in(
        self, directory: str, unit: UnitFile, known: set[str], only_installed: bool, below: bool
    ) -> tuple[bool, bool]:
        """Whether links of one unit directory enable the unit, and whether one of its own name stands there."""
        same = False
        for name, kind in self._entries[directory].items():
            if kind == "dir" and _is_wants(name):
                wanted = self._subdirectory(f"{directory}/{name}")
                if wanted.get(unit.name) == "link":
                    return True, False
                # an instance that is wanted stands for its template, when it is the one that [Install] names
                instances = [link for link, kind in wanted.items() if kind == "link" and template_of(link) == unit.name]
                if any(not only_installed or link in known for link in instances):
                    return True, False
        for name, kind in self._entries[directory].items():
            if kind != "link":
                continue
            by_name = name == unit.name and not below
            try:
                by_target = posixpath.basename(self.host.readlink(f"{directory}/{name}")) == unit.name
            except HostError:
                continue
            if by_name and by_target:
                same = True
            elif (by_name or by_target) and (not only_installed or name in known):
                return True, same
        return False, same


def _is_wants(name: str) -> bool:
    return name.endswith(_WANTS)
