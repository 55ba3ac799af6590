"""What bears on a kernel's answer to a module: the kernel's profile, the symbols there are, the reasons to refuse."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from hostward.kmod.module import Export


class Reason(NamedTuple):
    """Why a module is refused.

    `rule` names the kernel's rule, `message` is what the kernel writes to its log ("" where it writes nothing),
    `errno` what this reason alone makes finit_module answer. `wanted` and `found` are what the module was built
    for and what is there; `provider` is the file or "vmlinux" that has the symbol.
    """

    rule: str
    errno: str
    message: str = ""
    symbol: str = ""
    wanted: str = ""
    found: str = ""
    provider: str = ""


class Symbol(NamedTuple):
    """An export as the kernel would find it: with the file that provides it and whether that is proprietary."""

    export: Export
    path: str
    proprietary: bool


Lookup = Callable[[str], "Symbol | None"]


@dataclass(frozen=True)
class KernelProfile:
    """What of a kernel bears on its answers; None for what the host's files do not tell.

    `config` holds the CONFIG_ options that are set (None: no configuration at hand). `sig_enforced` is what
    is_module_sig_enforced() says, `lockdown` whether the kernel is locked down (to integrity or further).
    `strict_versions` is whether it refuses symbols that a module has no version for. `has_crcs`, `has_gpl` and
    `has_namespaces` tell what the source of its exports knows. `builtin` are the names of built-in modules,
    `builtin_shown` says of one whether it has a directory in /sys/module (None: that can't be told).
    """

    release: str
    vermagic: str | None = None
    config: Mapping[str, str] | None = None
    machine: int | None = None
    bits: int | None = None
    big: bool | None = None
    this_module_size: int | None = None
    layout_crc: int | None = None
    has_exports: bool = False
    has_crcs: bool = False
    has_gpl: bool = False
    has_namespaces: bool = False
    sig_enforced: bool | None = None
    lockdown: bool | None = None
    blacklist: frozenset[str] = frozenset()
    strict_versions: bool | None = None
    builtin: frozenset[str] = frozenset()
    builtin_shown: Callable[[str], bool | None] | None = None
    sources: tuple[str, ...] = ()
    cannot_tell: tuple[str, ...] = field(default=())

    @property
    def version(self) -> tuple[int, int, int]:
        """The numbers that the release begins with: 6.1.0-53-cloud-amd64 is (6, 1, 0)."""
        match = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", self.release)
        return (int(match.group(1)), int(match.group(2)), int(match.group(3) or 0)) if match else (0, 0, 0)

    def option(self, name: str) -> bool | None:
        """Whether CONFIG_name is y; None without a configuration."""
        return None if self.config is None else self.config.get(f"CONFIG_{name}") == "y"

    @property
    def modversions(self) -> bool | None:
        """CONFIG_MODVERSIONS: by the configuration, by its word in vermagic (2.6.26 and later), by CRCs of exports."""
        configured = self.option("MODVERSIONS")
        if configured is not None:
            return configured
        if self.vermagic is not None and (" modversions" in self.vermagic or self.version >= (2, 6, 26)):
            return " modversions" in self.vermagic
        return True if self.has_crcs else None


class Open(Exception):
    """A rule that can't be decided from what is known."""
