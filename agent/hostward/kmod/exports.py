"""A kernel's exported symbols, from whatever the host has of it, with what each source can't tell."""

from __future__ import annotations

import re
from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from dataclasses import dataclass

from hostward.kmod.compress import BadData, inflate, packing
from hostward.kmod.module import Export

#: Module.symvers of the largest distribution kernels has 3 MB and 35,000 lines; a bomb is stopped here.
SYMVERS_MAX = 16 << 20
SYMBOLS_MAX = 300_000
#: A System.map with fewer exports than this is a stub (Debian's says where the real one is).
FEWEST = 100


#: A symbol of EXPORT_SYMBOL_GPL_FUTURE (2.6.17 to 5.11) is open to all: the loader only warns.
_GPL_ONLY = ("EXPORT_SYMBOL_GPL", "EXPORT_UNUSED_SYMBOL_GPL")


class BadExports(Exception):
    """A source of exports that can't be used, and why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class ExportTable:
    """Exports by name.  `kind` is symvers, image, system-map or kallsyms; `source` the path it was read from.

    `covers_modules` says whether exports of the kernel's own modules are among them, not only vmlinux's.
    """

    kind: str
    source: str
    exports: Mapping[str, Export]
    covers_modules: bool
    has_crcs: bool
    has_gpl: bool
    has_namespaces: bool

    @property
    def cannot_tell(self) -> tuple[str, ...]:
        """Sentences on what this source leaves open."""
        said = []
        if not self.has_crcs:
            said.append(f"{self.source} has no CRCs, so a symbol that is there may still disagree in its version")
        if not self.has_gpl:
            said.append(f"{self.source} does not say which symbols are GPL-only")
        if not self.has_namespaces:
            said.append(f"{self.source} does not say the namespaces of symbols")
        return tuple(said)


def parse_symvers(data: bytes, source: str) -> ExportTable:
    """Module.symvers or symvers, plain or packed: CRC, symbol, module, kind and (since 5.4) namespace by tabs.

    Raises BadExports.
    """
    if packing(data[:16]):
        try:
            data = inflate(data, SYMVERS_MAX)
        except BadData as error:
            raise BadExports(error.reason) from None
    if data.count(b"\n") > SYMBOLS_MAX:
        raise BadExports(f"more than {SYMBOLS_MAX} lines, as no kernel has symbols")
    exports: dict[str, Export] = {}
    versioned = False
    for number, line in enumerate(data.decode("utf-8", "backslashreplace").split("\n"), 1):
        if not line:
            continue
        parts = line.split("\t")
        if len(parts) < 4:
            parts = line.split()  # RHEL 5 separates by blanks
        try:
            crc = int(parts[0], 16)
            name, provider, kind = parts[1], parts[2], parts[3]
        except (ValueError, IndexError):
            raise BadExports(f"line {number} is not `CRC symbol module kind`") from None
        if not 0 <= crc <= 0xFFFFFFFF:
            raise BadExports(f"line {number} begins with no CRC of 32 bits")
        if not name:
            raise BadExports(f"line {number} names no symbol")
        namespace = parts[4] if len(parts) > 4 else ""
        if len(parts) > 4 and namespace.startswith("EXPORT_") and not kind.startswith("EXPORT_"):
            # In 5.4 and 5.5 the namespace stood behind the symbol (modpost 5190044c2965 moved it to the end).
            namespace, provider, kind = parts[2], parts[3], parts[4]
        versioned = versioned or crc != 0
        slash = provider.rfind("/")
        if slash >= 0:
            provider = provider[slash + 1 :]
        exports[name] = Export(
            name, crc if crc else None, kind in _GPL_ONLY, namespace, provider.replace("-", "_").replace(".ko", "")
        )
    if not exports:
        raise BadExports("no line of it is an exported symbol")
    return ExportTable("symvers", source, exports, True, versioned, True, True)


_MAP_LINE = re.compile(rb"^([0-9a-fA-F]+) ([A-Za-z]) (?:__ksymtab_(\S+)|__crc_(\S+))$", re.M)


def parse_system_map(data: bytes, source: str) -> ExportTable:
    """System.map: the names behind __ksymtab_, and CRCs where __crc_NAME is an absolute symbol (RHEL 5 to 8).

    Raises BadExports for a stub without exports (Debian's).
    """
    names: list[str] = []
    crcs: dict[str, int] = {}
    for match in _MAP_LINE.finditer(data):
        if match.group(3):
            names.append(match.group(3).decode("utf-8", "backslashreplace"))
        elif match.group(2) in b"Aa":
            crcs[match.group(4).decode("utf-8", "backslashreplace")] = int(match.group(1), 16) & 0xFFFFFFFF
    if len(names) < FEWEST:
        raise BadExports(f"{len(names)} exported symbols in it: a stub, not the map of a kernel")
    exports = {name: Export(name, crcs.get(name), None, None, "vmlinux") for name in names}
    return ExportTable("system-map", source, exports, False, bool(crcs), False, False)


def parse_kallsyms(data: bytes, source: str = "/proc/kallsyms") -> ExportTable:
    """/proc/kallsyms of the running kernel: the names that vmlinux exports.  Raises BadExports."""
    names = re.findall(rb"^[0-9a-fA-F]+ [A-Za-z] __ksymtab_(\S+)$", data, re.M)
    if len(names) < FEWEST:
        raise BadExports(f"{len(names)} exported symbols in it")
    exports = {
        name: Export(name, None, None, None, "vmlinux")
        for name in (n.decode("utf-8", "backslashreplace") for n in names)
    }
    return ExportTable("kallsyms", source, exports, False, False, False, False)


_CONFIG = re.compile(rb"^(CONFIG_\w+)=(.*)$", re.M)


class KernelConfig(Mapping[str, str]):
    """/boot/config-KVER or IKCONFIG's text: the options that are set, without their quotes; each is looked for when it
    is asked for, as a handful of the nine thousand are."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = b"\n" + data

    def __getitem__(self, name: str) -> str:
        start = b"\n" + name.encode("utf-8", "surrogateescape") + b"="
        at = self.data.find(start)
        if at < 0:
            raise KeyError(name)
        end = self.data.find(b"\n", at + 1)
        value = self.data[at + len(start) : end if end >= 0 else len(self.data)]
        return value.decode("utf-8", "backslashreplace").strip('"')

    def __iter__(self) -> Iterator[str]:
        return (name.decode() for name, _ in _CONFIG.findall(self.data))

    def __len__(self) -> int:
        return len(_CONFIG.findall(self.data))

    def __bool__(self) -> bool:
        return b"\nCONFIG_" in self.data


_FLAGS = ("covers_modules", "has_crcs", "has_gpl", "has_namespaces")
#: What stands for None in a saved field, which no name, provider or namespace is.
_UNKNOWN = "?"


def save(table: ExportTable) -> bytes:
    """A table as lines that load() takes back: the first says what it is, the others are one export each."""
    flags = "".join("1" if getattr(table, flag) else "0" for flag in _FLAGS)
    lines = [f"{table.kind}\t{flags}\t{table.source}"]
    for export in table.exports.values():
        crc = _UNKNOWN if export.crc is None else f"{export.crc:x}"
        gpl = _UNKNOWN if export.gpl is None else str(int(export.gpl))
        space = _UNKNOWN if export.namespace is None else export.namespace
        lines.append(f"{export.name}\t{crc}\t{gpl}\t{export.provider}\t{space}")
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def load(saved: bytes) -> ExportTable:
    """What save() made.  Each export is made out when it is asked for, as few of them ever are."""
    head, _, body = saved.partition(b"\n")
    kind, flags, source = head.decode("utf-8", "surrogateescape").split("\t", 2)
    known = {flag: value == "1" for flag, value in zip(_FLAGS, flags)}
    return ExportTable(kind, source, SavedExports(body), **known)


class SavedExports(Mapping[str, Export]):
    """Exports in the lines of save(), looked for one by one: a module needs some thirty of the ten thousand."""

    def __init__(self, body: bytes) -> None:
        self._body = b"\n" + body + b"\n"

    def __getitem__(self, name: str) -> Export:
        start = b"\n" + name.encode("utf-8", "surrogateescape") + b"\t"
        at = self._body.find(start)
        if at < 0:
            raise KeyError(name)
        return _saved(name, self._body[at + len(start) : self._body.index(b"\n", at + 1)])

    def items(self) -> ItemsView[str, Export]:
        return dict(self._all()).items()

    def values(self) -> ValuesView[Export]:
        return dict(self._all()).values()

    def _all(self) -> Iterator[tuple[str, Export]]:
        for line in self._body.split(b"\n"):
            name, tab, rest = line.partition(b"\t")
            if tab:
                text = name.decode("utf-8", "surrogateescape")
                yield text, _saved(text, rest)

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._all())

    def __len__(self) -> int:
        return self._body.strip(b"\n").count(b"\n") + 1 if self._body.strip(b"\n") else 0


def _saved(name: str, rest: bytes) -> Export:
    crc, gpl, provider, space = rest.decode("utf-8", "surrogateescape").split("\t")
    return Export(
        name,
        None if crc == _UNKNOWN else int(crc, 16),
        None if gpl == _UNKNOWN else gpl == "1",
        None if space == _UNKNOWN else space,
        provider,
    )
