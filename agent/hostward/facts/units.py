"""systemd units that have to do with the clock: as their files say, and as the running systemd says."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from hostward.facts import fact
from hostward.facts.clock_names import HWCLOCK_UNITS, KEEPERS, PHC2SYS, PTP4L
from hostward.facts.init_system import InitSystem
from hostward.facts.presets import Presets
from hostward.facts.unit_files import FILE_MAX, UnitFile, UnitFiles
from hostward.host import Host, HostError
from hostward.model import Unavailable

NTP_UNITS = ("/etc/systemd/ntp-units.d", "/run/systemd/ntp-units.d", "/usr/local/lib/systemd/ntp-units.d",
             "/usr/lib/systemd/ntp-units.d", "/lib/systemd/ntp-units.d")  # fmt: skip
_RUNNING = ("active", "reloading", "refreshing", "activating")
_PROPERTIES = (
    "Id,Names,LoadState,ActiveState,SubState,UnitFileState,UnitFilePreset,FragmentPath,ConditionResult,"
    "ConditionTimestampMonotonic,Result"
)
_SEARCHED_MAX = 5_000
_NAME = re.compile(r"[A-Za-z0-9:_.\\@-]{1,255}")


@dataclass(frozen=True)
class Unit:
    """One unit.

    `name` is its real name, `names` all it is known by.  `file_state` is the word of `systemctl
    is-enabled`, `preset` what the distribution wants ("enabled", "disabled", "ignored", "").
    `load_state` is systemd's word, or what its files make of it.  `active` is None where nothing tells
    (a tree that isn't running).  `skipped` names the conditions that kept it from starting.
    `commands` are its Exec lines, ("start" or "stop", command line).  `wanted` is a link, not of its
    own [Install] section, by which a package has it started.
    """

    name: str
    names: tuple[str, ...]
    file_state: str
    preset: str
    load_state: str
    path: str
    active: bool | None = None
    active_state: str = ""
    sub_state: str = ""
    result: str = ""
    skipped: str = ""
    commands: tuple[tuple[str, str], ...] = ()
    environment_files: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    wanted: str = ""
    trouble: str = ""

    @property
    def masked(self) -> bool:
        return self.file_state.startswith("masked") or self.load_state == "masked"

    @property
    def installed(self) -> bool:
        return self.load_state not in ("not-found", "masked") or bool(self.commands)

    @property
    def enabled(self) -> bool:
        """Whether it is started at boot by links in the unit directories."""
        return self.file_state in ("enabled", "enabled-runtime", "generated")

    def words(self) -> str:
        """Its states in a line: `chrony.service: enabled (preset: enabled), active (running)`."""
        text = f"{self.name}: {self.file_state or self.load_state}"
        if self.file_state in ("enabled", "disabled") and self.preset:
            text += f" (preset: {self.preset})"
        if self.active_state:
            text += f", {self.active_state} ({self.sub_state})" if self.sub_state else f", {self.active_state}"
        if self.skipped:
            text += f", not started because of {self.skipped}"
        return text


@dataclass(frozen=True)
class Units:
    """The units of interest, by every name they have.

    `live` says whether the running systemd was asked; else `why_not_live`.  `ntp_units` are the names in
    ntp-units.d, which timedated takes for keepers of the clock, best first.
    """

    live: bool
    why_not_live: str
    units: dict[str, Unit] = field(default_factory=dict)
    ntp_units: tuple[str, ...] = ()
    trouble: tuple[str, ...] = ()

    def get(self, name: str) -> Unit | None:
        """The unit of this name, None where there is no such unit."""
        unit = self.units.get(name)
        return unit if unit is not None and unit.load_state != "not-found" else None

    def all(self) -> list[Unit]:
        """Each unit once."""
        found: dict[str, Unit] = {}
        for unit in self.units.values():
            if unit.load_state != "not-found":
                found.setdefault(unit.name, unit)
        return list(found.values())


@fact
def units(host: Host, init: InitSystem) -> Units:
    """Raises Unavailable where systemd is not what runs the host."""
    if init.name != "systemd":
        raise Unavailable(f"this host is not run by systemd but by {init.name} ({init.shown_by})")
    files = UnitFiles(host)
    ntp = _ntp_units(host)
    names = [name for keeper in (*KEEPERS, PTP4L, PHC2SYS) for name in keeper.units]
    names += [name for template in names if "@." in template for name in files.instances(template)]
    names += [*HWCLOCK_UNITS, *ntp, *_mentioning(host, files, b"hwclock")]
    return observe(host, files, [name for name in dict.fromkeys(names) if _NAME.fullmatch(name)], ntp)


def observe(host: Host, files: UnitFiles, names: Iterable[str], ntp: tuple[str, ...] = ()) -> Units:
    """These units from the files, and from the running systemd where there is one."""
    names = list(names)
    presets = Presets(host)
    found: dict[str, Unit] = {}
    for name in names:
        found[name] = _from_file(files, files.get(name), presets)
    # an alias stands for the unit it means; that one carries all the names
    aliases: dict[str, list[str]] = {}
    for name, unit in list(found.items()):
        if unit.name != name and unit.name not in found:
            found[unit.name] = _from_file(files, files.get(unit.name), presets)
        aliases.setdefault(unit.name, []).append(name)
    for real, known in aliases.items():
        unit = replace(found[real], names=tuple(sorted({real, *known})))
        for name in (real, *known):
            found[name] = unit
    live, why = False, "this tree is not running"
    if host.live:
        live, why = _ask_systemd(host, names, found)
    return Units(live, why, found, ntp, tuple(files.trouble))


def _from_file(files: UnitFiles, file: UnitFile, presets: Presets) -> Unit:
    load = "not-found" if file.state == "not-found" else "masked" if file.masked else "loaded"
    if file.state == "bad":
        load = "bad-setting"
    commands = tuple(
        (when, " ".join(line.split()))
        for when, keys in (
            ("start", ("ExecStartPre", "ExecStart", "ExecStartPost")),
            ("stop", ("ExecStop", "ExecStopPost")),
        )
        for key in keys
        for line in file.values("Service", key)
    )
    preset = presets.of(file.id)[0] if load == "loaded" else ""
    return Unit(
        file.id, (file.name,), "" if load == "not-found" else file.state, preset, load, file.path, commands=commands,
        environment_files=tuple(v.lstrip("-") for v in file.values("Service", "EnvironmentFile")),
        conflicts=tuple(word for value in file.values("Unit", "Conflicts") for word in value.split()),
        skipped=_unmet(files.host, file), wanted=files.wanted(file.id) if load == "loaded" else "",
        trouble=file.trouble,
    )  # fmt: skip


def _unmet(host: Host, file: UnitFile) -> str:
    """A condition on files that is not met, as it stands in the unit file: by such ones timesyncd of Debian and
    Ubuntu makes way for another keeper.  Triggering ones (|) and other conditions are left to systemd.
    """
    for key, holds in (("ConditionPathExists", host.exists), ("ConditionFileIsExecutable", host.is_file)):
        for value in file.values("Unit", key):
            path = value.lstrip("!")
            if path.startswith("/") and holds(path) == value.startswith("!"):
                return f"{key}={value}"
    return ""


def _ask_systemd(host: Host, names: list[str], found: dict[str, Unit]) -> tuple[bool, str]:
    """One `systemctl show` for all names; its answers replace what the files said.  (asked, why not)."""
    globs = [name.replace("@.", "@*.") for name in names if "@." in name]
    plain = [name for name in names if "@." not in name]
    argv = ["systemctl", "show", "--no-pager", f"--property={_PROPERTIES}", "--", *plain, *globs]
    try:
        answer = host.run(argv)
    except HostError as error:
        return False, str(error)
    if answer.status != 0 or "ActiveState=" not in answer.stdout:
        return False, f"systemctl show: {answer.said}"
    for block in answer.stdout.split("\n\n"):
        said = dict(line.partition("=")[::2] for line in block.splitlines() if "=" in line)
        name = said.get("Id", "")
        if not _NAME.fullmatch(name) or "@." in name:
            continue
        known = tuple(sorted({*said.get("Names", "").split(), name}))
        base = next((found[n] for n in (name, *known) if n in found), None)
        if base is None:
            base = Unit(name, known, "", "", "", "")
        active_state = said.get("ActiveState", "")
        skipped = ""
        if said.get("ConditionResult") == "no" and said.get("ConditionTimestampMonotonic", "0") != "0":
            skipped = "a condition of its unit file that was not met"
        unit = replace(
            base,
            name=name,
            names=known,
            file_state=said.get("UnitFileState", "") or ("" if said.get("LoadState") == "not-found" else "static"),
            preset=said.get("UnitFilePreset", ""),
            load_state=said.get("LoadState", ""),
            path=said.get("FragmentPath", "") or base.path,
            active=active_state in _RUNNING,
            active_state=active_state,
            sub_state=said.get("SubState", ""),
            result="" if said.get("Result") == "success" else said.get("Result", ""),
            skipped=skipped,
        )
        if unit.load_state == "masked":
            unit = replace(unit, file_state=unit.file_state if unit.file_state.startswith("masked") else "masked")
        for each in known:
            found[each] = unit
    return True, ""


def _mentioning(host: Host, files: UnitFiles, word: bytes) -> list[str]:
    """Names of services whose file holds this word."""
    found = []
    for name, path in list(files.services())[:_SEARCHED_MAX]:
        try:
            if word in host.read(path, FILE_MAX):
                found.append(name)
        except HostError as error:
            files.trouble.append(str(error))
    return found


def _ntp_units(host: Host) -> tuple[str, ...]:
    """The units timedated knows as keepers, in its order (systemd-timedated.service(8))."""
    lists: dict[str, str] = {}
    for directory in NTP_UNITS:
        try:
            for name in host.names(directory):
                if name.endswith(".list"):
                    lists.setdefault(name, f"{directory}/{name}")
        except HostError:
            continue
    found: dict[str, None] = {}
    for name in sorted(lists)[:100]:
        try:
            text = host.text(lists[name], 64 << 10)
        except HostError:
            continue
        for line in text.splitlines():
            unit = line.split("#")[0].strip()
            if _NAME.fullmatch(unit) and unit.endswith(".service"):
                found[unit] = None
    return tuple(found)[:100]
