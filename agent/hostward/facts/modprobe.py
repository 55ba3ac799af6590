"""What modprobe would do on each installed kernel: its configuration, and the indexes that depmod wrote."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hostward.facts import fact
from hostward.facts.kernel_profiles import KernelProfiles
from hostward.host import Host, HostError
from hostward.kmod.modprobe import Modprobe, ModprobeConfig, ModuleIndex, parse_modprobe_conf
from hostward.kmod.search import name_of, shadowed

_DIRECTORIES = (
    "/etc/modprobe.d",
    "/run/modprobe.d",
    "/usr/local/lib/modprobe.d",
    "/usr/lib/modprobe.d",
    "/lib/modprobe.d",
)
_INDEX_MAX = 32 << 20


@fact
def modprobe_config(host: Host) -> ModprobeConfig:
    """modprobe.d(5) of the host, and RHEL 5's /etc/modprobe.conf.

    RHEL 5 reads every file of /etc/modprobe.d, whatever its name; that is done where /etc/modprobe.conf is there.
    """
    old = host.is_file("/etc/modprobe.conf")
    directories = []
    for directory in _DIRECTORIES:
        try:
            names = host.names(directory)
        except HostError:
            continue
        directories.append([(name, f"{directory}/{name}") for name in names if old or name.endswith(".conf")])
    texts = []
    for path in ("/etc/modprobe.conf", *(path for _, path in shadowed(directories))):
        try:
            texts.append((path.rpartition("/")[2], host.text(path, 1 << 20)))
        except HostError:
            continue
    return parse_modprobe_conf(texts)


@dataclass(frozen=True)
class Modprobes:
    """modprobe on each kernel, made when it is first asked for."""

    _make: Callable[[str], Modprobe | None]
    _known: dict[str, Modprobe | None] = field(default_factory=dict)

    def of(self, release: str) -> Modprobe | None:
        """None for a release that is not installed."""
        if release not in self._known:
            self._known[release] = self._make(release)
        return self._known[release]


@fact
def modprobes(host: Host, profiles: KernelProfiles, config: ModprobeConfig) -> Modprobes:
    def make(release: str) -> Modprobe | None:
        files = profiles.of(release)
        if files is None:
            return None
        directory = files.kernel.modules_dir

        def text(name: str) -> str:
            try:
                return host.text(f"{directory}/{name}", _INDEX_MAX) if directory else ""
            except HostError:
                return ""

        index = ModuleIndex(files.modules_dep, files.profile.builtin, text)
        return Modprobe(index, config.with_kernel(text("modules.softdep"), files.cmdline), name_of)

    return Modprobes(make)
