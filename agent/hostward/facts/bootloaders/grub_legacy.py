"""GRUB legacy's menu: /boot/grub/grub.conf (Red Hat) or menu.lst, as RHEL 5 and 6 and old SUSE have it."""

from __future__ import annotations

import re

from hostward.facts.bootloaders import Entry
from hostward.facts.bootloaders.grub_script import kernel_of

ENTRIES_MAX = 500


def parse(text: str, file: str) -> tuple[list[Entry], str]:
    """The entries and the value of `default`: a number, "saved", or "" where the file has none (0 is meant)."""
    entries: list[Entry] = []
    default, title = "", None  # type: tuple[str, str | None]
    commands: list[list[str]] = []

    def end() -> None:
        if title is not None:
            image, cmdline = kernel_of(commands)
            entries.append(Entry(title, file, "", image.partition(")")[2] if image.startswith("(") else image, cmdline))

    for line in text.splitlines():
        match = re.match(r"\s*([A-Za-z]+)(?:\s*=\s*|\s+|$)(.*?)\s*$", line)
        if not match:
            continue
        key, value = match.group(1).lower(), match.group(2)
        if key == "title":
            end()
            if len(entries) >= ENTRIES_MAX:
                return entries, default
            title, commands = value, []
        elif key == "default" and title is None:
            default = value
        elif key in ("kernel", "module") and title is not None:
            commands.append(["multiboot" if key == "kernel" else "module", *value.split()])
    end()
    return entries, default


def saved_default(text: str) -> int | None:
    """The entry's number in /boot/grub/default, which `savedefault` and grub-set-default(8) write."""
    match = re.match(r"\s*(\d{1,4})\b", text)
    return int(match.group(1)) if match else None
