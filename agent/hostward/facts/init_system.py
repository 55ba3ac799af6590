"""Who starts what on the host: systemd, the runlevels of SysV init, Upstart or OpenRC."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hostward.facts import fact
from hostward.host import Host, HostError
from hostward.model import Unavailable

SYSTEMD = ("/usr/lib/systemd/systemd", "/lib/systemd/systemd")


@dataclass(frozen=True)
class InitSystem:
    """`name` is systemd, sysv, upstart or openrc; `shown_by` what shows it.

    `runlevel` is the one inittab(5) names as initdefault ("" under systemd and OpenRC).  `rc_tool` is the
    program that switches init scripts on and off: chkconfig, update-rc.d, rc-update or "".
    """

    name: str
    shown_by: str
    runlevel: str = ""
    rc_tool: str = ""


@fact
def init_system(host: Host) -> InitSystem:
    """Raises Unavailable where nothing in the tree would start anything (an empty directory, a container's layer)."""
    name, shown_by = _which(host)
    if name == "openrc":
        return InitSystem(name, shown_by, "", "rc-update")
    tool = ""
    for candidate in ("chkconfig", "update-rc.d"):
        if any(host.is_file(f"{place}/{candidate}") for place in ("/sbin", "/usr/sbin")):
            tool = candidate
            break
    return InitSystem(name, shown_by, "" if name == "systemd" else _initdefault(host), tool)


def _which(host: Host) -> tuple[str, str]:
    if host.live:
        if host.is_dir("/run/systemd/system"):  # sd_booted(3)
            return "systemd", "/run/systemd/system"
        if host.is_dir("/run/openrc"):
            return "openrc", "/run/openrc"
    init = ""
    for path in ("/sbin/init", "/usr/sbin/init"):
        try:
            init = host.resolve(path)
            shown = f"{path} is {init}" if init != path else path
            break
        except HostError:
            continue
    if init.endswith("/systemd/systemd"):
        return "systemd", shown
    if host.is_dir("/etc/runlevels") and host.is_dir("/etc/init.d"):
        return "openrc", "/etc/runlevels"
    if host.is_file("/etc/init/rcS.conf") or host.is_file("/etc/init/rc-sysinit.conf"):
        return "upstart", "/etc/init"
    if host.is_file("/etc/inittab"):
        return "sysv", "/etc/inittab"
    for path in SYSTEMD:
        if host.is_file(path):
            return "systemd", path
    raise Unavailable(
        "no service manager is found here (no systemd, no /etc/inittab, no /etc/runlevels), so nothing tells what is "
        "started at boot"
    )


def _initdefault(host: Host) -> str:
    """The runlevel that inittab(5) boots into.  Without a line for it Debian's 2, and 3 elsewhere."""
    try:
        text = host.text("/etc/inittab", 64 << 10)
    except HostError:
        text = ""
    match = re.search(r"^[^#:\n]*:([0-9])[^:\n]*:initdefault:", text, re.M)
    if match:
        return match.group(1)
    return "2" if host.exists("/etc/debian_version") else "3"
