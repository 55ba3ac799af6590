"""Everything on a host that runs hwclock(8): units, init scripts, rc.sysinit, udev rules, OpenRC, cron jobs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from hostward.facts.hwclock_calls import TEXT_MAX, Calls, calls_in
from hostward.facts.init_system import InitSystem
from hostward.facts.sysv import Scripts
from hostward.facts.units import Unit, Units
from hostward.host import Host, HostError

PROGRAMS = ("/sbin/hwclock", "/usr/sbin/hwclock", "/bin/hwclock", "/usr/bin/hwclock")
UDEV_RULES = ("/etc/udev/rules.d", "/run/udev/rules.d", "/usr/local/lib/udev/rules.d", "/usr/lib/udev/rules.d",
              "/lib/udev/rules.d")  # fmt: skip
_FILES_MAX = 500


@dataclass(frozen=True)
class HwclockUse:
    """One thing that runs hwclock.

    `kind`: systemd, sysv, rc.sysinit, rc.local, upstart, udev, openrc or cron.  What drifts a guest is
    `sets_system_clock` (from the RTC, at boot or from a job); `writes_rtc` (at shutdown or from a job)
    does not.  `enabled`, `active`: None where it can't be told.  `inert` says why it does nothing on this
    host though it is there.  `evidence` are lines that name files, links, units and the calls themselves.
    """

    name: str
    kind: str
    path: str
    sets_system_clock: bool
    writes_rtc: bool
    enabled: bool | None
    active: bool | None
    state: str
    inert: str = ""
    evidence: tuple[str, ...] = ()

    @property
    def in_force(self) -> bool:
        """Whether it runs, as far as can be told: enabled or active, and not without effect."""
        return not self.inert and (self.enabled is not False or self.active is True)


def hwclock_uses(host: Host, init: InitSystem, units: Units | None, scripts: Scripts) -> list[HwclockUse]:
    """All of them, also the switched-off ones."""
    found: list[HwclockUse] = []
    if units is not None:
        found += _by_units(host, units)
    if init.name == "openrc":
        found += _by_openrc(host)
    else:
        found += _by_scripts(host, init, units, scripts)
        found += _by_sysinit(host, init)
        found += _by_rc_local(host, init)
    found += _by_upstart(host, init)
    found += _by_udev(host, init)
    found += _by_cron(host)
    if not any(host.exists(program) for program in PROGRAMS):
        found = [replace(use, inert=use.inert or "no hwclock program is installed") for use in found]
    return found


def _quoted(path: str, calls: Calls) -> tuple[str, ...]:
    return tuple(f"{path}: {line}" for line in calls.lines)


def _helper(host: Host, line: str) -> tuple[Calls, str, str]:
    """What the program of a command line does, if it is a script of the host: (its calls, its path, its text)."""
    for word in line.split()[:3]:
        path = word.strip("\"'").lstrip("-@+!:")
        if path.startswith("/") and path.rpartition("/")[2] not in ("hwclock", "sh", "bash", "env"):
            try:
                text = host.text(path, TEXT_MAX)
            except HostError:
                continue
            if text.startswith("#!"):
                return calls_in(text), path, text
    return Calls(), "", ""


def _by_units(host: Host, units: Units) -> Iterator[HwclockUse]:
    for unit in units.all():
        calls = Calls()
        evidence: tuple[str, ...] = ()
        for _, line in unit.commands:
            calls |= calls_in(line)
            inner, path, _text = _helper(host, line) if "hwclock" in line else (Calls(), "", "")
            calls |= inner
            evidence += _quoted(path, inner)
        if not calls and not ("hwclock" in unit.name and unit.masked):
            continue
        quoted = tuple(f"{unit.path}: {key}={line}" for key, line in _exec_lines(unit) if "hwclock" in line)
        runs = unit.enabled or bool(unit.wanted)
        yield HwclockUse(
            unit.name, "systemd", unit.path, calls.sets_system_clock, calls.writes_rtc,
            enabled=False if unit.masked else runs,
            active=unit.active,
            state=unit.words(),
            inert="masked" if unit.masked else unit.skipped,
            evidence=(unit.words(), *quoted, *evidence),
        )  # fmt: skip


def _exec_lines(unit: Unit) -> Iterator[tuple[str, str]]:
    for when, line in unit.commands:
        yield "ExecStart" if when == "start" else "ExecStop", line


def _by_scripts(host: Host, init: InitSystem, units: Units | None, scripts: Scripts) -> Iterator[HwclockUse]:
    for name in scripts.names:
        if name in ("rc", "rcS", "functions", "README", "skeleton"):
            continue
        script = scripts.get(name)
        calls = calls_in(scripts.text(script.path)) if script else Calls()
        if script is None or not calls:
            continue
        boot, shutdown = script.at_boot(init.runlevel), script.at_shutdown()
        inert = ""
        if init.name == "systemd":
            boot = next((script.started[level] for level in "2345" if level in script.started), "")
            shutdown = shutdown if boot else ""
            unit_name = f"{name[:-3] if name.endswith('.sh') else name}.service"
            unit = units.get(unit_name) if units is not None else None
            if unit is not None and unit.file_state != "generated":
                inert = f"systemd takes {unit_name} ({unit.file_state}) in its place"
            elif _leaves_it_to_systemd(scripts.text(script.path)):
                inert = "does nothing under systemd"
        enabled = bool(boot) if calls.sets_system_clock else bool(boot or shutdown)
        links = [f"{link} starts it" for link in [boot] if link] + [f"{link} runs it" for link in [shutdown] if link]
        state = "switched on" if enabled else f"switched off (no S link for runlevel {init.runlevel or '2-5'})"
        yield HwclockUse(
            name, "sysv", script.path, calls.sets_system_clock, calls.writes_rtc, enabled, None, state, inert,
            (f"{script.path}: {state}", *links, *_quoted(script.path, calls)),
        )  # fmt: skip


def _leaves_it_to_systemd(text: str) -> bool:
    """Whether a script ends at once when /run/systemd/system is there, as Debian's hwclock-set and hwclock.sh do."""
    return bool(re.search(r"\[\s+-[de]\s+/run/systemd/system\s+\]\s*(?:;\s*then|&&)\s*exit\b", text))


def _by_sysinit(host: Host, init: InitSystem) -> Iterator[HwclockUse]:
    """RHEL 5 has no hwclock service: rc.sysinit itself sets the clock, by the flags of /etc/sysconfig/clock."""
    for path in ("/etc/rc.d/rc.sysinit", "/etc/rc.sysinit"):
        calls = _calls_of(host, path)
        if not calls:
            continue
        starters = {"sysv": "/etc/inittab", "upstart": "/etc/init/rcS.conf"}
        starter = starters.get(init.name, "")
        named = "rc.sysinit" in _text(host, starter) if starter else False
        enabled = named if init.name in starters else False
        state = f"run at every boot by {starter}" if enabled else f"{starter or 'nothing'} does not run it"
        flags = [f"/etc/sysconfig/clock: {line}" for line in _settings(host, "/etc/sysconfig/clock")]
        yield HwclockUse(
            "rc.sysinit", "rc.sysinit", path, calls.sets_system_clock, calls.writes_rtc, enabled, None, state, "",
            (f"{path}: {state}", *_quoted(path, calls), *flags),
        )  # fmt: skip
        return


def _settings(host: Host, path: str) -> list[str]:
    wanted = re.compile(r"(?:UTC|ARC|SRM|HWCLOCK|CLOCKMODE|CLOCKFLAGS)=.*")
    return [line for line in _text(host, path).splitlines()[:200] if wanted.fullmatch(line)]


def _by_rc_local(host: Host, init: InitSystem) -> Iterator[HwclockUse]:
    for path in ("/etc/rc.d/rc.local", "/etc/rc.local"):
        calls = _calls_of(host, path)
        if calls:
            enabled = _executable(host, path) or init.name != "systemd"
            state = "run at the end of boot" if enabled else "not executable, so not run"
            yield HwclockUse(
                "rc.local", "rc.local", path, calls.sets_system_clock, calls.writes_rtc, enabled, None, state, "",
                (f"{path}: {state}", *_quoted(path, calls)),
            )  # fmt: skip
            return


def _by_upstart(host: Host, init: InitSystem) -> Iterator[HwclockUse]:
    for path in _files(host, "/etc/init", ".conf"):
        calls = _calls_of(host, path)
        if not calls:
            continue
        off = re.search(r"^\s*manual\b", _text(host, path[:-5] + ".override"), re.M)
        enabled = init.name == "upstart" and not off
        state = "a job of Upstart" if enabled else "switched off" if off else "a job of Upstart, which is not used"
        yield HwclockUse(
            path.rpartition("/")[2][:-5], "upstart", path, calls.sets_system_clock, calls.writes_rtc, enabled, None,
            state, "", (f"{path}: {state}", *_quoted(path, calls)),
        )  # fmt: skip


def _by_udev(host: Host, init: InitSystem) -> Iterator[HwclockUse]:
    """Rules that run hwclock or a helper when the RTC appears: Debian's hwclock-set, RHEL 6's 88-clock.rules."""
    chosen: dict[str, str] = {}
    for directory in UDEV_RULES:
        for path in _files(host, directory, ".rules"):
            chosen.setdefault(path.rpartition("/")[2], path)
    for path in chosen.values():
        text = _text(host, path)
        if "hwclock" not in text:
            continue
        calls, inert, evidence = Calls(), "", []
        for value in re.findall(r'RUN(?:\{program\})?\+?=\s*"([^"]*)"', re.sub(r"(?m)^\s*#.*", "", text)):
            inner, helper, body = _helper(host, value)
            calls |= calls_in(value) | inner
            evidence += [f'{path}: RUN+="{value}"', *_quoted(helper, inner)]
            if inner and init.name == "systemd" and _leaves_it_to_systemd(body):
                inert = f"{helper} does nothing under systemd"
        if calls:
            yield HwclockUse(
                path.rpartition("/")[2], "udev", path, calls.sets_system_clock, calls.writes_rtc, True, None,
                "run when the RTC's device appears", inert, tuple(evidence),
            )  # fmt: skip


def _by_openrc(host: Host) -> Iterator[HwclockUse]:
    """OpenRC's hwclock sets the clock unless clock_hctosys says no, and writes the RTC unless clock_systohc does."""
    for path in _files(host, "/etc/init.d", ""):
        calls = _calls_of(host, path)
        if not calls:
            continue
        name = path.rpartition("/")[2]
        levels = openrc_levels(host, name)
        state = f"in the runlevel {', '.join(levels)}" if levels else "in no runlevel"
        evidence = [f"{path}: {state}", *_quoted(path, calls)]
        sets, writes = calls.sets_system_clock, calls.writes_rtc
        configuration = f"/etc/conf.d/{name}"
        for line in _text(host, configuration).splitlines()[:500]:
            match = re.fullmatch(r"\s*(clock_hctosys|clock_systohc)=[\"']?(\w*)[\"']?\s*(?:#.*)?", line)
            if match:
                evidence.append(f"{configuration}: {line.strip()}")
                if match.group(2).lower() in ("no", "false", "off", "0"):
                    sets = sets and match.group(1) != "clock_hctosys"
                    writes = writes and match.group(1) != "clock_systohc"
        started = host.exists(f"/run/openrc/started/{name}") if host.live else None
        yield HwclockUse(name, "openrc", path, sets, writes, bool(levels), started, state, "", tuple(evidence))


def openrc_levels(host: Host, name: str) -> list[str]:
    """The runlevels of OpenRC that start a service."""
    try:
        levels = host.names("/etc/runlevels")[:50]
    except HostError:
        return []
    return [level for level in levels if host.is_file(f"/etc/runlevels/{level}/{name}")]


CRONTABS = ("/etc/crontab", "/etc/anacrontab", "/var/spool/cron/root", "/var/spool/cron/crontabs/root",
            "/etc/crontabs/root")  # fmt: skip
CRON_DIRECTORIES = ("/etc/cron.hourly", "/etc/cron.daily", "/etc/cron.weekly", "/etc/cron.monthly",
                    "/etc/periodic/15min", "/etc/periodic/hourly", "/etc/periodic/daily", "/etc/periodic/weekly",
                    "/etc/periodic/monthly")  # fmt: skip


def _by_cron(host: Host) -> Iterator[HwclockUse]:
    tables = [*CRONTABS, *_files(host, "/etc/cron.d", "")]
    scripts = [path for directory in CRON_DIRECTORIES for path in _files(host, directory, "")]
    for path in dict.fromkeys(tables + scripts):
        calls = _calls_of(host, path)
        if not calls:
            continue
        runs = path in tables or _executable(host, path)
        state = "a cron job" if runs else "not executable, so cron does not run it"
        yield HwclockUse(
            path.rpartition("/")[2], "cron", path, calls.sets_system_clock, calls.writes_rtc, runs, None, state, "",
            (f"{path}: {state}", *_quoted(path, calls)),
        )  # fmt: skip


def _files(host: Host, directory: str, suffix: str) -> list[str]:
    try:
        return [f"{directory}/{name}" for name in host.names(directory)[:_FILES_MAX] if name.endswith(suffix)]
    except HostError:
        return []


def _text(host: Host, path: str) -> str:
    if not path:
        return ""
    try:
        return host.text(path, TEXT_MAX)
    except HostError:
        return ""


def _calls_of(host: Host, path: str) -> Calls:
    return calls_in(_text(host, path))


def _executable(host: Host, path: str) -> bool:
    try:
        return bool(host.stat(path).st_mode & 0o111)
    except HostError:
        return False
