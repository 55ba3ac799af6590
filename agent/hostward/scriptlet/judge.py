"""What the child process of a scriptlet does: judge what the transaction touched, repair what may be, say little."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from hostward import checks, config
from hostward.engine import Engine
from hostward.facts.module_trees import ModuleTrees
from hostward.facts.verdicts import JudgedModule, ModuleVerdicts
from hostward.host import Host, HostError, Missing
from hostward.host.data import data_directory
from hostward.host.surroundings import first_in_transaction, names_on_stdin, not_live
from hostward.model import Finding, Outcome, Result, Severity, Unavailable
from hostward.report.text import safe
from hostward.scriptlet import KERNEL_EVENTS
from hostward.scriptlet.touched import EVERYTHING, Touched, by_files
from hostward.yamldoc import ConfigError

#: A transaction's screen belongs to the package manager: so many lines, and one of advice.
LINES_MAX = 5
#: Events at whose time the transaction's files are all in place.  In a package's own %post others are yet to come or
#: to go, so there no link is called dangling for good.
_SETTLED = ("modules-changed", "modules-removed", "kernel-added", "kernel-removed")
_KVM = frozenset(("kvm", "kvm_intel", "kvm_amd"))
#: What is repaired in a transaction where the configuration lets it happen with nobody watching; the map first, as
#: modprobe needs it.
_MENDED_LINKS = ("modules.weak-updates-dangling", "modules.map-stale")
_MENDED_KVM = ("modules.kvm-not-loaded",)

Say = Callable[[str], None]


def judge(event: str, names: Sequence[str], say: Say, repairing: Callable[[], None]) -> None:
    """Judges what the transaction did and says what is wrong with it, in depmod's words, and what to do."""
    touched = _touched(event, names)
    if touched.nothing:
        return
    settings, trouble = _settings()
    live = not not_live()
    engine = Engine(Host.running() if live else Host.at("/"), settings)
    checks.load_all()
    lines = [trouble] if trouble else []
    if live and not trouble:
        lines += _repaired(engine, event, touched, names, repairing)
    lines += _found(engine, event, touched, names)
    for line in lines:
        say(safe(line))


def _touched(event: str, names: Sequence[str]) -> Touched:
    if event == "modules-changed":
        files = [name for name in names_on_stdin() if name]
        return by_files(files) if files else EVERYTHING
    if event == "kernel-added" and names:
        return Touched(kernels=frozenset(names))
    return EVERYTHING


def _settings() -> tuple[config.Config, str]:
    """The configuration; or its defaults, with what is wrong with it: then nothing is repaired."""
    try:
        if _as_shipped():
            return config.Config(), ""
        settings = config.load()
        if settings.where:
            from hostward import remedies

            settings.verify_ids(checks.load_all(), {id: kind.at_most for id, kind in remedies.load_all().items()})
    except (ConfigError, HostError) as error:
        return config.Config(), f"hostward: {error}; until that is mended nothing is repaired"
    return settings, ""


def _as_shipped() -> bool:
    """Whether the configuration is byte for byte the shipped one, which says the defaults: then YAML need not be read,
    which would be a fifth of the whole time."""
    here = Host.running()
    try:
        if here.names(config.DROPINS):
            return False
    except Missing:
        pass
    try:
        return here.read(config.PATH) == here.read(f"{data_directory()}/hostward.yaml")
    except HostError:
        return False


def _repaired(
    engine: Engine, event: str, touched: Touched, names: Sequence[str], repairing: Callable[[], None]
) -> Iterator[str]:
    """Repairs what the policy lets happen with nobody watching, and says what was done."""
    wanted: tuple[str, ...] = ()
    if event in _SETTLED:
        wanted += _MENDED_LINKS
    if event not in ("modules-removed", "post-remove", "kernel-removed") and _concerns_kvm(
        engine, event, touched, names
    ):
        wanted += _MENDED_KVM
    for check in wanted:
        result = engine.run(checks.CHECKS[check])
        if not any(finding.remedies for finding in result.findings):
            continue
        from hostward import remedies, repair

        remedies.load_all()
        repairing()
        for done in repair.unattended(engine, [result], by="scriptlet"):
            if done.number and done.outcome == "helped":
                title = done.plan.remedy.title
                yield f"hostward: {title[:1].lower()}{title[1:]}: done (`hostward log {done.number}`)"
        engine.forget()


def _concerns_kvm(engine: Engine, event: str, touched: Touched, names: Sequence[str]) -> bool:
    if event.startswith("post-") and names:
        return any("kvm" in package for package in names)
    running = engine.fact("RunningKernel")
    here = not isinstance(running, Unavailable) and running.release in touched.kernels
    return here or touched.scripts or touched.named(_KVM)


def _found(engine: Engine, event: str, touched: Touched, packages: Sequence[str]) -> Iterator[str]:
    """The findings that the transaction has to do with."""
    trees = engine.fact("ModuleTrees")
    if isinstance(trees, Unavailable):
        return  # no kernel's modules here: a container image
    results: list[Result] = []
    verdicts = _verdicts(engine, touched)
    if verdicts is not None:
        if event.startswith("post-") and packages:
            verdicts = _of_packages(engine, verdicts, packages)
        if event.endswith("removed") or event == "post-remove":
            verdicts = ModuleVerdicts(tuple(filter(_by_removal, verdicts.modules)))
        engine.facts["ModuleVerdicts"] = verdicts
        results.append(engine.run(checks.CHECKS["modules.weak-updates-symbols"]))
    if engine.host.live:
        if touched.kernels or event in KERNEL_EVENTS:
            results.append(engine.run(checks.CHECKS["modules.next-boot"]))
        if event not in ("modules-removed", "post-remove", "kernel-removed") and _concerns_kvm(
            engine, event, touched, packages
        ):
            results.append(engine.run(checks.CHECKS["modules.kvm-not-loaded"]))
    if event in _SETTLED:
        mine = (replace(t, outside=tuple(filter(touched.module, t.outside)), problems=()) for t in trees.trees)
        engine.facts["ModuleTrees"] = ModuleTrees(tuple(mine))
        results.append(engine.run(checks.CHECKS["modules.weak-updates-dangling"]))
    yield from _lines(results)


def _verdicts(engine: Engine, touched: Touched) -> ModuleVerdicts | None:
    """The verdicts on what was touched.  A kernel that nothing of it lies with is not read at all."""
    trees, judges = engine.fact("ModuleTrees"), engine.fact("Judges")
    if isinstance(judges, Unavailable):
        return None
    judged: list[JudgedModule] = []
    for tree in trees.trees:
        there = [module for module in tree.outside if not module.dangling]
        judge_ = judges.of(tree.release) if any(touched.module(module) for module in there) else None
        if judge_ is not None:
            judged += [judge_.module(module.path, module.file) for module in there]
    return ModuleVerdicts(tuple(module for module in judged if touched.judged(module)))


def _of_packages(engine: Engine, verdicts: ModuleVerdicts, packages: Sequence[str]) -> ModuleVerdicts:
    """Those of these packages, by the package manager, else by the directory that kmod packages use.

    Where a package has none of the modules there are, it is not known by that name: then all are told.
    """
    owners = engine.fact("Packages")
    if isinstance(owners, Unavailable):
        return verdicts
    mine = []
    for module in verdicts.modules:
        owner = owners.owner(module.file)
        if owner is not None and owner.package in packages:
            mine.append(module)
    return ModuleVerdicts(tuple(mine)) if mine else verdicts


def _by_removal(module: JudgedModule) -> bool:
    """Whether it may fail for want of what was removed: a symbol that another module had, or has otherwise."""
    return any(
        reason.rule in ("unknown-symbol", "provider-fails")
        or (reason.rule == "symbol-crc" and reason.provider not in ("", "vmlinux"))
        for reason in module.verdict.reasons
    )


def _lines(results: Iterable[Result]) -> Iterator[str]:
    """What is wrong, each thing once a transaction: an upgrade also sets off the trigger of what went."""
    results = list(results)
    found = [finding for result in results for finding in result.findings if finding.severity > Severity.INFO]
    told: dict[str, Finding] = {}
    for finding in found:
        for line in _depmod_lines(finding):
            if line not in told and first_in_transaction(line):
                told[line] = finding
    yield from list(told)[:LINES_MAX]
    if len(told) > LINES_MAX:
        yield f"WARNING: and {len(told) - LINES_MAX} more like these"
    for result in results:
        if result.outcome is Outcome.FAILED:
            yield f"hostward: {result.check}: {result.reason}"
    for finding in list(told.values())[:1]:
        yield f"hostward: {finding.advice or finding.summary} `hostward check 'modules.*'` tells all."


def _depmod_lines(finding: Finding) -> list[str]:
    """depmod's own line for it where there is one, else what is wrong in a line of the same form."""
    if finding.remedies[:1] == ("modules.remove-dangling",):
        return [f"WARNING: {line}" for line in finding.evidence]
    said = [line.partition("  (")[0] for line in finding.evidence if line.startswith("WARNING: ")]
    return said[:1] or [f"WARNING: {finding.summary}"]


__all__ = ["judge"]
