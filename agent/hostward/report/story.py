"""Everything about one module on one kernel, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from hostward.facts.module_story import Story, SymbolUse
from hostward.kmod.verdict import FAILS, LOADS, UNKNOWN
from hostward.model import as_json
from hostward.report.matrix import reason_lines
from hostward.report.text import Paint, safe

_STATES = {"passes": "pass", FAILS: "error", UNKNOWN: "skip", "not reached": "dim", LOADS: "pass"}
#: Documentation/admin-guide/tainted-kernels.rst
_TAINTS = {
    "P": "proprietary",
    "F": "forced",
    "C": "staging",
    "O": "out of tree",
    "E": "unsigned",
    "K": "live patch",
    "N": "test",
}


def story_lines(story: Story, paint: Paint) -> Iterator[str]:
    verdict = f"{story.outcome} {story.errno}".rstrip()
    yield f"{safe(story.name)} on kernel {safe(story.release)}: {paint(verdict, _STATES.get(story.outcome, 'dim'))}"
    yield from _section("File", _file(story))
    yield from _section("Module", _pairs(story.modinfo.items()))
    yield from _section("Kernel", _kernel(story))
    yield from _section("Rules, in the kernel's order", _rules(story, paint))
    yield from _section(f"Symbols it needs ({len(story.symbols)})", _symbols(story.symbols))
    yield from _section("Modules it pulls in by its symbols", _providers(story, paint))
    yield from _section("What modprobe would do, with nothing loaded yet", _actions(story))
    yield from _section("Besides", map(safe, story.notes))
    yield from _section("What can't be told", map(safe, story.cannot_tell))


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    first = True
    for line in lines:
        if first:
            yield f"\n{title}"
            first = False
        yield f"  {line}"


def _pairs(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    pairs = list(pairs)
    width = max((len(key) for key, _ in pairs), default=0)
    for key, value in pairs:
        yield f"{key.ljust(width)}  {safe(value)}"


def _file(story: Story) -> Iterator[str]:
    pairs = []
    if story.path:
        pairs.append(("path", story.path))
    if story.file and story.file != story.path:
        pairs.append(("leads to", story.file))
    if story.owner is not None:
        owner = story.owner
        pairs.append(("package", f"{owner.package} {owner.version} ({owner.how})".replace("  ", " ")))
    if story.why_this:
        pairs.append(("chosen", story.why_this))
    others = [path for path in story.candidates if not story.path.endswith(f"/{path}")]
    pairs += [("beside it", path) for path in others]
    signature = story.signature
    if story.modinfo:
        said = "none"
        if signature is not None:
            parts = [signature.kind, signature.hash, f"by {signature.signer}" if signature.signer else ""]
            parts += [f"key {signature.key}" if signature.key else "", signature.problem]
            said = ", ".join(part for part in parts if part)
        pairs.append(("signature", said))
    return _pairs(pairs)


def _kernel(story: Story) -> Iterator[str]:
    pairs = [("vermagic", story.kernel_vermagic)] if story.kernel_vermagic else []
    pairs += [("exports from", source) for source in story.sources]
    return _pairs(pairs)


def _rules(story: Story, paint: Paint) -> Iterator[str]:
    width = max((len(rule.rule) for rule in story.rules), default=0)
    for rule in story.rules:
        yield f"{rule.rule.ljust(width)}  {paint(rule.state, _STATES.get(rule.state, 'dim'))}"
        for reason in rule.reasons:
            for line in reason_lines(reason):
                yield f"    {safe(line)}"
        for line in rule.cannot_tell:
            yield f"    {safe(line)}"
    if story.taints:
        yield "taints".ljust(width) + "  " + ", ".join(f"{t} ({_TAINTS.get(t, t)})" for t in story.taints)


def _symbols(symbols: tuple[SymbolUse, ...]) -> Iterator[str]:
    """What is wrong first, then by provider."""
    width = max((len(symbol.name) for symbol in symbols), default=0)
    for symbol in sorted(symbols, key=lambda s: (s.state == "found", s.provider != "vmlinux", s.provider, s.name)):
        said = [f"0x{symbol.wanted_crc:08x}" if symbol.wanted_crc is not None else " " * 10]
        said.append(symbol.provider or "-")
        if symbol.state == "crc differs":
            said.append(f"has 0x{symbol.crc:08x}")
        elif symbol.state != "found":
            said.append(symbol.state)
        said += ["weak"] if symbol.weak else []
        said += ["GPL-only"] if symbol.gpl else []
        said += [f"namespace {symbol.namespace}"] if symbol.namespace else []
        yield safe(f"{symbol.name.ljust(width)}  {'  '.join(said)}")


def _providers(story: Story, paint: Paint) -> Iterator[str]:
    for provider in story.providers:
        word = f"{provider.outcome} {provider.errno}".rstrip()
        pad = "  " * (provider.depth - 1)
        said = f"{pad}{safe(provider.name)}: {paint(word, _STATES[provider.outcome])}"
        yield f"{said}  {safe(provider.path)}"


def _actions(story: Story) -> Iterator[str]:
    for action in story.actions:
        yield safe(f"{action.kind} {action.path or action.module} {action.options}".rstrip())
    for word, modules in (("before", story.softdeps_pre), ("after", story.softdeps_post)):
        if modules:
            yield safe(f"softdeps {word} it: {' '.join(modules)} ({story.softdeps_from})")


def story_json(story: Story) -> dict[str, Any]:
    document: dict[str, Any] = as_json(story)
    document["rules"] = [
        {**as_json(rule._asdict()), "reasons": [as_json(reason._asdict()) for reason in rule.reasons]}
        for rule in story.rules
    ]
    document["actions"] = [as_json(action._asdict()) for action in story.actions]
    return document
