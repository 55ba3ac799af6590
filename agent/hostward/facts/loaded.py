"""The modules that the running kernel holds: loaded ones, and those built in."""

from __future__ import annotations

from dataclasses import dataclass, field

from hostward.facts import fact
from hostward.facts.kernels import RunningKernel
from hostward.host import Host, HostError
from hostward.model import NotApplicable

_SYS_MODULE = "/sys/module"


@dataclass(frozen=True)
class LoadedModule:
    """A line of /proc/modules with what /sys/module/NAME adds.

    `state` is live, coming or going; `taint` the letters it brings (O out of tree, E unsigned, P proprietary,
    F forced, ...); `srcversion` the hash of its source, "" when the module carries none.
    """

    name: str
    size_bytes: int
    users: tuple[str, ...]
    state: str
    taint: str = ""
    srcversion: str = ""


@dataclass(frozen=True)
class LoadedModules:
    """Loaded modules by name (with underscores, as the kernel writes them) and the names of built-in ones."""

    modules: dict[str, LoadedModule]
    builtin: frozenset[str] = field(default_factory=frozenset)

    def get(self, name: str) -> LoadedModule | None:
        return self.modules.get(name.replace("-", "_"))

    def present(self, name: str) -> bool:
        """Live, or built into the kernel."""
        name = name.replace("-", "_")
        module = self.modules.get(name)
        return name in self.builtin if module is None else module.state == "live"


@fact
def loaded_modules(host: Host, running: RunningKernel) -> LoadedModules:
    """Raises NotApplicable under a root, and on a kernel without loadable modules that also hides /sys/module."""
    if not host.live:
        raise NotApplicable("this tree is not running, so no module of it is loaded")
    builtin = _builtin(host, running.release)
    try:
        lines = host.text("/proc/modules", 4 << 20).splitlines()
    except HostError:
        if not builtin:
            raise
        lines = []  # CONFIG_MODULES=n: everything is built in
    modules: dict[str, LoadedModule] = {}
    for line in lines:
        words = line.split()
        if len(words) >= 5 and words[1].isdigit():
            modules[words[0]] = LoadedModule(
                words[0],
                int(words[1]),
                tuple(user for user in words[3].split(",") if user and user != "-"),
                words[4].lower(),
                _attribute(host, words[0], "taint") or (words[6].strip("()") if len(words) > 6 else ""),
                _attribute(host, words[0], "srcversion"),
            )
    return LoadedModules(modules, frozenset(builtin - modules.keys()))


def _attribute(host: Host, module: str, name: str) -> str:
    try:
        return host.text(f"{_SYS_MODULE}/{module}/{name}", 4096).strip()
    except HostError:
        return ""


def _builtin(host: Host, release: str) -> set[str]:
    """Names from the kernel's modules.builtin, and whatever else stands in /sys/module (those with parameters)."""
    names: set[str] = set()
    try:
        names.update(host.names(_SYS_MODULE))
    except HostError:
        pass
    try:
        for line in host.text(f"/lib/modules/{release}/modules.builtin", 4 << 20).splitlines():
            names.add(line.rpartition("/")[2].partition(".ko")[0].replace("-", "_"))
    except HostError:
        pass
    names.discard("")
    return names
