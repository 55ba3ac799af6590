"""What each installed kernel exports and insists on, from whatever files the host has of it, best first."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from hostward import __version__
from hostward.facts import fact
from hostward.facts.boot import Boot
from hostward.facts.builtin_modules import builtin_modules
from hostward.facts.enforcement import enforcement
from hostward.facts.kernels import Kernel, Kernels, RunningKernel
from hostward.facts.next_kernel import NextKernel
from hostward.facts.trusted_keys import trusted_keys
from hostward.host import Host, HostError
from hostward.host.cache import Cache
from hostward.kmod.certificates import Trusted
from hostward.kmod.exports import (
    SYMVERS_MAX,
    BadExports,
    ExportTable,
    KernelConfig,
    SavedExports,
    load,
    parse_kallsyms,
    parse_symvers,
    parse_system_map,
    save,
)
from hostward.kmod.image import BadImage, read_image
from hostward.kmod.module import LAYOUT_SYMBOLS, SIZE_MAX, BadModule, ModuleFile, parse_module
from hostward.kmod.profile import KernelProfile
from hostward.kmod.search import parse_modules_dep
from hostward.model import Unavailable

#: The largest kernel image worth reading, packed, in bytes.
IMAGE_MAX = 256 << 20
MAP_MAX = 64 << 20
#: How many in-tree modules are tried for one that can be read.
_SAMPLES = 8


@dataclass(frozen=True)
class KernelFiles:
    """A kernel's profile with what it was made from.

    `table` holds its exports (None: nothing tells them), `modules_dep` what modules.dep says by module name
    (path below the tree, paths of what it needs). `cmdline` are the words it is or would be started with, as far as
    they are known.
    """

    kernel: Kernel
    profile: KernelProfile
    table: ExportTable | None
    modules_dep: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    cmdline: tuple[str, ...] = ()
    #: What it trusts signatures by; read when it is called, as that may mean inflating the image.
    trusted: Callable[[], Trusted] = lambda: Trusted((), False)


class _ImageSays(NamedTuple):
    vermagic: str
    machine: tuple[int, int, bool]
    config: KernelConfig
    certificates: tuple[bytes, ...] | None


@dataclass(frozen=True)
class KernelProfiles:
    """Profiles by release, each read when it is first asked for."""

    _host: Host
    _kernels: Kernels
    _running: str
    _words: Callable[[str], tuple[str, ...]]
    _known: dict[str, KernelFiles] = field(default_factory=dict)

    def of(self, release: str) -> KernelFiles | None:
        """None for a release that is not installed."""
        kernel = self._kernels.get(release)
        if kernel is None:
            return None
        if release not in self._known:
            self._known[release] = _files(self._host, kernel, release == self._running, self._words(release))
        return self._known[release]


@fact
def kernel_profiles(
    host: Host,
    kernels: Kernels,
    running: RunningKernel | Unavailable,
    boot: Boot | Unavailable,
    following: NextKernel | Unavailable,
) -> KernelProfiles:
    now = "" if isinstance(running, Unavailable) else running.release

    def words(release: str) -> tuple[str, ...]:
        """The command line of a kernel: its own where that is known, else that of the kernel that runs."""
        own = None if release == now or isinstance(following, Unavailable) else following
        if own is not None and own.cmdline is not None and (own.release == release or isinstance(boot, Unavailable)):
            return own.cmdline[: own.cmdline.index("--")] if "--" in own.cmdline else own.cmdline
        return () if isinstance(boot, Unavailable) else boot.cmdline

    return KernelProfiles(host, kernels, now, words)


def read_module(host: Host, path: str, name: str = "") -> ModuleFile:
    """A module file of the host.  Raises BadModule, HostError."""
    return parse_module(host.read(path, SIZE_MAX), name or path.rpartition("/")[2].partition(".ko")[0])


def _files(host: Host, kernel: Kernel, running: bool, words: tuple[str, ...]) -> KernelFiles:
    problems: list[str] = []
    dep = _modules_dep(host, kernel)
    sample = _sample(host, kernel, dep)
    config = _config(host, kernel)
    table, image = _exports(host, kernel, running, problems)
    vermagic = sample.vermagic if sample is not None else ""
    machine = None if sample is None else (sample.machine, sample.bits, sample.big)
    if image is not None:
        vermagic = vermagic or image.vermagic
        machine = machine or image.machine
        config = config or image.config
    layout = None
    if table is not None:
        symbols = (table.exports.get(name) for name in LAYOUT_SYMBOLS)
        layout = next((export.crc for export in symbols if export is not None), None)
    cannot = [] if table is None else list(table.cannot_tell)
    version = KernelProfile(kernel.release).version
    enforced = enforcement(host, version, config, words, running)
    builtin = builtin_modules(host, kernel, running)
    profile = KernelProfile(
        kernel.release,
        vermagic=vermagic or None,
        config=config or None,
        machine=machine[0] if machine else None,
        bits=machine[1] if machine else None,
        big=machine[2] if machine else None,
        this_module_size=None if sample is None else sample.this_module_size,
        layout_crc=layout,
        has_exports=table is not None,
        has_crcs=table is not None and table.has_crcs,
        has_gpl=table is not None and table.has_gpl,
        has_namespaces=table is not None and table.has_namespaces,
        sig_enforced=enforced.sig_enforced,
        lockdown=enforced.lockdown,
        blacklist=enforced.blacklist if version >= (4, 8, 0) or ".el7" in kernel.release else frozenset(),
        strict_versions=_strict_versions(host, kernel),
        builtin=builtin.names,
        builtin_shown=builtin.shown,
        sources=() if table is None else (table.source,),
        cannot_tell=(*cannot, *problems),
    )

    def trusted() -> Trusted:
        try:
            says = image or _image(host, kernel.image)[1] if kernel.image else None
        except (BadImage, HostError):
            says = None
        return trusted_keys(host, None if says is None else says.certificates, config or None)

    return KernelFiles(kernel, profile, table, dep, words, lru_cache(maxsize=1)(trusted))


def _modules_dep(host: Host, kernel: Kernel) -> dict[str, tuple[str, tuple[str, ...]]]:
    try:
        text = host.text(f"{kernel.modules_dir}/modules.dep", 16 << 20)
    except HostError:
        return {}
    return parse_modules_dep(text, kernel.modules_dir)


def _sample(host: Host, kernel: Kernel, dep: dict[str, tuple[str, tuple[str, ...]]]) -> ModuleFile | None:
    """A module of the kernel's own: it says the vermagic and the size of struct module without the image."""
    own = [path for path, _ in dep.values() if path.startswith("kernel/")]
    if not own:
        try:
            order = host.text(f"{kernel.modules_dir}/modules.order", 4 << 20).split()
        except HostError:
            order = []
        own = [path.replace(".o", ".ko") if path.endswith(".o") else path for path in order]
    tried = 0
    for path in own:
        for suffix in ("", ".xz", ".zst", ".gz"):
            try:
                module = read_module(host, f"{kernel.modules_dir}/{path}{suffix}")
            except HostError:
                continue
            except BadModule:
                break
            if module.vermagic.startswith(kernel.release + " "):
                return module
            break
        tried += 1
        if tried >= _SAMPLES:
            break
    return None


def _config(host: Host, kernel: Kernel) -> KernelConfig:
    for path in (kernel.config, f"{kernel.modules_dir}/config"):
        if path and not path.startswith("/config"):
            try:
                return KernelConfig(host.read(path, 4 << 20))
            except HostError:
                continue
    return KernelConfig()


def _exports(
    host: Host, kernel: Kernel, running: bool, problems: list[str]
) -> tuple[ExportTable | None, _ImageSays | None]:
    """The best table of exports there is, and what else the image says if it was read.

    What went wrong with better sources goes to `problems`.
    """

    def tried(path: str, parse: Callable[[bytes, str], ExportTable], limit: int) -> ExportTable | None:
        try:
            return parse(host.read(path, limit), path)
        except BadExports as error:
            problems.append(f"{path}: {error.reason}")
        except HostError as error:
            if host.exists(path):
                problems.append(str(error))
        return None

    for path in (kernel.symvers, f"{kernel.modules_dir}/build/Module.symvers"):
        if path and kernel.modules_dir:
            table = _saved_symvers(host, path) or tried(path, parse_symvers, SYMVERS_MAX)
            if table is not None:
                if not isinstance(table.exports, SavedExports):
                    Cache.of_this_agent().put(_key(host, path, "symvers 1"), save(table))
                return table, None
    if kernel.image:
        try:
            return _image(host, kernel.image)
        except BadImage as error:
            problems.append(f"{kernel.image}: {error.reason}")
        except HostError as error:
            problems.append(str(error))
    if kernel.system_map:
        table = tried(kernel.system_map, parse_system_map, MAP_MAX)
        if table is not None:
            return table, None
    if running:
        return tried("/proc/kallsyms", parse_kallsyms, MAP_MAX), None
    return None, None


def _key(host: Host, path: str, what: str) -> str:
    """The name in the cache of what was made of a file as it is now.  Raises HostError."""
    status = host.stat(path)
    times = f"{status.st_mtime_ns} {status.st_ctime_ns}"
    return f"{__version__} {what} {status.st_dev}:{status.st_ino} {status.st_size} {times} {path}"


def _saved_symvers(host: Host, path: str) -> ExportTable | None:
    """What parse_symvers() made of this file before: parsing takes 30 ms a kernel, which a transaction waits for."""
    try:
        saved = Cache.of_this_agent().get(_key(host, path, "symvers 1"))
    except HostError:
        return None
    return None if saved is None else load(saved)


def _image(host: Host, path: str) -> tuple[ExportTable, _ImageSays]:
    """What a kernel image says, from the cache where the image is the one that was read before: inflating it takes most
    of a second. Raises BadImage, HostError.
    """
    key = _key(host, path, "image 3")
    cache = Cache.of_this_agent()
    saved = cache.get(key)
    if saved is not None:
        head, _, table = saved.partition(b"\n")
        vermagic, machine, bits, big, text, keys = json.loads(head)
        certificates = None if keys is None else tuple(map(bytes.fromhex, keys))
        config = KernelConfig(text.encode("latin-1"))
        return load(table), _ImageSays(vermagic, (machine, bits, big), config, certificates)
    image = read_image(host.read(path, IMAGE_MAX), path)
    config = KernelConfig(image.config)
    hexed = None if image.certificates is None else [certificate.hex() for certificate in image.certificates]
    text = image.config.decode("latin-1")
    head = json.dumps([image.vermagic, image.machine, image.bits, image.big, text, hexed]).encode()
    cache.put(key, head + b"\n" + save(image.exports))
    machine = (image.machine, image.bits, image.big)
    return image.exports, _ImageSays(image.vermagic, machine, config, image.certificates)


def _strict_versions(host: Host, kernel: Kernel) -> bool | None:
    """Whether this is a kernel of Debian's, which refuses symbols that a module has no version for; None where
    nothing tells. The boot header of x86 holds the version with who built it (Documentation/arch/x86/boot.rst)."""
    if re.search(r"\+deb\d", kernel.release):
        return True
    if not kernel.image:
        return None
    try:
        with host.open(kernel.image) as image:
            head = image.read_at(0, 0x8000)
    except HostError:
        return None
    if head[0x202:0x206] != b"HdrS" or len(head) < 0x210:
        return None
    start = int.from_bytes(head[0x20E:0x210], "little") + 0x200
    return b"(debian-kernel@lists.debian.org)" in head[start : start + 256].split(b"\0")[0]
