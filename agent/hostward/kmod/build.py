"""Which build of a module a file is, told apart from what packing, signing and stripping do to the same build."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from hostward.kmod.elf import SHF_ALLOC, SHT_NOBITS, BadElf, Elf
from hostward.kmod.module import BadModule, parse_module, unpacked

_SHT_NOTE = 7


@dataclass(frozen=True)
class ModuleBuild:
    """What identifies a build; "" where the module does not carry it.

    `srcversion` is modpost's hash of the sources, `version` what MODULE_VERSION gives, `build_id` the linker's
    hash of the whole object in hex, `crcs` the versions of the kernel's symbols that it was built against,
    `content` a hash over the sections that are loaded.
    """

    srcversion: str
    version: str
    vermagic: str
    intree: bool
    build_id: str
    content: str
    crcs: dict[str, int] = field(repr=False, default_factory=dict)

    def differences(self, other: ModuleBuild) -> list[tuple[str, str, str]]:
        """(what, here, there) of each thing that makes `other` another build; none when they are the same.

        dracut strips debug sections from unsigned modules and leaves signed ones alone (dracut.sh, "strip
        kernel modules"), initramfs-tools copies them; either may inflate them, and a repository's signing comes
        after the build.  None of that touches the loaded sections, so equal content is the same build, with
        whatever build-id (a rebuild in another directory changes only debug sections and that).  Otherwise:
        the sources' hash decides; where it is equal, what makes the kernel treat the two differently (version,
        vermagic, symbol versions), as a rebuild of the same sources with another compiler is no news; and
        where neither carries a hash, any difference counts.
        """
        if self.content == other.content:
            return []
        pairs = [
            ("srcversion", self.srcversion, other.srcversion),
            ("version", self.version, other.version),
            ("vermagic", self.vermagic, other.vermagic),
        ]
        found = [(what, here or "none", there or "none") for what, here, there in pairs if here != there]
        for name in sorted(self.crcs.keys() & other.crcs.keys()):
            if self.crcs[name] != other.crcs[name]:
                found.append((f"version of symbol {name}", f"0x{self.crcs[name]:08x}", f"0x{other.crcs[name]:08x}"))
                break
        if found or (self.srcversion and other.srcversion):
            return found
        if self.build_id and other.build_id:
            return [("build-id", self.build_id, other.build_id)]
        return [("hash of the loaded sections", self.content[:16], other.content[:16])]


def module_build(data: bytes) -> ModuleBuild:
    """The build that a module file's bytes are of, packed or not.  Raises BadModule."""
    data = unpacked(data)
    module = parse_module(data)
    try:
        elf = Elf(data)
        build_id, content = _build_id(elf), _content(elf)
    except BadElf as error:
        raise BadModule(error.reason) from None
    return ModuleBuild(
        module.srcversion,
        module.field("version") or "",
        module.vermagic.strip(),
        module.intree,
        build_id,
        content,
        module.versions,
    )


def _build_id(elf: Elf) -> str:
    """The description of the NT_GNU_BUILD_ID note: sizes of name and description, type, "GNU", then the hash."""
    note = elf.named(".note.gnu.build-id")
    order = "big" if elf.big else "little"
    if len(note) < 16 or note[12:16] != b"GNU\0":
        return ""
    size = int.from_bytes(note[4:8], order)  # type: ignore[arg-type]
    return note[16 : 16 + size].hex() if size <= 64 else ""


def _content(elf: Elf) -> str:
    """Names, sizes and bytes of the sections that the kernel keeps in memory, but for notes such as the build-id."""
    digest = hashlib.sha256()
    kept = [s for s in elf.sections if s.flags & SHF_ALLOC and s.type != _SHT_NOTE]
    for section in sorted(kept, key=lambda s: s.name):
        digest.update(f"{section.name}\0{section.size}\0".encode("utf-8", "surrogateescape"))
        if section.type != SHT_NOBITS:
            digest.update(elf.content(section))
    return digest.hexdigest()
