"""What the configuration of each keeper says: its sources, whether the kernel is told, what becomes of leap seconds."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hostward.facts import fact
from hostward.facts.clock_services import ClockServices
from hostward.facts.units import Units
from hostward.host import Host, HostError
from hostward.model import Unavailable

_FILES_MAX = 200
_LINES_MAX = 20_000
_DEPTH_MAX = 8

#: Public services that smear a leap second over hours, by their own documentation: Google, Amazon, Meta, Alibaba
#: and Cloudflare. Others give the exact time, and the two must not be mixed (developers.google.com/time/smear).
SMEARING = (
    "*.google.com", "time*.google.com", "metadata.google.internal", "time.android.com", "169.254.169.123",
    "169.254.169.254", "fd00:ec2::123", "*.aws.com", "*.amazonaws.com", "*.facebook.com", "*.aliyun.com",
    "time.cloudflare.com",
)  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """One line of a configuration: `words` after its directive, and where it stands."""

    directive: str
    words: tuple[str, ...]
    path: str
    line: int

    @property
    def text(self) -> str:
        """As it stands there, with its place."""
        return f"{self.path}:{self.line}: {' '.join((self.directive, *self.words))}"


@dataclass(frozen=True)
class KeeperConfig:
    """The configuration of one keeper.

    `path` is its main file, "" where it was not found. `rtcsync` is whether chronyd is told to make the kernel know
    that the clock is kept (chrony.conf(5)), None for other keepers, which always do. `leap_mode` is chronyd's
    leapsecmode, "system" where nothing says otherwise; `smear` the line that makes the keeper smear what it serves,
    None for none. `sources` are the lines that name servers, pools, peers and reference clocks. `trouble` is what of
    it could not be read.
    """

    keeper: str
    path: str
    settings: tuple[Setting, ...] = ()
    rtcsync: bool | None = None
    leap_mode: str = ""
    smear: Setting | None = None
    trouble: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[Setting, ...]:
        return tuple(setting for setting in self.settings if setting.directive in _SOURCES)

    @property
    def names(self) -> tuple[str, ...]:
        """The names and addresses of its sources over the network."""
        found = []
        for setting in self.sources:
            if setting.directive in ("NTP", "servers", "server", "pool", "peer"):
                words = setting.words if setting.directive == "NTP" else setting.words[:1]
                found += [word for word in words if not word.startswith("127.127.")]
        return tuple(dict.fromkeys(found))

    @property
    def smearing(self) -> tuple[str, ...]:
        """Its sources that smear leap seconds, as far as their names tell."""
        return tuple(name for name in self.names if _smears(name))

    @property
    def exact(self) -> tuple[str, ...]:
        """Its sources that are not known to smear."""
        return tuple(name for name in self.names if not _smears(name))


_SOURCES = ("server", "servers", "pool", "peer", "refclock", "sensor", "NTP")


def _smears(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name.lower().rstrip("."), pattern) for pattern in SMEARING)


@dataclass(frozen=True)
class KeeperConfigs:
    """One for each installed keeper of ClockServices whose configuration has a known form."""

    configs: tuple[KeeperConfig, ...]

    def of(self, keeper: str) -> KeeperConfig | None:
        return next((config for config in self.configs if config.keeper == keeper), None)


@fact
def keeper_configs(host: Host, clock: ClockServices, units: Units | Unavailable) -> KeeperConfigs:
    """Read from the files alone, so of a tree as well; a file named on the unit's command line comes first."""
    found = []
    for name, service in {keeper.name: keeper.service for keeper in clock.keepers}.items():
        read = _READERS.get(name)
        if read is not None:
            unit = None if isinstance(units, Unavailable) else units.get(service)
            words = [] if unit is None else " ".join(command for _, command in unit.commands).split()
            found.append(read(host, name, words))
    return KeeperConfigs(tuple(found))


class _Reading:
    """Collects the settings of a configuration and of the files it includes; bounded, whatever it includes."""

    def __init__(self, host: Host, comment: str, splitter: Callable[[str], list[str]] = str.split) -> None:
        self.host = host
        self.comment = comment
        self.splitter = splitter
        self.settings: list[Setting] = []
        self.trouble: list[str] = []
        self.files = 0

    def lines(self, path: str) -> Iterator[Setting]:
        self.files += 1
        if self.files > _FILES_MAX:
            self.trouble.append(f"{path}: more than {_FILES_MAX} files are included; the rest was not read")
            return
        try:
            text = self.host.text(path)
        except HostError as error:
            self.trouble.append(str(error))
            return
        for number, line in enumerate(text.splitlines()[:_LINES_MAX], 1):
            words = self.splitter(line)
            if words and words[0][0] not in self.comment:
                yield Setting(words[0], tuple(words[1:]), path, number)

    def names(self, directory: str, suffix: str) -> list[str]:
        try:
            return [name for name in self.host.names(directory) if name.endswith(suffix) and name != suffix]
        except HostError:
            return []

    def matches(self, pattern: str) -> list[str]:
        """The files that a glob(7) pattern in the last part of a path means."""
        directory, _, last = pattern.rpartition("/")
        if not re.search(r"[*?\[]", last):
            return [pattern]
        try:
            names = self.host.names(directory or "/")
        except HostError:
            return []
        return [f"{directory}/{name}" for name in names if fnmatch.fnmatchcase(name, last) and name[0] != "."]


def _main(host: Host, words: list[str], option: str, places: tuple[str, ...]) -> str:
    """The file that an option on the command line names, else the first of the usual ones that is there."""
    for word, after in zip(words, words[1:]):
        if word == option and after.startswith("/"):
            return after
    return next((path for path in places if host.is_file(path)), "")


def _chronyd(host: Host, name: str, words: list[str]) -> KeeperConfig:
    """chrony.conf(5): directives in any case; include, confdir and sourcedir."""
    path = _main(host, words, "-f", ("/etc/chrony.conf", "/etc/chrony/chrony.conf"))
    reading = _Reading(host, "!;#%")
    if path:
        _chrony_file(reading, path, 0)
    kept = {setting.directive: setting for setting in reading.settings}
    mode = kept["leapsecmode"].words[:1] if "leapsecmode" in kept else ()
    return KeeperConfig(
        name,
        path,
        tuple(reading.settings),
        "rtcsync" in kept if path else None,
        mode[0].lower() if mode else "system" if path else "",
        kept.get("smoothtime"),
        tuple(reading.trouble),
    )


def _chrony_file(reading: _Reading, path: str, depth: int, only_sources: bool = False) -> None:
    if depth > _DEPTH_MAX:
        reading.trouble.append(f"{path}: included more than {_DEPTH_MAX} deep; not read")
        return
    for setting in reading.lines(path):
        directive = setting.directive.lower()
        if directive == "include" and setting.words:
            for file in reading.matches(setting.words[0]):
                _chrony_file(reading, file, depth + 1)
        elif directive in ("confdir", "sourcedir"):
            suffix = ".conf" if directive == "confdir" else ".sources"
            files: dict[str, str] = {}
            for directory in setting.words[:10]:
                for name in reading.names(directory, suffix):
                    files.setdefault(name, f"{directory.rstrip('/')}/{name}")
            for name in sorted(files):
                _chrony_file(reading, files[name], depth + 1, directive == "sourcedir")
        elif not only_sources or directive in ("server", "pool", "peer"):
            reading.settings.append(Setting(directive, setting.words, setting.path, setting.line))


def _ntpd(host: Host, name: str, words: list[str]) -> KeeperConfig:
    """ntp.conf(5) of ntpd and ntpsec: includefile, which for ntpsec may be a directory of *.conf."""
    places = ("/etc/ntp.conf", "/etc/ntpsec/ntp.conf") if name == "ntpd" else ("/etc/ntpsec/ntp.conf", "/etc/ntp.conf")
    path = _main(host, words, "-c", places)
    reading = _Reading(host, "#")
    if path:
        _ntp_file(reading, path, 0)
        for file in reading.names(path.rpartition("/")[0] + "/ntp.d", ".conf") if name == "ntpsec" else []:
            _ntp_file(reading, f"{path.rpartition('/')[0]}/ntp.d/{file}", 1)
    kept = {setting.directive: setting for setting in reading.settings}
    smear = kept.get("leapsmearinterval")
    if smear is not None and smear.words[:1] == ("0",):
        smear = None
    return KeeperConfig(name, path, tuple(reading.settings), None, "", smear, tuple(reading.trouble))


def _ntp_file(reading: _Reading, path: str, depth: int) -> None:
    if depth > _DEPTH_MAX:
        reading.trouble.append(f"{path}: included more than {_DEPTH_MAX} deep; not read")
        return
    for setting in reading.lines(path):
        if setting.directive == "includefile" and setting.words:
            target = setting.words[0]
            target = target if target.startswith("/") else f"{path.rpartition('/')[0]}/{target}"
            if reading.host.is_dir(target):
                for file in reading.names(target, ".conf"):
                    _ntp_file(reading, f"{target.rstrip('/')}/{file}", depth + 1)
            else:
                _ntp_file(reading, target, depth + 1)
            continue
        words = setting.words
        if setting.directive in ("server", "pool", "peer") and words[:1] in (("-4",), ("-6",)):
            words = words[1:]
        reading.settings.append(Setting(setting.directive, words, setting.path, setting.line))


def _timesyncd(host: Host, name: str, words: list[str]) -> KeeperConfig:
    """timesyncd.conf(5): NTP= adds, an empty one clears; FallbackNTP= counts where there is no other."""
    reading = _Reading(host, "#;[", lambda line: re.split(r"\s*=\s*|\s+", line.strip()) if line.strip() else [])
    path = "/etc/systemd/timesyncd.conf"
    files = [place for place in (path, f"/usr/lib{path[4:]}") if host.is_file(place)][:1]
    dropins: dict[str, str] = {}
    for place in ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd"):
        for file in reading.names(f"{place}/timesyncd.conf.d", ".conf"):
            dropins.setdefault(file, f"{place}/timesyncd.conf.d/{file}")
    servers: dict[str, list[Setting]] = {"NTP": [], "FallbackNTP": []}
    for file in [*files, *(dropins[key] for key in sorted(dropins))]:
        for setting in reading.lines(file):
            if setting.directive in servers:
                words_ = tuple(word for word in setting.words if word)
                if words_:
                    servers[setting.directive].append(Setting("NTP", words_, setting.path, setting.line))
                else:
                    servers[setting.directive].clear()
    settings = tuple(servers["NTP"] or servers["FallbackNTP"])
    return KeeperConfig(name, files[0] if files else "", settings, None, "", None, tuple(reading.trouble))


def _openntpd(host: Host, name: str, words: list[str]) -> KeeperConfig:
    """ntpd.conf(5) of OpenNTPD."""
    path = _main(host, words, "-f", ("/etc/openntpd/ntpd.conf", "/etc/ntpd.conf"))
    reading = _Reading(host, "#")
    settings = tuple(reading.lines(path)) if path else ()
    return KeeperConfig(name, path, settings, None, "", None, tuple(reading.trouble))


_READERS: dict[str, Callable[[Host, str, list[str]], KeeperConfig]] = {
    "chronyd": _chronyd,
    "ntpd": _ntpd,
    "ntpsec": _ntpd,
    "systemd-timesyncd": _timesyncd,
    "openntpd": _openntpd,
}
