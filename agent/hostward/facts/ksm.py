"""Kernel samepage merging: whether it runs, what it saves, whether anything tells (mm/ksm.c, admin-guide/mm/ksm)."""

from __future__ import annotations

import os
from dataclasses import dataclass

from hostward.facts import fact
from hostward.facts.loaded import LoadedModules
from hostward.host import Host, HostError
from hostward.model import NotApplicable, Unavailable

_SYSFS = "/sys/kernel/mm/ksm"
_KSMTUNED_PIDS = ("/run/ksmtune.pid", "/var/run/ksmtune.pid", "/run/ksmtuned.pid")


@dataclass(frozen=True)
class Ksm:
    """`statistics` says whether the kernel has /sys/kernel/mm/ksm; `old_module` whether KSM is the module `ksm` of
    kmod-kvm instead, which has a device, /dev/ksm, and tells nothing.

    `run` is 0 stopped, 1 running, 2 stopped with all pages unmerged, None where nothing tells. `pages_sharing` more
    places use the `pages_shared` pages than would without merging, which is what is saved: `saved_bytes`.
    `ksmtuned` is the process of the daemon that tunes it, 0 for none.
    """

    statistics: bool
    old_module: bool
    run: int | None = None
    pages_shared: int | None = None
    pages_sharing: int | None = None
    full_scans: int | None = None
    saved_bytes: int | None = None
    ksmtuned: int = 0


@fact
def ksm(host: Host, loaded: LoadedModules | Unavailable) -> Ksm:
    """Raises NotApplicable under a root, and where the kernel has no KSM of either kind."""
    if not host.live:
        raise NotApplicable("this tree is not running, so no memory of it is merged")
    return read_ksm(host, not isinstance(loaded, Unavailable) and "ksm" in loaded.modules)


def read_ksm(host: Host, module_loaded: bool) -> Ksm:
    """What the files of a host say.  Raises NotApplicable where there is no KSM."""
    pid = _ksmtuned(host)
    if not host.is_dir(_SYSFS):
        if not module_loaded and not host.exists("/dev/ksm"):
            raise NotApplicable("this kernel has no KSM: neither /sys/kernel/mm/ksm nor the module ksm")
        return Ksm(statistics=False, old_module=True, ksmtuned=pid)
    values = {name: _number(host, name) for name in ("run", "pages_shared", "pages_sharing", "full_scans")}
    sharing = values["pages_sharing"]
    saved = None if sharing is None else sharing * os.sysconf("SC_PAGE_SIZE")
    return Ksm(True, False, **values, saved_bytes=saved, ksmtuned=pid)


def _number(host: Host, name: str) -> int | None:
    try:
        text = host.text(f"{_SYSFS}/{name}", 64).strip()
    except HostError:
        return None
    return int(text) if text.isascii() and text.isdigit() else None


def _ksmtuned(host: Host) -> int:
    """The process in its pid file, when that process is there and is ksmtuned."""
    for path in _KSMTUNED_PIDS:
        try:
            pid = host.text(path, 64).strip()
            if pid.isascii() and pid.isdigit() and b"ksmtuned" in host.read(f"/proc/{int(pid)}/cmdline", 1 << 16):
                return int(pid)
        except HostError:
            continue
    return 0
