"""Who sets the system clock and who keeps it: hwclock, and the programs that follow a better clock."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hostward.facts import fact
from hostward.facts.boot import Boot
from hostward.facts.clock_names import KEEPERS, PHC2SYS, PTP4L, Default, KeeperNames, default_keeper
from hostward.facts.hwclock_uses import HwclockUse, hwclock_uses, openrc_levels
from hostward.facts.init_system import InitSystem
from hostward.facts.operating_system import OperatingSystem
from hostward.facts.sysv import Scripts
from hostward.facts.units import Unit, Units
from hostward.host import Host, HostError, Missing
from hostward.model import NotApplicable, Unavailable

#: What sets the clock once and keeps nothing.
_ONCE = ("ntpdate", "sntp", "ntpsec-ntpdate", "ntp-wait")
_PROCESSES_MAX = 100_000


@dataclass(frozen=True)
class Keeper:
    """A program that keeps the clock, and what starts it.

    `by` is systemd, sysv, openrc, or process for one that runs and that nothing here starts; `service` the unit's
    or script's name. `enabled`: started at boot. `active` is None in a tree that isn't running. `skipped` is the
    condition that keeps systemd from starting it though it is enabled, `failed` systemd's word for how it ended.
    """

    name: str
    service: str
    by: str
    enabled: bool
    active: bool | None
    state: str
    masked: bool = False
    skipped: str = ""
    failed: str = ""
    conflicts: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClockServices:
    """`keepers` are those installed, the distribution's own choice first; `default` what that is.

    `hwclock` is everything that runs hwclock, the switched-off too; `once` what sets the clock at boot from the
    network and then keeps nothing. `live` is whether the state of services now is known, not only at boot.
    """

    live: bool
    init: InitSystem
    keepers: tuple[Keeper, ...]
    default: Default
    hwclock: tuple[HwclockUse, ...]
    once: tuple[str, ...] = ()
    trouble: tuple[str, ...] = ()

    @property
    def keeping(self) -> tuple[Keeper, ...]:
        """The keepers at work: active now, or in a tree those that its boot would start."""
        if self.live:
            return tuple(keeper for keeper in self.keepers if keeper.active)
        return self.at_boot

    @property
    def at_boot(self) -> tuple[Keeper, ...]:
        """The keepers that the next boot starts."""
        return tuple(k for k in self.keepers if k.enabled and not k.masked and not k.skipped)


@dataclass(frozen=True)
class RtcMode:
    """Whether the RTC keeps local time, by the file that says so; `line` as it stands there, "" where none does."""

    local: bool
    path: str
    line: str


@fact
def clock_services(
    host: Host,
    init: InitSystem,
    units: Units | Unavailable,
    os: OperatingSystem | Unavailable,
    boot: Boot | Unavailable,
) -> ClockServices:
    """Raises NotApplicable in a container, whose clock is its host's."""
    not_in_a_container(boot)
    known = None if isinstance(units, Unavailable) else units
    if host.live and known is not None and not known.live:
        raise Unavailable(f"systemd can't be asked which services run: {known.why_not_live}")
    scripts = Scripts(host)
    keepers = list(_by_units(known)) if known is not None else []
    if init.name == "openrc":
        keepers += _by_openrc(host)
    else:
        keepers += _by_scripts(host, init, known, scripts)
    if host.live:
        keepers += _by_process(host, keepers)
    default = _default(os, init)
    return ClockServices(
        host.live,
        init,
        tuple(sorted(keepers, key=lambda k: (k.name != default.keeper, k.name, k.service))),
        default,
        tuple(hwclock_uses(host, init, known, scripts)),
        tuple(_once(known, init, scripts)),
        (*(known.trouble if known is not None else ()), *scripts.trouble),
    )


def not_in_a_container(boot: Boot | Unavailable) -> None:
    """Raises NotApplicable in a container."""
    if not isinstance(boot, Unavailable) and boot.container:
        raise NotApplicable(f"a container ({boot.container}) has no clock of its own: its host is to be asked")


def _default(os: OperatingSystem | Unavailable, init: InitSystem) -> Default:
    if isinstance(os, Unavailable):
        return default_keeper("", "", None, "", init.name == "systemd")
    return default_keeper(os.family, os.id, os.major, os.product, init.name == "systemd")


def _by_units(units: Units) -> Iterator[Keeper]:
    for unit in units.all():
        name = _keeper_of(unit, units.ntp_units)
        if name and (unit.installed or unit.masked):
            yield Keeper(
                name, unit.name, "systemd", unit.enabled or bool(unit.wanted), unit.active, unit.words(), unit.masked,
                unit.skipped, "" if unit.active_state != "failed" else unit.result or "failed", unit.conflicts,
            )  # fmt: skip


def _keeper_of(unit: Unit, ntp_units: Iterable[str]) -> str:
    """Which keeper a unit starts, "" for none: by its own name, by an alias of it, else because timedated says so."""
    if "@." in unit.name:
        return ""  # a template starts nothing, its instances do
    template = re.sub(r"@[^@]*\.", "@.", unit.name)
    if template in PHC2SYS.units:
        return PHC2SYS.name
    if template in PTP4L.units:
        # With hardware time stamps ptp4l keeps the network card's clock, and phc2sys the system's (ptp4l(8)).
        words = " ".join(command for _, command in unit.commands).split()
        return PTP4L.name if "-S" in words else ""
    for names in ((unit.name,), unit.names):
        for keeper in KEEPERS:
            if any(name in keeper.units for name in names):
                return keeper.name
    return unit.name.partition(".")[0] if any(name in ntp_units for name in unit.names) else ""


def _by_scripts(host: Host, init: InitSystem, units: Units | None, scripts: Scripts) -> Iterator[Keeper]:
    """Init scripts.  Under systemd only those that no unit stands for: sysv-generator(8) makes one of each."""
    for keeper in KEEPERS:
        for name in keeper.scripts:
            script = scripts.get(name)
            if script is None or (units is not None and units.get(f"{name}.service") is not None):
                continue
            levels = "2345" if init.name == "systemd" else init.runlevel
            link = next((script.started[level] for level in levels if level in script.started), "")
            running = _running(host, _processes_of(keeper)) if host.live else None
            state = f"{script.path}: " + (f"started by {link}" if link else f"no S link for runlevel {levels}")
            state += "" if running is None else f", {'running' if running else 'not running'}"
            yield Keeper(keeper.name, name, "sysv", bool(link), running, state)
            break


def _by_openrc(host: Host) -> Iterator[Keeper]:
    for keeper in KEEPERS:
        for name in keeper.scripts:
            if not host.is_file(f"/etc/init.d/{name}"):
                continue
            levels = openrc_levels(host, name)
            started = host.exists(f"/run/openrc/started/{name}") if host.live else None
            state = f"/etc/init.d/{name}: " + (f"in the runlevel {', '.join(levels)}" if levels else "in no runlevel")
            yield Keeper(keeper.name, name, "openrc", bool(levels), started, state)
            break


def _by_process(host: Host, known: list[Keeper]) -> Iterator[Keeper]:
    """Keepers that run though no service of theirs does: started by hand, by a supervisor, by another program."""
    if any(keeper.active for keeper in known):
        return
    for keeper in KEEPERS:
        for name in _processes_of(keeper):
            if _running(host, (name,)):
                yield Keeper(keeper.name, name, "process", False, True, f"a process {name} runs; no service started it")
                return


def _processes_of(keeper: KeeperNames) -> tuple[str, ...]:
    """Names of its processes as /proc/PID/comm gives them, 15 bytes long at most."""
    return tuple(dict.fromkeys(path.rpartition("/")[2][:15] for path in keeper.programs))


def _running(host: Host, names: tuple[str, ...]) -> bool:
    """Whether a process of one of these names runs.  Processes that end while one looks are no error."""
    try:
        numbers = [name for name in host.names("/proc")[:_PROCESSES_MAX] if name.isdigit()]
    except HostError:
        return False
    for number in numbers:
        try:
            if host.text(f"/proc/{number}/comm", 64).rstrip("\n") in names:
                return True
        except HostError:
            continue
    return False


def _once(units: Units | None, init: InitSystem, scripts: Scripts) -> Iterator[str]:
    for name in _ONCE:
        unit = units.get(f"{name}.service") if units is not None else None
        script = scripts.get(name)
        if unit is not None and unit.enabled:
            yield unit.words()
        elif script is not None and (link := script.at_boot(init.runlevel)):
            yield f"{script.path}: started by {link}"


@fact
def rtc_mode(host: Host, boot: Boot | Unavailable) -> RtcMode:
    """The third line of /etc/adjtime (hwclock(8)); before it, what init scripts go by: RHEL 5's sysconfig/clock,
    Debian's default/rcS, OpenRC's conf.d/hwclock.  Without any the RTC is taken to keep UTC.
    Raises NotApplicable in a container, Unavailable where such a file is there and can't be read.
    """
    not_in_a_container(boot)
    for path, pattern, local in (
        ("/etc/sysconfig/clock", r"UTC=[\"']?(\w+)[\"']?", ("no", "false", "0")),
        ("/etc/conf.d/hwclock", r"clock=[\"']?(\w+)[\"']?", ("local",)),
        ("/etc/default/rcS", r"UTC=[\"']?(\w+)[\"']?", ("no",)),
    ):
        match = re.search(rf"^\s*{pattern}", _text(host, path), re.M)
        if match:
            return RtcMode(match.group(1).lower() in local, path, match.group(0).strip())
    lines = _text(host, "/etc/adjtime").splitlines()
    if len(lines) >= 3:
        return RtcMode(lines[2].strip() == "LOCAL", "/etc/adjtime", lines[2].strip())
    return RtcMode(False, "/etc/adjtime", "")


def _text(host: Host, path: str) -> str:
    """A file's text, "" where there is none."""
    try:
        return host.text(path, 64 << 10)
    except Missing:
        return ""
