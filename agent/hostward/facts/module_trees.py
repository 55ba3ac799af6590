"""Each kernel's module directory: what lies outside kernel/, which links there are and where they lead."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hostward.facts import fact
from hostward.facts.kernels import Kernels, modules_base
from hostward.host import Directory, Host, HostError, Missing, TooLarge
from hostward.model import NotApplicable

#: What one look may cost over all trees, in directory entries; a directory and a link count as ten. A real host
#: stays far below; the limit is reached in well under a second.
BUDGET = 60_000
MODULES_MAX = 4_000  # of one tree; past it none is told, as whatever judges modules would be busy for minutes
DEPTH_MAX = 24
_MODULE = re.compile(r"\.ko(?:\.(?:gz|xz|zst))?$")
_NOT_MODULES = {"kernel", "build", "source"}  # depmod passes over the last two as well (tools/depmod.c)


@dataclass(frozen=True)
class TreeModule:
    """A module file, or a link that stands for one, outside kernel/.

    `name` is the module's name as the kernel writes it (underscores), `where` the first directory below the
    tree ("extra", "updates", "weak-updates", ..., "" for the tree's own top). For a link, `link` is its
    text, `target` the file it leads to with no link left ("" when it leads to none), `target_release` the
    kernel whose module directory holds that file ("" when none does) and `problem` why it leads nowhere.
    """

    release: str
    path: str
    name: str
    where: str
    link: str = ""
    target: str = ""
    target_release: str = ""
    problem: str = ""

    @property
    def is_link(self) -> bool:
        return bool(self.link)

    @property
    def dangling(self) -> bool:
        """A link that no module can be read through."""
        return bool(self.link) and not self.target

    @property
    def file(self) -> str:
        """The path to read the module from; "" for a dangling link."""
        return self.target if self.link else self.path


@dataclass(frozen=True)
class ModuleTree:
    """One kernel's module directory. `outside` is sorted by path.

    `in_tree` is how many modules of kernel/ modules.dep (or modules.order) lists, None when neither can be
    read. `problems` says what could not be looked at; then `outside` lacks something, or is empty where the
    tree is larger than makes sense.
    """

    release: str
    path: str
    outside: tuple[TreeModule, ...]
    in_tree: int | None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModuleTrees:
    """The module trees of all kernels, newest kernel first, those of left-over directories at the end."""

    trees: tuple[ModuleTree, ...]

    def get(self, release: str) -> ModuleTree | None:
        return next((tree for tree in self.trees if tree.release == release), None)

    @property
    def outside(self) -> tuple[TreeModule, ...]:
        """Every module outside kernel/, of all trees."""
        return tuple(module for tree in self.trees for module in tree.outside)


def module_name(path: str) -> str:
    """`/x/kvm-intel.ko.xz` -> `kvm_intel`; "" for what is no module file."""
    base = path.rpartition("/")[2]
    match = _MODULE.search(base)
    return base[: match.start()].replace("-", "_") if match else ""


class _Spent(Exception):
    """The budget is used up."""


@fact
def module_trees(host: Host, kernels: Kernels) -> ModuleTrees:
    """Raises NotApplicable where there is no /lib/modules at all: a container image, or a directory that is no host."""
    base = modules_base(host)
    try:
        base_real = host.resolve(base)
    except Missing:
        raise NotApplicable(f"there is no {base} here, so no kernel's modules to look at") from None
    look = _Look(host, base, base_real)
    return ModuleTrees(tuple(look.tree(k.release) for k in (*kernels.installed, *kernels.leftovers) if k.modules_dir))


class _Look:
    """One pass over all trees, within one budget."""

    def __init__(self, host: Host, base: str, base_real: str) -> None:
        self.host = host
        self.base = base
        self.base_real = base_real
        self.left = BUDGET
        self.bytes_left = 128 << 20  # of modules.dep; that of 4,000 modules has about 1 MiB
        self.problems: list[str] = []
        self.found: list[TreeModule] = []
        self.seen: set[tuple[int, int]] = set()

    def tree(self, release: str) -> ModuleTree:
        self.problems, self.found, self.seen = [], [], set()
        path = f"{self.base}/{release}"
        try:
            with self.host.directory(path) as directory:
                self._walk(directory, release, "", 0)
        except HostError as error:
            self.found = []
            self.problems.append(str(error))
        except _Spent:
            self.found = []
            self.problems.append(f"{path}: given up: the module directories hold more than {BUDGET} entries")
        if len(self.found) > MODULES_MAX:
            self.problems.append(
                f"{path}: given up: {len(self.found)} modules outside kernel/, more than {MODULES_MAX}"
            )
            self.found = []
        self.found.sort(key=lambda module: module.path)
        return ModuleTree(release, path, tuple(self.found), self._in_tree(path), tuple(self.problems))

    def _walk(self, directory: Directory, release: str, where: str, depth: int) -> None:
        if depth > DEPTH_MAX:
            self.problems.append(f"{directory.path[:200]}: deeper than {DEPTH_MAX} directories, not looked at")
            return
        entries = directory.entries()
        self.left -= 10 + len(entries)
        if self.left < 0:
            raise _Spent
        for name, kind in entries:
            if depth == 0 and name in _NOT_MODULES:
                continue
            top = where or (name if kind != "file" and not _MODULE.search(name) else "")
            if _MODULE.search(name):
                if kind == "file":
                    self.found.append(TreeModule(release, directory.child(name), module_name(name), top))
                elif kind == "link":
                    self._link(directory, name, release, top)
                elif kind == "other":
                    self.problems.append(f"{directory.child(name)}: named like a module but no regular file")
            if kind == "dir":
                try:
                    with directory.sub(name) as sub:
                        self._walk(sub, release, top, depth + 1)
                except TooLarge:
                    raise
                except HostError as error:
                    self.problems.append(str(error))
            elif kind == "link" and not _MODULE.search(name):
                self._linked_directory(directory, name, release, top, depth)

    def _link(self, directory: Directory, name: str, release: str, where: str) -> None:
        self.left -= 10
        path = directory.child(name)
        try:
            text = directory.readlink(name)
        except HostError as error:
            self.problems.append(str(error))
            return
        target = target_release = problem = ""
        try:
            target = self.host.resolve(path)
            if self.host.is_file(target):
                target_release = self._release_of(target)
            else:
                target, problem = "", f"leads to {target}, which is not a regular file"
        except Missing:
            problem = f"leads to {text}, which does not exist"
            target_release = self._release_of(text)
        except HostError as error:
            problem = error.reason
        self.found.append(TreeModule(release, path, module_name(name), where, text, target, target_release, problem))

    def _linked_directory(self, directory: Directory, name: str, release: str, where: str, depth: int) -> None:
        """Follows a link to a directory, as depmod does; each directory once, so loops end."""
        self.left -= 10
        path = directory.child(name)
        if not self.host.is_dir(path):
            return
        try:
            with self.host.directory(self.host.resolve(path)) as real:
                status = self.host.stat(real.path)
                if (status.st_dev, status.st_ino) in self.seen:
                    return
                self.seen.add((status.st_dev, status.st_ino))
                real.path = path  # its modules are told by the path that depmod sees
                self._walk(real, release, where, depth + 1)
        except HostError as error:
            self.problems.append(str(error))

    def _release_of(self, path: str) -> str:
        """The kernel whose module directory a path lies in."""
        for base in dict.fromkeys((self.base_real, self.base, "/lib/modules", "/usr/lib/modules")):
            if path.startswith(base + "/"):
                return path[len(base) + 1 :].partition("/")[0]
        return ""

    def _in_tree(self, path: str) -> int | None:
        """Counts lines of modules.dep below kernel/ (absolute paths in old ones), else those of modules.order."""
        for name, pattern in (
            ("modules.dep", re.compile(rb"^(?:[^:\n]*/)?kernel/[^:\n]*:", re.M)),
            ("modules.order", re.compile(rb"^kernel/", re.M)),
        ):
            try:
                data = self.host.read(f"{path}/{name}", min(16 << 20, self.bytes_left))
            except HostError:
                continue
            self.bytes_left -= len(data)
            return len(pattern.findall(data))
        return None
