"""What a distribution or an administrator wants enabled: systemd.preset(5)."""

from __future__ import annotations

import fnmatch

from hostward.host import Host, HostError

DIRECTORIES = (
    "/etc/systemd/system-preset",
    "/run/systemd/system-preset",
    "/usr/local/lib/systemd/system-preset",
    "/usr/lib/systemd/system-preset",
    "/lib/systemd/system-preset",
)
_FILES_MAX = 500


class Presets:
    """The rules of all preset files, in order; the first that matches a unit decides."""

    def __init__(self, host: Host) -> None:
        self.rules: list[tuple[str, str, str]] = []
        files: dict[str, str] = {}
        for directory in DIRECTORIES:
            try:
                for name in host.names(directory):
                    if name.endswith(".preset"):
                        files.setdefault(name, f"{directory}/{name}")
            except HostError:
                continue
        for name in sorted(files)[:_FILES_MAX]:
            try:
                text = host.text(files[name], 256 << 10)
            except HostError:
                continue
            for line in text.splitlines():
                words = line.split()
                if len(words) >= 2 and words[0] in ("enable", "disable", "ignore"):
                    self.rules.append((words[0], words[1], files[name]))

    def of(self, unit: str) -> tuple[str, str]:
        """("enabled", "disabled" or "ignored", the file that says so); enabled and "" when none does."""
        for action, pattern, file in self.rules:
            if fnmatch.fnmatchcase(unit, pattern):
                return {"enable": "enabled", "disable": "disabled", "ignore": "ignored"}[action], file
        return "enabled", ""
