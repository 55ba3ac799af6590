"""The kernel that boots next, by the boot loader's own files and rules."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from hostward.facts import fact
from hostward.facts.boot import container_of, split_cmdline
from hostward.facts.bootloaders import Entry, bls, choose, grub_legacy, release_in
from hostward.facts.bootloaders.grub_script import BadScript, Script, parse_env
from hostward.facts.kernels import Kernels
from hostward.host import Host, HostError, Missing
from hostward.model import NotApplicable, Unavailable

_CFG_MAX = 512 << 10
_GRUB_CFG = ("/boot/grub2/grub.cfg", "/boot/grub/grub.cfg")
_GRUB_LEGACY = ("/boot/grub/grub.conf", "/boot/grub/menu.lst")
_ESPS = ("/efi", "/boot/efi", "/boot")
_EFI_VARIABLE = "/sys/firmware/efi/efivars/{}-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"


@dataclass(frozen=True)
class NextKernel:
    """`release` boots next, because of `why`.

    `file` and `title` are the menu entry's, `image` and `cmdline` what stands in it (None: the entry has
    no command line of its own). `once`: only the next boot, then the default again. `certain` is False
    where no boot loader's configuration was found and the newest installed kernel is taken.
    """

    release: str
    why: str
    loader: str
    file: str = ""
    title: str = ""
    image: str = ""
    cmdline: tuple[str, ...] | None = None
    once: bool = False
    certain: bool = True


@fact
def next_kernel(host: Host, kernels: Kernels) -> NextKernel:
    """Raises Unavailable where it can't be told; NotApplicable in a container, which boots no kernel."""
    if host.live:
        container, _ = container_of(host)
        if container:
            raise NotApplicable(f"a container ({container}) boots no kernel of its own")
    for loader in (_proxmox, _systemd_boot, _grub, _legacy, _bls_alone):
        found = loader(host, kernels)
        if found is not None:
            return found
    if kernels.newest is None:
        raise Unavailable("neither a boot loader's configuration nor a kernel was found")
    return NextKernel(
        kernels.newest.release,
        "no boot loader's configuration with an entry was found; this is the newest kernel installed",
        "",
        image=kernels.newest.image,
        certain=False,
    )


def _text(host: Host, path: str) -> str | None:
    """A small file, None where there is none.  Raises HostError for one that is there and can't be read."""
    try:
        return host.text(path, _CFG_MAX)
    except Missing:
        return None


def _of_entry(host: Host, kernels: Kernels, entry: Entry | None, why: str, loader: str, once: bool) -> NextKernel:
    """Raises Unavailable for an entry whose kernel can't be made out."""
    if entry is None or not entry.image:
        name = f"the entry {entry.title!r} of {entry.file}" if entry else why
        raise Unavailable(f"{loader} boots next what is no Linux kernel with a release to be read: {name}")
    release = _release(host, kernels, entry)
    if not release:
        raise Unavailable(f"{loader} boots {entry.image} next ({why}), whose release its name does not tell")
    return NextKernel(release, why, loader, entry.file, entry.title, entry.image, entry.cmdline, once)


def _release(host: Host, kernels: Kernels, entry: Entry) -> str:
    """By the image's name; by the file behind a link such as /boot/vmlinuz; by the entry's version field."""
    name = entry.image.rpartition("/")[2]
    release = release_in(entry.image)
    if release:
        return release
    for path in (f"/boot/{name}", entry.image, "/boot" + entry.image):
        try:
            real = host.resolve(path) if path.startswith("/") else ""
        except HostError:
            continue
        if release_in(real):
            return release_in(real)
        match = re.fullmatch(r"(?:/usr)?/lib/modules/([^/]+)/[^/]+", real)
        if match:
            return match.group(1)
    return entry.version if kernels.get(entry.version) else ""


# Proxmox VE: proxmox-boot-tool copies kernels to the ESPs it is told of, which are not mounted.


def _proxmox(host: Host, kernels: Kernels) -> NextKernel | None:
    uuids = "/etc/kernel/proxmox-boot-uuids"
    if not (_text(host, uuids) or "").split():
        return None
    cmdline = _text(host, "/etc/kernel/cmdline")
    words = split_cmdline(cmdline) if cmdline else None
    for path, once in (("/etc/kernel/next-boot-pin", True), ("/etc/kernel/proxmox-boot-pin", False)):
        pinned = (_text(host, path) or "").strip()
        if pinned:
            return NextKernel(pinned, f"pinned in {path}", "proxmox-boot-tool", path, cmdline=words, once=once)
    with_image = [kernel for kernel in kernels.installed if kernel.image]
    if not with_image:
        raise Unavailable(f"{uuids} is in use, but /boot holds no kernel that proxmox-boot-tool could have copied")
    return NextKernel(
        with_image[0].release,
        f"the newest kernel in /boot: the boot partitions of {uuids} hold the newest ones and none is pinned",
        "proxmox-boot-tool",
        uuids,
        image=with_image[0].image,
        cmdline=words,
    )


# systemd-boot


def _efi_variable(host: Host, name: str) -> str:
    """A variable of the boot loader interface: four bytes of attributes, then UTF-16. "" where there is none."""
    try:
        data = host.read(_EFI_VARIABLE.format(name), 64 << 10)
    except HostError:
        return ""
    return data[4:].decode("utf-16-le", "replace").rstrip("\0")


def _systemd_boot(host: Host, kernels: Kernels) -> NextKernel | None:
    running = _efi_variable(host, "LoaderInfo") if host.live else ""
    esps = [esp for esp in _ESPS if host.is_dir(f"{esp}/EFI/systemd") or host.is_file(f"{esp}/loader/loader.conf")]
    if not esps or (running and not running.startswith("systemd-boot")):
        return None
    grub = next((path for path in _GRUB_CFG if host.is_file(path)), "")
    if grub and not running:
        if not host.is_dir(f"{esps[0]}/EFI/systemd"):
            return None
        raise Unavailable(f"both systemd-boot ({esps[0]}/EFI/systemd) and GRUB ({grub}) are installed; "
                          "which of them the firmware starts stands in no file of this tree")  # fmt: skip
    entries: list[Entry] = []
    for base in dict.fromkeys((*esps, "/boot")):  # /boot: the extended boot loader partition
        for read, directory in (
            (bls.read_entries, f"{base}/loader/entries"),
            (bls.unified_images, f"{base}/EFI/Linux"),
        ):
            try:
                entries += read(host, directory)
            except Missing:
                continue
    entries = bls.systemd_boot_order(list({entry.file: entry for entry in entries}.values()))
    if not entries:
        raise Unavailable(f"systemd-boot is installed in {esps[0]}, but it has no entry to boot")
    once = _efi_variable(host, "LoaderEntryOneShot") if host.live else ""
    chosen = _efi_variable(host, "LoaderEntryDefault") if host.live else ""
    file = f"{esps[0]}/loader/loader.conf"
    match = re.search(r"^[ \t]*default[ \t]+(\S+)", _text(host, file) or "", re.M)
    pattern = match.group(1) if match else ""
    if pattern == "@saved":
        pattern = _efi_variable(host, "LoaderEntryLastBooted") if host.live else ""
        if not pattern and not (once or chosen):
            raise Unavailable(f"{file} says `default @saved`, and the saved entry stands in an EFI variable only")
    for wanted, why, is_once in (
        (once, "chosen for one boot (EFI variable LoaderEntryOneShot)", True),
        (chosen, "chosen by bootctl set-default (EFI variable LoaderEntryDefault)", False),
        (pattern, f"default {pattern} in {file}", False),
    ):
        entry = bls.matching(entries, wanted) if wanted else None
        if entry:
            return _of_entry(host, kernels, entry, why, "systemd-boot", is_once)
    return _of_entry(host, kernels, entries[0], "the first entry in systemd-boot's order", "systemd-boot", False)


# GRUB 2


def _grub(host: Host, kernels: Kernels) -> NextKernel | None:
    menu = grub_menu(host)
    if menu is None:
        return None
    path, script, once = menu
    spec = script.env.get("default", "")
    entry, how = choose(script.menu, spec)
    if not script.menu and script.used_bls:
        raise Unavailable(
            f"{path} takes its entries from /boot/loader/entries (blscfg), which has none that can be read"
        )
    if once and spec == once[-1]:
        return _of_entry(host, kernels, entry, f"{how}: next_entry={spec} in grubenv", "GRUB", True)
    said = f"default={spec} in {path} and its environment" if spec else f"no default is set in {path}"
    return _of_entry(host, kernels, entry, f"{how}: {said}", "GRUB", False)


def _efi_grub_configurations(host: Host) -> list[str]:
    try:
        return [f"/boot/efi/EFI/{name}/grub.cfg" for name in host.names("/boot/efi/EFI")[:50]]
    except HostError:
        return []


def grub_menu(host: Host) -> tuple[str, Script, list[str]] | None:
    """GRUB 2's configuration as GRUB runs it: (its path, the script with menu and variables, the values of next_entry
    that it read); None where there is none.  Raises Unavailable for one that can't be made out."""
    for path in (*_GRUB_CFG, *_efi_grub_configurations(host)):
        text = _text(host, path)
        if text is None or not re.search(r"^\s*(menuentry|submenu|blscfg)\b", text, re.M):
            continue  # absent, or a stub that only points to the real one
        return (path, *_run_grub(host, path, text))
    return None


def _run_grub(host: Host, path: str, text: str) -> tuple[Script, list[str]]:
    once: list[str] = []

    def inside(name: str) -> list[str]:
        """Where a file that GRUB names may lie in the host: its root may be the boot partition."""
        name = re.sub(r"^\([^)]*\)", "", name)
        return [name, "/boot" + name] if name.startswith("/") else []

    def read_env(name: str) -> dict[str, str]:
        for candidate in inside(name):
            try:
                env = parse_env(host.text(candidate, 64 << 10))
            except HostError:
                continue
            once.extend(value for value in [env.get("next_entry", "")] if value)
            return env
        return {}

    def read(name: str) -> str:
        for candidate in inside(name):
            try:
                return host.text(candidate, _CFG_MAX)
            except HostError:
                continue
        return ""

    def entries(env: dict[str, str]) -> list[Entry]:
        directory = env.get("blsdir") or "/loader/entries"
        for candidate in dict.fromkeys(("/boot" + directory, directory, "/boot/efi/loader/entries")):
            try:
                return bls.grub_order(bls.read_entries(host, candidate, env))
            except HostError:
                continue
        return []

    exists: Callable[[str], bool] = lambda name: any(host.exists(candidate) for candidate in inside(name))  # noqa: E731
    script = Script(path, exists, read_env, read, entries)
    try:
        script.run(text)
    except BadScript as error:
        raise Unavailable(f"{path} can't be made out: {error}") from None
    return script, once


# GRUB legacy


def _legacy(host: Host, kernels: Kernels) -> NextKernel | None:
    for path in _GRUB_LEGACY:
        text = _text(host, path)
        if text is None:
            continue
        entries, default = grub_legacy.parse(text, path)
        if not entries:
            raise Unavailable(f"{path} has no entry (no line that begins with `title`)")
        said = f"default={default} in {path}" if default else f"no default in {path}"
        if default == "saved":
            saved = _text(host, "/boot/grub/default")
            number = grub_legacy.saved_default(saved) if saved is not None else 0
            said += f", and {0 if number is None else number} in /boot/grub/default" if saved is not None else ""
            default = str(number or 0)
        entry, how = choose(entries, default if default.isdigit() else "0")
        return _of_entry(host, kernels, entry, f"{how}: {said}", "GRUB legacy", False)
    return None


# BLS entries without a configuration that says how they are used (s390x's zipl, an unreadable grub.cfg)


def _bls_alone(host: Host, kernels: Kernels) -> NextKernel | None:
    try:
        entries = bls.grub_order(bls.read_entries(host, "/boot/loader/entries", {}))
    except Missing:
        return None
    if not entries:
        return None
    return _of_entry(host, kernels, entries[0], "the newest entry in /boot/loader/entries", "BLS", False)
