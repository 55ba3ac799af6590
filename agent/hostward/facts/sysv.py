"""Init scripts and the rc directories that start them: SysV init of RHEL 5, Debian and SUSE."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hostward.facts.hwclock_calls import TEXT_MAX
from hostward.host import Host, HostError

DIRECTORIES = ("/etc/rc.d/init.d", "/etc/init.d")
_LEVELS = ("S", "boot", "0", "1", "2", "3", "4", "5", "6")
_PLACES = {
    "S": ("/etc/rcS.d",),
    "boot": ("/etc/init.d/boot.d", "/etc/rc.d/boot.d"),  # SUSE
    **{level: (f"/etc/rc.d/rc{level}.d", f"/etc/rc{level}.d", f"/etc/init.d/rc{level}.d") for level in "0123456"},
}
_LINK = re.compile(r"([SK])\d\d(.+)")
_SCRIPTS_MAX = 500


@dataclass(frozen=True)
class Script:
    """An init script.  `started` and `stopped` are the rc links that run it, by the level they belong to."""

    name: str
    path: str
    started: dict[str, str]
    stopped: dict[str, str]

    def at_boot(self, runlevel: str) -> str:
        """The link that starts it on the way to this runlevel, "" when there is none."""
        for level in ("S", "boot", runlevel):
            if level in self.started:
                return self.started[level]
        return ""

    def at_shutdown(self) -> str:
        """The link that runs it at halt or reboot: K links stop it, S links of 0 and 6 run scripts such as halt."""
        for level in ("0", "6"):
            for links in (self.stopped, self.started):
                if level in links:
                    return links[level]
        return ""


class Scripts:
    """All init scripts of a host with their rc links."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.trouble: list[str] = []
        self.directory = next((d for d in DIRECTORIES if host.is_dir(d)), "")
        self._links = {level: self._links_of(level) for level in _LEVELS}
        self.names: list[str] = []
        if self.directory:
            try:
                with host.directory(self.directory) as directory:
                    self.names = [n for n, kind in directory.entries() if kind in ("file", "link")][:_SCRIPTS_MAX]
            except HostError as error:
                self.trouble.append(str(error))

    def _links_of(self, level: str) -> dict[str, tuple[str, str]]:
        """(S or K, path of the link) by the name of the script it means, of one level."""
        found: dict[str, tuple[str, str]] = {}
        for place in _PLACES[level]:
            try:
                names = self.host.names(place)
            except HostError:
                continue
            for name in names:
                match = _LINK.fullmatch(name)
                if not match:
                    continue
                path = f"{place}/{name}"
                meant = {match.group(2)}
                if self.host.is_link(path):
                    try:
                        meant.add(self.host.readlink(path).rpartition("/")[2])
                    except HostError:
                        continue
                for script in meant:
                    found.setdefault(script, (match.group(1), path))
            break
        return found

    def get(self, name: str) -> Script | None:
        """The script of this name; a link that leads nowhere or round in a circle is none."""
        path = f"{self.directory}/{name}"
        if name not in self.names or not self.host.is_file(path):
            return None
        started: dict[str, str] = {}
        stopped: dict[str, str] = {}
        for level, links in self._links.items():
            if name in links:
                kind, link = links[name]
                (started if kind == "S" else stopped)[level] = link
        return Script(name, path, started, stopped)

    def text(self, path: str) -> str:
        """A script's text, "" where it can't be had."""
        try:
            return self.host.text(path, TEXT_MAX)
        except HostError as error:
            self.trouble.append(str(error))
            return ""
