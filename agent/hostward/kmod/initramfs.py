"""What an initramfs holds: its archives one after the other, packed or not, as the kernel unpacks them.

unpack_to_rootfs() of init/initramfs.c: zeros between archives are passed over; what begins with a cpio magic
at a multiple of 4 is an archive; anything else must be compressed in a format the kernel knows, and holds
archives in turn. So the microcode in front, and what a boot loader appends, are part of the image.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from hostward.kmod import compress
from hostward.kmod.cpio import CRC, NEWC, BadInitramfs, Member, Stream, members

CHUNK = 1 << 19
READ_AHEAD = 1 << 14  # in a plain archive, whose data is mostly passed over
#: The largest image, and what it may inflate to, in bytes; the largest seen (all drivers and firmware) come to 1 GiB.
IMAGE_MAX = 1 << 30
INFLATED_MAX = 2 << 30
#: A module larger than this is not compared, and not an initramfs's.
MODULE_MAX = 128 << 20
#: modules.dep of a distribution's whole kernel has 0.7 MB; an image is for one kernel, seldom for two.
MODULES_DEP_MAX = 4 << 20
RELEASES_MAX = 8
MODULES_MAX = 50_000
#: Archives one after the other: a boot loader appends a handful.
PARTS_MAX = 1000
NESTED_MAX = 64
LINKS_MAX = 8
BOOTCONFIG = b"#BOOTCONFIG\n"
_MODULE = (".ko", ".ko.gz", ".ko.xz", ".ko.zst")
_IN_TREE = re.compile(r"lib/modules/([^/]+)/")
_MODULES_DEP = re.compile(r"lib/modules/([^/]+)/modules\.dep$")
#: Files that tell who made an image; dracut's is where a reader (lsinitrd) looks for the version.
_MAKERS = (
    (re.compile(r"(?:usr/)?lib/dracut/"), "dracut"),
    (re.compile(r"conf/(?:initramfs\.conf|arch\.conf)$"), "initramfs-tools"),
    (re.compile(r"(?:buildconfig|usr/lib/initcpio/.*)$"), "mkinitcpio"),
)
#: Where dracut's squash and systemd modules put what they hide from a reader of the cpio archive.
_NESTED = re.compile(r"(?:^|/)(?:squash(?:fs)?-root\.img|squash/root\.img|erofs-root\.img|root\.(?:squashfs|erofs))$")


class Window(Protocol):
    """A part of a file: `size` bytes that can be read at any offset (hostward.host.File is one)."""

    @property
    def size(self) -> int: ...

    def read_at(self, offset: int, count: int, /) -> bytes: ...


@dataclass(frozen=True)
class Part:
    """One piece of an image: where it begins, how it is packed ("" for not), and how many archives it holds."""

    offset: int
    packing: str
    archives: int


@dataclass(frozen=True)
class HeldModule:
    """A module inside an image.

    `path` is its name in the archive without a leading "/" or "./", `release` the kernel whose module directory
    it lies in ("" elsewhere: mkinitrd of RHEL 5 has /lib/NAME.ko). `target` is the key of the file that a
    symbolic or hard link stands for, "" for a file itself.
    """

    path: str
    name: str
    release: str
    size_bytes: int
    target: str = ""


@dataclass(frozen=True)
class Listing:
    """What an image holds of modules; the keys of `modules` are paths without a leading usr/ (`key_of`).

    `nested` are file system images inside it (dracut's squash module) whose content is not looked at: what is
    not listed may be in there. `picks` are, for each release and each module name asked for, the keys that
    the image's own modules.dep gives modprobe. `maker` is the program that made it, by what it leaves inside.
    """

    parts: tuple[Part, ...]
    modules: dict[str, HeldModule]
    nested: tuple[str, ...] = ()
    picks: dict[str, dict[str, str]] = field(default_factory=dict)
    maker: str = ""

    def file_of(self, module: HeldModule) -> HeldModule | None:
        """The file that a module's links lead to; None where they lead nowhere in the image."""
        for _ in range(LINKS_MAX):
            if not module.target:
                return module
            found = self.modules.get(module.target)
            if found is None:
                return None
            module = found
        return None

    def held(self, release: str, name: str) -> HeldModule | None:
        """The module that modprobe NAME takes under the kernel `release`; None when the image holds none."""
        picked = self.modules.get(self.picks.get(release, {}).get(name, ""))
        if picked is not None:
            return picked
        return next((m for m in self.modules.values() if m.name == name and m.release in (release, "")), None)


def key_of(name: str) -> str:
    """A path as its key: /lib is a link to usr/lib in the images of today, and was a directory in older ones."""
    path = _plain(name)
    return path[4:] if path.startswith("usr/lib/") else path


def _plain(name: str) -> str:
    """A path inside the image without "." and ".." and without a leading slash."""
    kept: list[str] = []
    for part in name.split("/"):
        if part == "..":
            del kept[-1:]
        elif part not in ("", "."):
            kept.append(part)
    return "/".join(kept)


def module_name(path: str) -> str:
    """`lib/modules/R/extra/kvm-intel.ko.xz` -> `kvm_intel`; "" for what is no module."""
    if not path.endswith(_MODULE):
        return ""
    return path.rpartition("/")[2].rpartition(".ko")[0].replace("-", "_")


def walk(window: Window, parts: list[Part] | None = None) -> Iterator[Member]:
    """Every member of every archive of an image, in the order in which the kernel unpacks them.

    A member can be read until the next one is asked for. `parts` gets the pieces as each one ends. Raises
    BadInitramfs; HostError where the file can't be read; compress.NoLibrary where it can't be inflated here.
    """
    if window.size > IMAGE_MAX:
        raise BadInitramfs(f"has {window.size} bytes, more than make sense for an initramfs")
    window = _without_bootconfig(window)
    offset = archives = pieces = 0
    count = [0]
    left = INFLATED_MAX
    while True:
        offset = _past_zeros(window, offset)
        if offset >= window.size:
            break
        head = window.read_at(offset, 16)
        first = archives
        if head[:6] in (NEWC, CRC) and offset % 4 == 0:
            packing = ""
            source = _Seeking(window, offset)
            yield from members(source, archives, count)
            archives += 1
            end = offset + source.position
        else:
            packing = compress.packing(head)
            if not packing:
                raise BadInitramfs(f"holds {what(head)} at byte {offset}")
            inflation = _Inflation(window, offset, packing, left)
            stream = Stream(inflation.run(), f"of the {packing} data at byte {offset}")
            while stream.skip_zeros():
                yield from members(stream, archives, count)
                archives += 1
            left -= stream.position
            end = offset + inflation.used
        if parts is not None:
            parts.append(Part(offset, packing, archives - first))
        offset = end
        pieces += 1
        if pieces > PARTS_MAX:
            raise BadInitramfs(f"more than {PARTS_MAX} archives one after the other make no sense in an initramfs")
    if not archives:
        raise BadInitramfs("holds no archive" if window.size else "is empty")


class _Front:
    """The first `size` bytes of a window."""

    def __init__(self, window: Window, size: int) -> None:
        self._window = window
        self.size = size

    def read_at(self, offset: int, count: int) -> bytes:
        return self._window.read_at(offset, max(0, min(count, self.size - offset)))


def _without_bootconfig(window: Window) -> Window:
    """A boot configuration may be appended: its text, its size, a checksum and a magic line, which the kernel
    cuts off before it unpacks (Documentation/admin-guide/bootconfig.rst)."""
    tail = window.read_at(max(0, window.size - 20), 20)
    if len(tail) == 20 and tail.endswith(BOOTCONFIG):
        size = int.from_bytes(tail[:4], "little") + 20
        if size <= window.size:
            return _Front(window, window.size - size)
    return window


def _past_zeros(window: Window, offset: int) -> int:
    while True:
        chunk = window.read_at(offset, READ_AHEAD)
        rest = len(chunk.lstrip(b"\0"))
        offset += len(chunk) - rest
        if rest or not chunk:
            return offset


class _Seeking(Stream):
    """The stream of a plain archive: what is passed over is not read."""

    def __init__(self, window: Window, offset: int) -> None:
        super().__init__(self._read(), f"of the archive at byte {offset}")
        self._window = window
        self._start = offset

    def _read(self) -> Iterator[bytes]:
        while True:
            chunk = self._window.read_at(self._start + self.position, READ_AHEAD)
            if not chunk:
                return
            yield chunk

    def skip(self, count: int) -> None:
        if count <= len(self._chunk):
            return super().skip(count)
        left = self._window.size - self._start - self.position
        if count > left:
            raise self.too_early(count - left, self.position + left)
        self.position += count
        self._chunk = memoryview(b"")
        return None


class _Inflation:
    """One compressed piece of an image: its content in chunks, then `used`, its own length in bytes."""

    def __init__(self, window: Window, offset: int, packing: str, limit: int) -> None:
        self._window = window
        self._offset = offset
        self._packing = packing
        self._limit = limit
        self.used = 0

    def run(self) -> Iterator[bytes]:
        try:
            inflater = compress.inflater(self._packing)
            yield from self._run(inflater)
        except compress.NoLibrary:
            raise
        except compress.BadData as error:
            raise BadInitramfs(f"holds {error.reason} (which begins at byte {self._offset})") from None
        self.used -= len(inflater.unused_data)

    def _run(self, inflater: compress.Inflater) -> Iterator[bytes]:
        idle = 0
        while not inflater.eof:
            wanted = inflater.needs_input
            data = self._window.read_at(self._offset + self.used, CHUNK) if wanted else b""
            self.used += len(data)
            piece = inflater.decompress(data, CHUNK)
            idle = 0 if data or piece else idle + 1
            if idle and not inflater.eof and (wanted or idle > 2):
                if compress.may_end(self._packing, inflater):
                    return
                raise compress.BadData(f"{self._packing} data that is cut short")
            self._limit -= len(piece)
            if self._limit < 0:
                raise compress.BadData(f"data that inflates to more than the {INFLATED_MAX} bytes that make sense")
            if piece:
                yield piece


def what(head: bytes) -> str:
    """What bytes are that the kernel takes for no initramfs."""
    for magic, name in (
        (b"070707", "a cpio archive of the old portable format, which the kernel refuses (it wants newc)"),
        (b"\xc7\x71", "a cpio archive of the old binary format, which the kernel refuses (it wants newc)"),
        (NEWC, "a cpio archive at an offset that is no multiple of 4"),
        (CRC, "a cpio archive at an offset that is no multiple of 4"),
        (b"hsqs", "a squashfs image"),
        (b"-rom1fs-", "a romfs image"),
        (b"\x45\x3d\xcd\x28", "a cramfs image"),
        (b"MZ", "an EFI program"),
    ):
        if head.startswith(magic):
            return name
    return f"neither a cpio archive nor compressed data that the kernel knows ({head[:8].hex(' ')})"


def read(
    window: Window,
    names: frozenset[str] | None = None,
    take: Callable[[HeldModule, bytes], None] | None = None,
) -> Listing:
    """The modules of an image: all of them, or those with one of these `names`.

    `take` is given the data of each module file as it passes by; a file that a later archive replaces is
    given again. Memory: a chunk, the longest module, and what `take` keeps. Raises as `walk` does.
    """
    parts: list[Part] = []
    modules: dict[str, HeldModule] = {}
    nested: list[str] = []
    picks: dict[str, dict[str, str]] = {}
    maker = ""
    linked: dict[tuple[int, ...], list[str]] = {}  # hard links whose data is still to come
    filled: dict[tuple[int, ...], str] = {}
    for member in walk(window, parts):
        path = _plain(member.name)
        maker = maker or next((name for pattern, name in _MAKERS if pattern.match(path)), "")
        if _NESTED.search(path) and member.is_file and len(nested) < NESTED_MAX:
            nested.append(path)
        key = path[4:] if path.startswith("usr/lib/") else path
        index = _MODULES_DEP.match(key)
        if index and member.is_file and member.size <= MODULES_DEP_MAX and len(picks) < RELEASES_MAX:
            picks[index.group(1)] = _picks(member.read(), key.rpartition("/")[0], names)
        name = module_name(path)
        waiting = linked.get(member.inode, []) if member.links > 1 else []
        if not waiting and (not name or (names is not None and name not in names)):
            continue
        if len(modules) >= MODULES_MAX:
            raise BadInitramfs(f"more than {MODULES_MAX} modules make no sense in an initramfs")
        tree = _IN_TREE.match(key)
        module = HeldModule(path, name, tree.group(1) if tree else "", member.size)
        if member.link:
            target = member.link if member.link.startswith("/") else f"{path.rpartition('/')[0]}/{member.link}"
            modules[key] = replace(module, target=key_of(target))
            continue
        if not member.is_file:
            continue
        if member.links > 1 and not member.size:
            if member.inode in filled:
                modules[key] = replace(module, target=filled[member.inode])
            else:
                linked.setdefault(member.inode, []).append(key)
                modules[key] = module
            continue
        modules[key] = module
        if member.links > 1:
            filled[member.inode] = key
            for other in linked.pop(member.inode, ()):
                modules[other] = replace(modules[other], target=key)
        if take is not None and member.size <= MODULE_MAX:
            take(module, member.read())
    return Listing(tuple(parts), modules, tuple(nested), picks, maker)


def _picks(text: bytes, base: str, names: frozenset[str] | None) -> dict[str, str]:
    """Module name -> key, from the text of a modules.dep whose paths count from `base` (or are absolute)."""
    found: dict[str, str] = {}
    for line in text.decode("utf-8", "surrogateescape").splitlines():
        path = line.partition(":")[0]
        name = module_name(path)
        if name and (names is None or name in names):
            found[name] = key_of(path if path.startswith("/") else f"{base}/{path}")
            if len(found) > MODULES_MAX:
                raise BadInitramfs(f"more than {MODULES_MAX} modules in {base}/modules.dep make no sense")
    return found
