"""The modules that are built into a kernel, and which of them keep a module file of their name out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hostward.facts.kernels import Kernel
from hostward.host import Host, HostError
from hostward.kmod.builtin_params import parameter_modules
from hostward.kmod.elf import BadElf, Elf, InMemory
from hostward.kmod.image import BadImage, unpack_image

_LIST_MAX = 4 << 20
_MODINFO_MAX = 16 << 20
_IMAGE_MAX = 256 << 20


@dataclass(frozen=True)
class BuiltinModules:
    """`names` are those of modules.builtin, with underscores. `shown` says of one whether it has a directory in
    /sys/module, None where that can't be told; it may read the kernel's image."""

    names: frozenset[str]
    shown: Callable[[str], bool | None]


@dataclass
class _Shown:
    """By what makes such a directory: a parameter that is shown, a version (kernel/params.c: param_sysfs_builtin,
    version_sysfs_builtin), a driver that is registered (drivers/base/module.c). Of the last no file tells, so
    that no module is known to have none."""

    host: Host
    kernel: Kernel
    running: bool
    _versioned: set[str] | None = None
    _known: bool = False
    _parameters: frozenset[str] | None = None

    def __call__(self, name: str) -> bool | None:
        if self.running and self.host.live:
            return self.host.is_dir(f"/sys/module/{name}")
        parameters = self._image()
        if name in self._modinfo() or (parameters is not None and name in parameters):
            return True
        return None

    def _modinfo(self) -> set[str]:
        """The built-in modules with a version, by modules.builtin.modinfo (5.2 and later)."""
        if self._versioned is None:
            self._versioned = set()
            try:
                text = self.host.text(f"{self.kernel.modules_dir}/modules.builtin.modinfo", _MODINFO_MAX)
            except HostError:
                text = ""
            for entry in text.split("\0"):
                name, _, key = entry.partition("=")[0].partition(".")
                if key == "version":
                    self._versioned.add(name.replace("-", "_"))
        return self._versioned

    def _image(self) -> frozenset[str] | None:
        if not self._known:
            self._known = True
            try:
                if self.kernel.image:
                    vmlinux = unpack_image(self.host.read(self.kernel.image, _IMAGE_MAX))
                    self._parameters = parameter_modules(Elf(InMemory(vmlinux)))
            except (BadImage, BadElf, HostError):
                pass
        return self._parameters


def builtin_modules(host: Host, kernel: Kernel, running: bool) -> BuiltinModules:
    """None of them where modules.builtin is missing (before 2.6.33)."""
    try:
        text = host.text(f"{kernel.modules_dir}/modules.builtin", _LIST_MAX)
    except HostError:
        text = ""
    names = (line.rpartition("/")[2].partition(".ko")[0].replace("-", "_") for line in text.splitlines())
    return BuiltinModules(frozenset(names), _Shown(host, kernel, running))
