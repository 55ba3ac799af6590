"""What boot loaders read, read as they read it: menus, entries, and which entry is the default."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

_PREFIX = re.compile(r"(?:vmlinuz|vmlinux|Image|image|zImage|bzImage|kernel|linux|initramfs|initrd)-(?=\d)")


@dataclass(frozen=True)
class Entry:
    """One entry of a boot menu, with the file it stands in.

    `image` is the kernel's path as the loader writes it (often relative to the boot partition), `cmdline`
    what is passed to the kernel, `version` what a BLS entry or unified image says of itself, `initrds` a BLS
    entry's initramfs images in the order of loading. A submenu has `children` and no image.
    """

    title: str
    file: str
    id: str = ""
    image: str = ""
    cmdline: tuple[str, ...] = ()
    version: str = ""
    sort_key: str = ""
    machine_id: str = ""
    tries_left: int | None = None
    children: tuple[Entry, ...] = field(default=())
    initrds: tuple[str, ...] = ()


def release_in(image: str) -> str:
    """The kernel release that an image's name ends in, "" when it has none: /boot/vmlinuz-6.1.0-50 -> 6.1.0-50.

    Where kernel-install puts one directory per kernel, TOKEN/RELEASE/linux, the directory names it.
    """
    base = image.rpartition("/")[2]
    match = _PREFIX.match(base)
    if match:
        return base[match.end() :]
    directory = image.rpartition("/")[0].rpartition("/")[2]
    return directory if base == "linux" and re.match(r"\d+\.\d+", directory) else ""


def choose(menu: Sequence[Entry], spec: str) -> tuple[Entry | None, str]:
    """The entry that GRUB's `default` means, and how it was found.

    A number counts from 0; other text is an entry's id or title; `>` leads into a submenu (`1>2`,
    written `>>` for itself). As GRUB does, what fits nothing, and nothing at all, means the first entry
    (grub-core/normal/menu.c).
    """
    if not menu:
        return None, "the menu is empty"
    head, rest = _first(spec)
    number, how = 0, "the first entry"
    if head:
        digits = re.match(r"\s*(\d{1,6})\s*$", head)
        if digits and int(digits.group(1)) < len(menu):
            number, how = int(digits.group(1)), f"entry {int(digits.group(1))}"
        elif digits:
            how = f"the first entry, as there is no entry {int(digits.group(1))}"
        else:
            found = next((n for n, entry in enumerate(menu) if head in (entry.id, entry.title)), None)
            if found is None:
                how = f"the first entry, as none is called {head!r}"
            else:
                number, how = found, f"the entry called {head!r}"
    entry = menu[number]
    if entry.children:
        inner, inner_how = choose(entry.children, rest)
        return inner, f"{inner_how} of the submenu {entry.title!r}"
    return entry, how


def _first(spec: str) -> tuple[str, str]:
    parts = re.split(r"(?<!>)>(?!>)", spec, maxsplit=1)
    return parts[0].replace(">>", ">"), parts[1] if len(parts) > 1 else ""
