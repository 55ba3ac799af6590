"""The command line of a QEMU process, in the spellings of every QEMU since kvm-83 (qemu-options.def, vl.c)."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

#: Options without an argument, so that what follows them is not taken for theirs.
_BARE_WORDS = (
    "S s h help version usb snapshot nographic nodefaults no-user-config nodefconfig daemonize localtime full-screen "
    "no-acpi no-hpet no-reboot no-shutdown no-fd-bootchk win2k-hack rtc-td-hack enable-kvm no-kvm no-kvm-irqchip "
    "no-kvm-pit no-kvm-pit-reinjection enable-nesting tdf mem-prealloc show-cursor semihosting singlestep enable-fips "
    "old-param alt-grab ctrl-grab no-quit no-frame sdl curses portrait std-vga preconfig enable-sync-profile "
    "xen-attach xen-create disable-kvm no-kqemu kernel-kqemu"
)
_BARE = frozenset(_BARE_WORDS.split())
#: The key that an option's first word stands for.
_IMPLIED = {
    "device": "driver",
    "machine": "type",
    "M": "type",
    "net": "type",
    "netdev": "type",
    "nic": "type",
    "cpu": "model",
    "audiodev": "driver",
    "chardev": "backend",
    "object": "qom-type",
    "blockdev": "driver",
    "name": "guest",
    "accel": "accel",
    "audio": "driver",
}
#: Options whose argument is one text, commas and all.
_PLAIN_WORDS = (
    "smb soundhw usbdevice bt vga uuid hda hdb hdc hdd cdrom fda fdb kernel initrd append bios tftp bootp redir "
    "monitor serial parallel pidfile cpu-vendor vnc spice incoming"
)
_PLAIN = frozenset(_PLAIN_WORDS.split())
_PROGRAM = re.compile(r"(?:.*/)?(?:qemu-system-[\w-]+|qemu-kvm|kvm|qemu)")
_TELLING_WORDS = "m M machine drive hda cdrom device net netdev name smp cpu nodefaults kernel uuid"
_TELLING = frozenset(_TELLING_WORDS.split())
_ARGUMENTS_MAX = 20_000


@dataclass(frozen=True)
class Option:
    """One option as given: `-device rtl8139,netdev=n0` is name "device", head "rtl8139", values ("netdev", "n0").

    `head` is the value of the key that the option implies (driver, type, model ...), whether the key was written or
    not and also where the argument is JSON; of an option that takes one plain text, that text.
    """

    name: str
    head: str
    values: tuple[tuple[str, str], ...]
    text: str

    def get(self, key: str) -> str:
        """The last value given to a key, "" for none."""
        return next((value for name, value in reversed(self.values) if name == key), "")

    def __str__(self) -> str:
        return f"-{self.name} {self.text}".rstrip()


@dataclass(frozen=True)
class QemuCommand:
    """A running QEMU. `name`, `uuid`, `machine` and `cpu` are "" where not given; `arguments` are all but the program.

    They are taken apart when they are first asked for: of a guest that libvirt knows, its definition tells more.
    """

    pid: int
    program: str
    name: str
    uuid: str
    machine: str
    cpu: str
    arguments: tuple[str, ...]

    @property
    def options(self) -> tuple[Option, ...]:
        """All options in order."""
        return _options_of(self.arguments)

    def of(self, *names: str) -> tuple[Option, ...]:
        """The options of these names, in order."""
        return tuple(option for option in self.options if option.name in names)


@functools.lru_cache(maxsize=64)
def _options_of(arguments: tuple[str, ...]) -> tuple[Option, ...]:
    return tuple(parse_options(list(arguments)))


def is_qemu(argv: list[str]) -> bool:
    """Whether this is a process of QEMU's that runs a machine, not one of its tools."""
    if not argv or not _PROGRAM.fullmatch(argv[0]):
        return False
    return any(word.startswith("-") and word.lstrip("-") in _TELLING for word in argv[1:])


def parse_command(argv: list[str], pid: int = 0) -> QemuCommand:
    """Takes argv apart; whatever stands there, something comes out of it."""
    last = {name: text for name, text in _pairs(argv[1:]) if name in ("name", "uuid", "machine", "M", "cpu")}
    heads = {name: _option(name, text).head for name, text in last.items()}
    return QemuCommand(
        pid=pid,
        program=argv[0] if argv else "",
        name=heads.get("name", ""),
        uuid=last.get("uuid", "").lower(),
        machine=heads.get("machine") or heads.get("M", ""),
        cpu=heads.get("cpu", ""),
        arguments=tuple(argv[1 : 1 + _ARGUMENTS_MAX]),
    )


def parse_options(words: list[str]) -> list[Option]:
    """The options of an argument list without the program: of a process, or of qemu:commandline."""
    return [_option(name, text) if name else Option("hda", text, (), text) for name, text in _pairs(words)]


def _pairs(words: list[str]) -> Iterator[tuple[str, str]]:
    """(name, argument) of each option; a bare word, the first disk's image, has the name ""."""
    words = words[:_ARGUMENTS_MAX]
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if not word.startswith("-") or word == "-":
            yield "", word
            continue
        name = word[2:] if word.startswith("--") else word[1:]
        text = ""
        if name not in _BARE and at < len(words):
            text = words[at]
            at += 1
        yield name, text


def _option(name: str, text: str) -> Option:
    if name in _PLAIN:
        return Option(name, text, (), text)
    implied = _IMPLIED.get(name, "")
    values = _json(text) if text.startswith("{") else _keyval(text, implied)
    head = next((value for key, value in reversed(values) if key == implied), "") if implied else ""
    return Option(name, head, tuple(values), text)


def _json(text: str) -> list[tuple[str, str]]:
    """The plain members of a JSON argument (-device since QEMU 6.2, -blockdev, -object)."""
    import json

    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return []
    if not isinstance(said, dict):
        return []
    words = {True: "on", False: "off"}
    return [(key, words.get(v, str(v)) if isinstance(v, bool) else str(v)) for key, v in said.items() if _plain(v)]


def _plain(value: object) -> bool:
    return isinstance(value, (str, int, float, bool))


def _keyval(text: str, implied: str) -> list[tuple[str, str]]:
    """KEY=VALUE,... with `,,` for a comma in a value; the first may go without its key, a later word means "on"."""
    found = []
    for number, part in enumerate(text.replace(",,", "\0").split(",")):
        part = part.replace("\0", ",")
        key, equals, value = part.partition("=")
        if equals:
            found.append((key, value))
        elif number == 0 and implied:
            found.append((implied, part))
        elif part:
            found.append((part, "on"))
    return found
