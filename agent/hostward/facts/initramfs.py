"""What the initramfs of each kernel holds of the out-of-tree modules that matter here, and what the tree has."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from hostward.facts import fact
from hostward.facts.initramfs_files import InitramfsFile, InitramfsFiles
from hostward.facts.kernels import Kernel, Kernels, RunningKernel
from hostward.facts.loaded import LoadedModules
from hostward.facts.module_trees import ModuleTrees, module_name
from hostward.host import File, Host, HostError
from hostward.kmod.build import ModuleBuild, module_build
from hostward.kmod.compress import NoLibrary
from hostward.kmod.cpio import BadInitramfs
from hostward.kmod.initramfs import HeldModule, Listing, key_of, read
from hostward.kmod.module import SIZE_MAX, BadModule
from hostward.model import Unavailable

_MODULES_DEP_MAX = 64 << 20


@dataclass(frozen=True)
class PickedModule:
    """The file that modprobe NAME takes in a kernel's module directory.

    `path` is as modules.dep has it, `needs` the names of the modules it depends on, `outside` whether it lies
    outside kernel/. `build` is None where it was not asked for, or could not be told because of `problem`.
    """

    name: str
    path: str
    needs: tuple[str, ...]
    outside: bool
    build: ModuleBuild | None = None
    problem: str = ""


@dataclass(frozen=True)
class InitramfsModule:
    """A module that an initramfs holds: its path inside, which file of the image it is in, and its build."""

    name: str
    path: str
    file: str
    build: ModuleBuild | None
    problem: str = ""


@dataclass(frozen=True)
class Initramfs:
    """The initramfs of one kernel, as far as the modules that matter go.

    `files` are what the boot loader hands over (none: no initramfs was found), `modules` the modules of
    interest it holds by name, `tree` those that the kernel's module directory has. `maker` is the program that
    made it ("" unknown). `nested` are file system images inside, whose content is not known. `damage` says
    why the kernel could not unpack it, `unknown` why it could not be read here; then `modules` is empty.
    """

    release: str
    files: tuple[InitramfsFile, ...]
    modules: dict[str, InitramfsModule]
    tree: dict[str, PickedModule]
    maker: str = ""
    nested: tuple[str, ...] = ()
    damage: str = ""
    unknown: str = ""

    @property
    def path(self) -> str:
        """The last file: what the distribution's own program makes; those before it are microcode and the like."""
        return self.files[-1].path if self.files else ""


@dataclass(frozen=True)
class InitramfsModules:
    """The initramfs of every kernel for which an out-of-tree module makes it matter.

    `in_use` are the out-of-tree modules that are loaded now; None where nothing runs or it can't be told.
    """

    images: tuple[Initramfs, ...]
    in_use: frozenset[str] | None = field(default=None)

    def get(self, release: str) -> Initramfs | None:
        return next((image for image in self.images if image.release == release), None)


@fact
def initramfs_modules(
    host: Host,
    kernels: Kernels,
    files: InitramfsFiles,
    trees: ModuleTrees,
    loaded: LoadedModules | Unavailable,
    running: RunningKernel | Unavailable,
) -> InitramfsModules:
    """Reads no image of a kernel that has no module outside kernel/ and none in use that is built out of tree."""
    in_use = None
    if isinstance(loaded, LoadedModules) and isinstance(running, RunningKernel):
        in_use = _in_use(loaded, running.release, trees)
    images = []
    for kernel in kernels.installed:
        tree = trees.get(kernel.release)
        outside = {m.name: m.file for m in tree.outside if m.file} if tree is not None else {}
        wanted = outside.keys() | (in_use or frozenset())
        picks = _picks(host, kernel, wanted) if wanted else {}
        for name, path in outside.items():  # modules.dep may be absent or older than the file
            picks.setdefault(name, PickedModule(name, path, (), True))
        if picks:
            images.append(_image(host, kernel, files.get(kernel.release), picks))
    return InitramfsModules(tuple(images), in_use)


def _in_use(loaded: LoadedModules, release: str, trees: ModuleTrees) -> frozenset[str]:
    """Live modules with the kernel's own word for out of tree, taint O (kernel/module/main.c, since 3.2); before
    that, those whose name stands outside kernel/ in the tree."""
    version = re.match(r"(\d+)\.(\d+)", release)
    told = version is None or (int(version.group(1)), int(version.group(2))) >= (3, 2)
    tree = trees.get(release)
    outside = {m.name for m in tree.outside if m.file} if tree is not None else set()
    return frozenset(
        module.name
        for module in loaded.modules.values()
        if module.state == "live" and ("O" in module.taint if told else module.name in outside)
    )


def _picks(host: Host, kernel: Kernel, wanted: Iterable[str]) -> dict[str, PickedModule]:
    """What modules.dep says of these names; nothing where it can't be read."""
    names = frozenset(wanted)
    base = kernel.modules_dir
    try:
        text = host.text(f"{base}/modules.dep", _MODULES_DEP_MAX) if base else ""
    except HostError:
        return {}
    found = {}
    for line in text.splitlines():
        path, _, rest = line.partition(":")
        name = module_name(path)
        if name in names:
            absolute = path if path.startswith("/") else f"{base}/{path}"
            needs = tuple(module_name(needed) for needed in rest.split())
            outside = "/kernel/" not in absolute[len(base) : len(base) + 8]
            found[name] = PickedModule(name, absolute, needs, outside)
    return found


def _image(host: Host, kernel: Kernel, files: tuple[InitramfsFile, ...], picks: dict[str, PickedModule]) -> Initramfs:
    look = _Look(frozenset(picks))
    if not files:
        return Initramfs(kernel.release, (), {}, picks)
    try:
        for file in files:
            with host.open(file.path) as opened:
                look.read(str(file), opened if file.size_bytes is None else _Part(opened, file))
    except BadInitramfs as error:
        return Initramfs(kernel.release, files, {}, picks, damage=f"{file} {error.reason}")
    except (HostError, NoLibrary) as error:
        reason = str(error) if isinstance(error, HostError) else f"{file}: {error.reason}"
        return Initramfs(kernel.release, files, {}, picks, unknown=reason)
    held = look.held(kernel.release)
    tree = {name: _with_build(host, pick) if name in held else pick for name, pick in picks.items()}
    return Initramfs(kernel.release, files, held, tree, look.maker, tuple(look.nested))


def _with_build(host: Host, pick: PickedModule) -> PickedModule:
    try:
        build = module_build(host.read(pick.path, SIZE_MAX))
    except (HostError, BadModule) as error:
        return PickedModule(pick.name, pick.path, pick.needs, pick.outside, None, error.reason)
    return PickedModule(pick.name, pick.path, pick.needs, pick.outside, build)


class _Part:
    """A part of a file as the reader of images wants it."""

    def __init__(self, file: File, part: InitramfsFile) -> None:
        self._file = file
        self._offset = part.offset_bytes
        self.size = max(0, min(part.size_bytes or 0, file.size - part.offset_bytes))

    def read_at(self, offset: int, count: int) -> bytes:
        return self._file.read_at(self._offset + offset, max(0, min(count, self.size - offset)))


class _Look:
    """One pass over the files of one initramfs; what comes later replaces what was there, as in the kernel."""

    def __init__(self, names: frozenset[str]) -> None:
        self.names = names
        self.listings: list[tuple[str, Listing]] = []
        self.builds: dict[str, ModuleBuild | str] = {}
        self.maker = ""
        self.nested: list[str] = []

    def read(self, file: str, window: File | _Part) -> None:
        listing = read(window, self.names, self._take)
        self.listings.append((file, listing))
        self.maker = listing.maker or self.maker
        self.nested += listing.nested

    def _take(self, module: HeldModule, data: bytes) -> None:
        key = key_of(module.path)
        try:
            self.builds[key] = module_build(data)
        except BadModule as error:
            self.builds[key] = error.reason

    def held(self, release: str) -> dict[str, InitramfsModule]:
        found: dict[str, InitramfsModule] = {}
        for file, listing in self.listings:
            for name in self.names:
                module = listing.held(release, name)
                if module is None:
                    continue
                end = listing.file_of(module)
                build = (
                    self.builds.get(key_of(end.path)) if end is not None else "a link that leads nowhere in the image"
                )
                if isinstance(build, ModuleBuild):
                    found[name] = InitramfsModule(name, module.path, file, build)
                else:
                    found[name] = InitramfsModule(name, module.path, file, None, build or "its data was not read")
        return found
