"""Which package put a module there: by rpm or dpkg, by dkms, or at least by the name of its directory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from hostward.facts import fact
from hostward.facts.module_trees import ModuleTrees, module_name
from hostward.host import Host, HostError

PATHS_MAX = 2_000
_DPKG_INFO = "/var/lib/dpkg/info"
_DPKG_BYTES_MAX = 256 << 20  # of file lists; a desktop has about 50 MiB
_DKMS_MAX = 2_000  # directories looked at


@dataclass(frozen=True)
class Owner:
    """A package and how that is known: "rpm", "dpkg", "dkms" (built here by dkms) or "by directory name"."""

    package: str
    version: str
    how: str


@dataclass(frozen=True)
class Packages:
    """The owners of the modules outside kernel/, by the path of the module file.

    `manager` is rpm, dpkg or "". A path that is missing from `owners` has no owner that could be found;
    `cannot_tell` says what could not be asked.
    """

    manager: str
    owners: dict[str, Owner] = field(default_factory=dict)
    cannot_tell: tuple[str, ...] = ()

    def owner(self, path: str) -> Owner | None:
        return self.owners.get(path)


@fact
def packages(host: Host, trees: ModuleTrees) -> Packages:
    return owners_of(host, [module.file or module.path for module in trees.outside])


def owners_of(host: Host, paths: Iterable[str]) -> Packages:
    """The owners of these files (paths inside the host, no links). Nothing is read when there are none."""
    wanted = sorted(set(paths))
    cannot: list[str] = []
    if len(wanted) > PATHS_MAX:
        cannot.append(f"only the first {PATHS_MAX} of {len(wanted)} files were looked up")
        wanted = wanted[:PATHS_MAX]
    rpmdb = _rpm_database(host)
    manager = "dpkg" if _dpkg_in_use(host) else "rpm" if rpmdb[0] else ""
    found: dict[str, Owner] = {}
    try:
        if wanted and manager == "dpkg":
            found = _dpkg(host, wanted)
        elif wanted and manager == "rpm":
            found = _rpm_live(host, wanted) if host.live else _rpm_tree(host, rpmdb, wanted)
    except HostError as error:
        cannot.append(str(error))
    left = [path for path in wanted if path not in found]
    if left:
        built = _dkms(host)
        for path in left:
            parts = path.rpartition("/lib/modules/")[2].split("/")
            name = module_name(path)
            guess = built.get((parts[0], name)) or (by_directory(path) if manager != "dpkg" else None)
            if guess:
                found[path] = guess
    return Packages(manager, found, tuple(cannot))


def by_directory(path: str) -> Owner | None:
    """The kmod packaging convention: /lib/modules/R/extra/NAME/... belongs to the package NAME when that is kmod-*.

    Kmod packages install into extra/NAME, with or without the kmod- in front (RHEL's kernel module
    packages), and weak-modules links them as weak-updates/NAME.
    """
    match = re.search(r"/lib/modules/[^/]+/(?:extra|updates|weak-updates)/([A-Za-z0-9][A-Za-z0-9.+_-]*)/", path)
    if not match or match.group(1) in ("dkms", "kernel", "drivers", "fs", "net"):
        return None
    name = match.group(1)
    return Owner(name if name.startswith("kmod-") else f"kmod-{name}", "", "by directory name")


def _dpkg_in_use(host: Host) -> bool:
    """Whether dpkg has installed anything: other distributions package the program too."""
    try:
        return host.stat("/var/lib/dpkg/status").st_size > 0 and host.is_dir(_DPKG_INFO)
    except HostError:
        return False


def _rpm_database(host: Host) -> tuple[str, str]:
    from hostward.facts.rpmdb import database

    return database(host)


def _rpm_tree(host: Host, rpmdb: tuple[str, str], wanted: list[str]) -> dict[str, Owner]:
    from hostward.facts.rpmdb import owners

    path, kind = rpmdb
    if kind != "sqlite":
        name = {"bdb": "Berkeley DB", "ndb": "ndb"}[kind]
        raise HostError(path, f"is an rpm database in the {name} format, which only that host's own rpm can read")
    found = owners(host, path, wanted)
    return {name: Owner(package.name, package.evr, "rpm") for name, package in found.items()}


def _rpm_live(host: Host, wanted: list[str]) -> dict[str, Owner]:
    """Asks rpm twice: which packages own any of these files, then for the files of those packages."""
    found: dict[str, Owner] = {}
    known = r"%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}\n"
    said = host.run(["rpm", "-qf", "--qf", known, *wanted], timeout_s=20.0)
    names = sorted({line for line in said.stdout.splitlines() if re.fullmatch(r"[\w.+~^-]+", line)})
    if not names:
        # a dangling link is "No such file" to rpm, which is no trouble of rpm's own
        trouble = [line for line in said.stderr.splitlines() if line and not line.endswith("No such file or directory")]
        if trouble:
            raise HostError("rpm -qf", trouble[-1])
        return found
    form = r"[%{=NAME}\t%{=EPOCHNUM}:%{=VERSION}-%{=RELEASE}\t%{FILENAMES}\n]"
    places = {alike: path for path in wanted for alike in (path, _other_usr(path))}
    for line in host.run(["rpm", "-q", "--qf", form, *names], timeout_s=20.0).stdout.splitlines():
        name, _, rest = line.partition("\t")
        evr, _, path = rest.partition("\t")
        if path in places:
            found[places[path]] = Owner(name, evr[2:] if evr.startswith("0:") else evr, "rpm")
    return found


def _other_usr(path: str) -> str:
    """The same path on the other side of a merged /usr: packages may name either."""
    return path[4:] if path.startswith("/usr/") else "/usr" + path


def _dpkg(host: Host, wanted: list[str]) -> dict[str, Owner]:
    """Reads dpkg's lists of files and its diversions, as dpkg-query --search does."""
    diversions = _diversions(host)
    # line of a list -> (wanted path, whether that package's line means it)
    lines: dict[bytes, list[tuple[str, Callable[[str], bool]]]] = {}
    for path in wanted:
        for alike in (path, _other_usr(path)):
            line, counts = diversions.get(alike, (alike, _any_package))
            lines.setdefault(line.encode("utf-8", "surrogateescape"), []).append((path, counts))
    left = _DPKG_BYTES_MAX
    directories = {line.rpartition(b"/")[0] + b"/" for line in lines}
    found: dict[str, str] = {}
    with host.directory(_DPKG_INFO) as info:
        for name, kind in info.entries():
            if kind != "file" or not name.endswith(".list"):
                continue
            if left < 0:
                raise HostError(_DPKG_INFO, f"more than {_DPKG_BYTES_MAX >> 20} MiB of file lists make no sense")
            with info.open(name) as file:
                data = file.read(32 << 20)
            left -= 4096 + len(data)
            if not any(directory in data for directory in directories):
                continue
            package = name[:-5].partition(":")[0]
            for line_found in lines.keys() & set(data.split(b"\n")):
                for path, counts in lines[line_found]:
                    if counts(package):
                        found[path] = package
    versions = _dpkg_versions(host, set(found.values()))
    return {path: Owner(package, versions.get(package, ""), "dpkg") for path, package in found.items()}


def _any_package(_: str) -> bool:
    return True


def _diversions(host: Host) -> dict[str, tuple[str, Callable[[str], bool]]]:
    """For a path that dpkg-divert(1) touched: the path in its package's list, and which packages' lists count.

    The file at a diversion's target came from any package but the diverting one; what stands at the
    diverted place, from that one alone (":" for a local diversion: from no package).
    """
    try:
        text = host.text("/var/lib/dpkg/diversions", 4 << 20).splitlines()
    except HostError:
        return {}
    found: dict[str, tuple[str, Callable[[str], bool]]] = {}
    for source, target, by in zip(text[::3], text[1::3], text[2::3]):
        found[target] = (source, lambda package, by=by: package != by)  # type: ignore[misc]
        found[source] = (source, lambda package, by=by: package == by)  # type: ignore[misc]
    return found


def _dpkg_versions(host: Host, packages: set[str]) -> dict[str, str]:
    if not packages:
        return {}
    try:
        status = host.text("/var/lib/dpkg/status", 64 << 20)
    except HostError:
        return {}
    found: dict[str, str] = {}
    for match in re.finditer(r"^Package: (\S+)$", status, re.M):
        package = match.group(1)
        if package in packages and package not in found:
            end = status.find("\n\n", match.end())
            version = re.search(r"^Version: (\S+)$", status[match.end() : end if end >= 0 else None], re.M)
            found[package] = version.group(1) if version else ""
    return found


def _dkms(host: Host) -> dict[tuple[str, str], Owner]:
    """What dkms has built, by kernel release and module name.

    From /var/lib/dkms/NAME/VERSION/RELEASE/ARCH/module/FILE (dkms(8)).
    """
    built: dict[tuple[str, str], Owner] = {}
    left = _DKMS_MAX
    todo: list[tuple[str, ...]] = [("/var/lib/dkms",)]
    while todo and left > 0:
        parts = todo.pop()
        path = "/".join(parts)
        try:
            with host.directory(path) as directory:
                entries = directory.entries()
        except HostError:
            continue
        left -= 1
        if len(parts) == 6:
            name, version, release = parts[1:4]
            for file, _ in entries:
                if module_name(file):
                    built[release, module_name(file)] = Owner(name, version, "dkms")
            continue
        for entry, kind in entries[:200]:
            if kind == "dir" and (len(parts) < 5 or entry == "module"):
                todo.append((*parts, entry))
    return built
