"""A kernel's own modules judged in one go: read directory by directory, and linked as a whole."""

from __future__ import annotations

from collections.abc import Iterator

from hostward.facts.verdicts import Judge, JudgedModule
from hostward.host import Directory, File, Host, HostError
from hostward.kmod.link import Links, collector_paused, settled
from hostward.kmod.module import BadModule, ModuleFile, parse_module
from hostward.kmod.search import name_of

#: More files and directories than this are in no kernel's tree.
_ENTRIES_MAX = 60_000
_DEPTH_MAX = 24
_PACKED = (".gz", ".xz", ".zst")


def judge_tree(host: Host, judge: Judge) -> None:
    """Reads every module in kernel/ and leaves the verdicts on those that plainly load with `judge`.

    What can't be read is left to the judge, which says so when it is asked.
    """
    with collector_paused():
        _judge_tree(host, judge)


def _judge_tree(host: Host, judge: Judge) -> None:
    own = f"{judge.tree.path}/kernel"
    try:
        with host.directory(own) as directory:
            for path, read in _modules(directory, own):
                judge.parsed.setdefault(path, read)
    except HostError:
        return
    table = judge.files.table
    if table is None:
        return
    modules: list[tuple[str, str, ModuleFile]] = []
    for name in dict.fromkeys((*judge.files.modules_dep, *(module.name for module in judge.tree.outside))):
        meant = judge.file_of(name)
        try:
            module = judge.parse(meant[1]) if meant is not None else None
        except (BadModule, HostError):
            continue
        if module is not None and meant is not None:
            modules.append((name, meant[0], module))
    vmlinux = {symbol: export for symbol, export in table.exports.items() if export.provider == "vmlinux"}
    links = Links(vmlinux, (module for _, _, module in modules))
    plain = (number for number, (_, path, _) in enumerate(modules) if path.startswith(own + "/"))
    judged: dict[int, JudgedModule] = {}
    for number, (verdict, needs) in settled(links, judge.profile, plain).items():
        name, path, _ = modules[number]
        providers = tuple(sorted((judged[need] for need in needs), key=lambda provider: provider.name))
        judged[number] = JudgedModule(judge.tree.release, name, path, path, verdict, True, "", providers)
    judge.verdicts.update((module.path, module) for module in judged.values())


def _modules(directory: Directory, path: str) -> Iterator[tuple[str, ModuleFile | BadModule]]:
    """Every module file below a directory; packed ones are inflated on all processors, as inflating needs no lock."""
    packed: list[tuple[str, bytes]] = []
    for file, name in _files(directory, path, _DEPTH_MAX, [_ENTRIES_MAX]):
        if name.endswith(_PACKED):
            packed.append((name, file.read(file.size)))
        else:
            yield name, _parsed(file, name)
    if packed:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor() as pool:
            yield from zip((name for name, _ in packed), pool.map(lambda each: _parsed(each[1], each[0]), packed))


def _parsed(source: File | bytes, path: str) -> ModuleFile | BadModule:
    try:
        return parse_module(source, name_of(path))
    except BadModule as error:
        return error


def _files(directory: Directory, path: str, depth: int, left: list[int]) -> Iterator[tuple[File, str]]:
    for name, kind in directory.entries():
        left[0] -= 1
        if left[0] < 0:
            return
        if kind == "dir" and depth:
            with directory.sub(name) as sub:
                yield from _files(sub, f"{path}/{name}", depth - 1, left)
        elif kind == "file" and ".ko" in name:
            with directory.open(name) as file:
                yield file, f"{path}/{name}"
