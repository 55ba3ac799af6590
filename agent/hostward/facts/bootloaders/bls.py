"""Boot Loader Specification entries (uapi-group.org/specifications/specs/boot_loader_specification): text
files in loader/entries and unified kernel images in EFI/Linux, in the order that GRUB and systemd-boot give them."""

from __future__ import annotations

import fnmatch
import functools
import re
import struct
from collections.abc import Mapping

from hostward.facts.bootloaders import Entry
from hostward.host import File, Host, HostError
from hostward.versions import rpmvercmp

ENTRIES_MAX = 500
_FILE_MAX = 64 << 10
_BYTES_MAX = 1 << 20  # of all entry files together
_FIELD_MAX = 256  # of what entries are sorted by
_TRIES = re.compile(r"\+(\d{1,6})(?:-\d{1,6})?$")


def read_entries(host: Host, directory: str, expand: Mapping[str, str] | None = None) -> list[Entry]:
    """The entries of a directory, in no order of use. `expand`: GRUB's variables, which may stand in `options`.

    Entries that can't be read, or name no kernel, are left out. Raises HostError for the directory itself.
    """
    entries: list[Entry] = []
    left = _BYTES_MAX
    for name in host.names(directory)[: 2 * ENTRIES_MAX]:
        if not name.endswith(".conf"):
            continue
        try:
            text = host.text(f"{directory}/{name}", _FILE_MAX)
        except HostError:
            continue
        left -= len(text)
        if left < 0:
            raise HostError(directory, f"more than {_BYTES_MAX >> 10} KiB of boot entries make no sense")
        entry = parse(text, f"{directory}/{name}", expand)
        if entry.image and len(entries) < ENTRIES_MAX:
            entries.append(entry)
    return entries


def parse(text: str, file: str, expand: Mapping[str, str] | None = None) -> Entry:
    """One entry file; its id is the file's name without .conf and without a boot counter (+3-1)."""
    fields: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, value = [*line.strip().split(None, 1), "", ""][:2]
        if key and not key.startswith("#"):
            fields.setdefault(key, []).append(value.strip())

    def first(key: str) -> str:
        return fields.get(key, [""])[0][:_FIELD_MAX]

    stem = file.rpartition("/")[2][: -len(".conf")]
    tries = _TRIES.search(stem)
    options = " ".join(fields.get("options", []))
    if expand is not None:
        options = re.sub(r"\$\{?(\w+)\}?", lambda m: expand.get(m.group(1), ""), options)
    return Entry(
        first("title") or stem,
        file,
        stem[: tries.start()] if tries else stem,
        first("linux") or first("efi") or first("uki"),
        tuple(options.split()),
        first("version"),
        first("sort-key"),
        first("machine-id"),
        int(tries.group(1)) if tries else None,
        initrds=tuple(path for line in fields.get("initrd", []) for path in line.split() if "$" not in path),
    )


def grub_order(entries: list[Entry]) -> list[Entry]:
    """Newest first as GRUB's blscfg sorts: the file's name split as a package's into name, version and release,
    each compared as rpm does (grub-core/commands/blscfg.c of Fedora)."""

    def compare(a: Entry, b: Entry) -> int:
        for x, y in zip(_package_parts(a.id), _package_parts(b.id)):
            order = rpmvercmp(x, y)
            if order:
                return order
        return 0

    return sorted(entries, key=functools.cmp_to_key(compare), reverse=True)


def _package_parts(name: str) -> tuple[str, str, str]:
    rest, _, release = name.rpartition("-")
    if not rest:
        return name, "", ""
    package, _, version = rest.rpartition("-")
    return (package, version, release) if package else (rest, release, "")


def systemd_boot_order(entries: list[Entry]) -> list[Entry]:
    """As systemd-boot sorts (src/boot/boot.c): entries without tries left last, those with a sort-key first, by
    sort-key, machine-id and version, the newest version first; else by the name, newest first."""

    def compare(a: Entry, b: Entry) -> int:
        if (a.tries_left == 0) != (b.tries_left == 0):
            return 1 if a.tries_left == 0 else -1
        if bool(a.sort_key) != bool(b.sort_key):
            return -1 if a.sort_key else 1
        if a.sort_key:
            for x, y in ((a.sort_key, b.sort_key), (a.machine_id, b.machine_id)):
                if x != y:
                    return -1 if x < y else 1
            order = rpmvercmp(b.version, a.version)
            if order:
                return order
        return rpmvercmp(b.id, a.id)

    return sorted(entries, key=functools.cmp_to_key(compare))


def matching(entries: list[Entry], pattern: str) -> Entry | None:
    """The first entry whose id, with or without .conf, fits the `default` of loader.conf(5), a shell glob."""
    if len(pattern) > 255 or pattern.count("*") > 8:
        return None
    fits = re.compile(fnmatch.translate(pattern), re.I)
    for entry in entries:
        if any(fits.match(name) for name in (entry.id, entry.id + ".conf", entry.file.rpartition("/")[2])):
            return entry
    return None


def unified_images(host: Host, directory: str) -> list[Entry]:
    """Entries for unified kernel images (*.efi): release, title and command line from their sections."""
    entries: list[Entry] = []
    for name in host.names(directory)[: 2 * ENTRIES_MAX]:
        if not name.lower().endswith(".efi") or len(entries) >= ENTRIES_MAX:
            continue
        path = f"{directory}/{name}"
        try:
            sections = pe_sections(host, path)
        except HostError:
            continue
        release = dict(re.findall(r"^(\w+)=[\"']?([^\"'\n]*)", sections.get(".osrel", ""), re.M))
        tries = _TRIES.search(name[:-4])
        entries.append(
            Entry(
                release.get("PRETTY_NAME", name),
                path,
                name[:-4][: tries.start()] if tries else name[:-4],
                path,
                tuple(sections.get(".cmdline", "").split()),
                sections.get(".uname", "")[:_FIELD_MAX],
                release.get("IMAGE_ID") or release.get("ID", ""),
                tries_left=int(tries.group(1)) if tries else None,
            )
        )
    return entries


def pe_sections(host: Host, path: str) -> dict[str, str]:
    """The text of a PE image's .uname, .osrel and .cmdline sections, at most 64 KiB of each.  Raises HostError."""
    found: dict[str, str] = {}
    with host.open(path) as file:
        for name, offset, size in pe_ranges(file):
            if name in (".uname", ".osrel", ".cmdline"):
                data = file.read_at(offset, min(size, _FILE_MAX))
                found[name] = data.rstrip(b"\0").decode("utf-8", "surrogateescape").strip()
    return found


def pe_ranges(file: File) -> list[tuple[str, int, int]]:
    """(name, offset, size) of each section of a PE image, as they lie in the file.  Raises HostError."""
    head = file.read_at(0, 4096)
    if len(head) < 0x40 or head[:2] != b"MZ":
        raise HostError(file.path, "is not a PE image")
    at = struct.unpack_from("<I", head, 0x3C)[0]
    if at + 24 > len(head) or head[at : at + 4] != b"PE\0\0":
        raise HostError(file.path, "is not a PE image")
    count, optional = struct.unpack_from("<H", head, at + 6)[0], struct.unpack_from("<H", head, at + 20)[0]
    table = file.read_at(at + 24 + optional, 40 * min(count, 96))
    found = []
    for n in range(len(table) // 40):
        name, size, _, raw_size, offset = struct.unpack_from("<8sIIII", table, 40 * n)
        found.append((name.rstrip(b"\0").decode("ascii", "replace"), offset, min(size or raw_size, raw_size)))
    return found
