"""By which tool the default boot entry is set here, and what it has to be told for the kernel that runs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hostward.facts import fact
from hostward.facts.bootloaders import Entry, bls, grub_legacy, release_in
from hostward.facts.kernels import Kernels, RunningKernel
from hostward.facts.next_kernel import NextKernel, grub_menu
from hostward.host import Host, HostError
from hostward.model import Unavailable

_EDITORS = ("grub2-set-default", "grub-set-default")


@dataclass(frozen=True)
class BootDefault:
    """How to make the running kernel (`release`) the default.

    `set_` are the arguments that do it and `back` those that take it back; or, for GRUB legacy, `edit` is
    (file, line now, line then).
    """

    release: str
    loader: str
    set_: tuple[str, ...] = ()
    back: tuple[str, ...] = ()
    edit: tuple[str, str, str] | None = None


@fact
def boot_default(host: Host, kernels: Kernels, running: RunningKernel, following: NextKernel) -> BootDefault:
    """Raises Unavailable where the default can't be set by a tool that is here, saying what to do instead."""
    kernel = kernels.get(running.release)
    if kernel is None or not kernel.complete:
        raise Unavailable(f"the running kernel {running.release} is not whole on disk any more; it can't be kept")
    if following.loader == "proxmox-boot-tool":
        return BootDefault(
            running.release,
            following.loader,
            ("proxmox-boot-tool", "kernel", "pin", running.release),
            ("proxmox-boot-tool", "kernel", "unpin"),
        )
    if following.loader == "GRUB legacy":
        return _legacy(host, following, running.release)
    grubby = _program(host, "grubby")
    if grubby and kernel.image:
        before = kernels.get(following.release)
        back = (grubby, "--set-default", before.image) if before is not None and before.image else ()
        return BootDefault(running.release, following.loader, (grubby, "--set-default", kernel.image), back)
    if following.loader == "GRUB":
        return _grub(host, running.release)
    if following.loader == "systemd-boot":
        return _systemd_boot(host, following, running.release)
    raise Unavailable(f"no tool is known that sets the default entry of {following.loader or 'this boot loader'}")


def _program(host: Host, name: str) -> str:
    return next((f"{at}/{name}" for at in ("/usr/sbin", "/usr/bin", "/sbin") if host.is_file(f"{at}/{name}")), "")


def _legacy(host: Host, following: NextKernel, release: str) -> BootDefault:
    text = host.text(following.file, 1 << 20)
    entries, default = grub_legacy.parse(text, following.file)
    number = next((n for n, entry in enumerate(entries) if release_in(entry.image) == release), None)
    line = next((line for line in text.splitlines() if re.match(r"\s*default[\s=]", line)), None)
    if number is None or line is None or not default.isdigit():
        raise Unavailable(f"set `default` in {following.file} to the entry of kernel {release} by hand")
    return BootDefault(release, following.loader, edit=(following.file, line, f"default={number}"))


def _grub(host: Host, release: str) -> BootDefault:
    menu = grub_menu(host)
    assert menu is not None
    path, script, _ = menu
    wanted = _path_to(script.menu, release)
    if wanted is None:
        raise Unavailable(f"{path} has no entry for the running kernel {release}")
    editor = next((found for found in (_program(host, name) for name in _EDITORS) if found), "")
    if not editor:
        raise Unavailable(f"set {wanted!r} as the default of GRUB by hand: no grub-set-default is installed")
    if not re.search(r"set default=[\"']?\$\{?saved_entry\}?", host.text(path, 512 << 10)):
        raise Unavailable(
            f"{path} does not take its default from grubenv: put GRUB_DEFAULT=saved into /etc/default/grub, "
            "run update-grub, then fix again"
        )
    saved = script.env.get("saved_entry", "")
    # Without a saved entry GRUB takes the first one, which is entry 0.
    return BootDefault(release, "GRUB", (editor, wanted), (editor, saved or "0"))


def _path_to(menu: list[Entry] | tuple[Entry, ...], release: str) -> str | None:
    """The entry of a release as GRUB's `default` names it: ids (or titles), submenus before a `>`."""
    for entry in menu:
        name = (entry.id or entry.title).replace(">", ">>")
        if entry.children:
            inner = _path_to(entry.children, release)
            if inner is not None:
                return f"{name}>{inner}"
        elif (release_in(entry.image) or entry.version) == release and "recovery" not in name:
            return name
    return None


def _systemd_boot(host: Host, following: NextKernel, release: str) -> BootDefault:
    directory = following.file.rpartition("/")[0]
    try:
        entries = bls.read_entries(host, directory)
    except HostError:
        entries = []
    mine = next((e for e in entries if e.version == release or release_in(e.image) == release), None)
    tool = _program(host, "bootctl")
    if mine is None or not tool:
        raise Unavailable(f"set the entry of kernel {release} as the default by hand (bootctl set-default)")
    name = mine.file.rpartition("/")[2]
    before = following.file.rpartition("/")[2] if "LoaderEntryDefault" in following.why else ""
    return BootDefault(release, "systemd-boot", (tool, "set-default", name), (tool, "set-default", before))
