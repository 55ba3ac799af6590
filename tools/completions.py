"""Writes the completions of bash and zsh from the parsers of the command line and the names of checks and facts.

python3 tools/completions.py DIRECTORY
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY / "agent"))
sys.path.insert(0, str(REPOSITORY / "tools"))

from manpages import command_of, one_line  # noqa: E402

from hostward import checks, cli, facts, remedies, scriptlet  # noqa: E402

#: Words for options whose values the parser does not list.
KERNELS = ("running", "next", "all")


def positionals(command: str) -> list[str]:
    """What may stand where a command takes names."""
    if command in ("check", "explain", "fix"):
        return sorted(checks.load_all())
    if command == "facts":
        return sorted(facts.HOMES)
    if command == "scriptlet":
        return [*scriptlet.EVENTS, *scriptlet.KERNEL_EVENTS]
    return []


def values(action: argparse.Action) -> list[str] | str:
    """What may follow an option: words, or "files" or "directories" or "" for anything."""
    if action.choices:
        return [str(choice) for choice in action.choices]
    if action.metavar == "DIR":
        return "directories"
    if action.metavar == "FILE":
        return "files"
    if action.metavar == "WAY":
        return sorted(kind.choice for kind in remedies.load_all().values() if kind.choice)
    if action.metavar == "KERNEL":
        return list(KERNELS)
    return ""


def options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [a for a in parser._actions if a.option_strings and a.help != argparse.SUPPRESS]


def bash() -> Iterator[str]:
    top = cli.parser()
    commands = command_of(top)
    yield "# bash completion of hostward, made from its parsers by tools/completions.py"
    yield "_hostward()\n{"
    yield '    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command="" words="" word'
    yield '    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do'
    yield "        case $word in -*) ;; *) command=$word; break ;; esac"
    yield "    done"
    yield "    COMPREPLY=()"
    yield '    case "$command $prev" in'
    for name, (_, parser) in commands.items():
        for action in options(parser):
            if action.nargs == 0:
                continue
            pattern = "|".join(f'"{name} {option}"' for option in action.option_strings)
            kind = values(action)
            if kind == "files":
                yield f'    {pattern}) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;'
            elif kind == "directories":
                yield f'    {pattern}) mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return ;;'
            else:
                words = " ".join(kind)
                yield f'    {pattern}) mapfile -t COMPREPLY < <(compgen -W "{words}" -- "$cur"); return ;;'
    yield "    esac"
    yield "    case $command in"
    names = " ".join(o for a in options(top) for o in a.option_strings)
    yield f'    "") words="{" ".join(commands)} {names}" ;;'
    for name, (_, parser) in commands.items():
        names = " ".join(option for action in options(parser) for option in action.option_strings)
        yield f'    {name}) case $cur in -*) words="{names}" ;; *) words="{" ".join(positionals(name))}" ;; esac ;;'
    yield "    esac"
    yield '    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")'
    yield "}"
    yield "complete -o default -F _hostward hostward"


def quoted(text: str) -> str:
    """Text for inside a zsh specification in single quotes."""
    text = one_line(text).replace("'", "'\\''")
    for mark in "[]:":
        text = text.replace(mark, f"\\{mark}")
    return text


def zsh() -> Iterator[str]:
    top = cli.parser()
    commands = command_of(top)
    yield "#compdef hostward"
    yield "# zsh completion of hostward, made from its parsers by tools/completions.py"
    yield "_hostward() {"
    yield "    local context state line"
    yield "    typeset -A opt_args"
    yield "    local -a commands=("
    for name, (summary, _) in commands.items():
        yield f"        '{name}:{quoted(summary)}'"
    yield "    )"
    yield "    _arguments -C \\"
    yield from specifications(top)
    yield "        '1:command:->command' '*::argument:->argument'"
    yield "    case $state in"
    yield "    command) _describe command commands ;;"
    yield "    argument)"
    yield "        case $words[1] in"
    for name, (_, parser) in commands.items():
        yield f"        {name})"
        yield "            _arguments \\"
        yield from (f"        {line}" for line in specifications(parser))
        names = positionals(name)
        yield f"                '*:name:({' '.join(names)})' ;;" if names else "                '*:name:_files' ;;"
    yield "        esac ;;"
    yield "    esac"
    yield "}"
    yield '_hostward "$@"'


def specifications(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in options(parser):
        value = ""
        if action.nargs != 0:
            kind = values(action)
            what = {"files": "_files", "directories": "_files -/", "": " "}.get(kind if isinstance(kind, str) else "-")
            value = f":{quoted(str(action.metavar or action.dest)).lower()}:" + (what or f"({' '.join(kind)})")
        text = parser._get_formatter()._expand_help(action) if action.help else action.dest
        again = "*" if isinstance(action, argparse._AppendAction) else ""
        for option in action.option_strings:
            yield f"        '{again}{option}[{quoted(text)}]{value}' \\"


def main() -> None:
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    (target / "hostward.bash").write_text("\n".join(bash()) + "\n")
    (target / "_hostward").write_text("\n".join(zsh()) + "\n")


if __name__ == "__main__":
    main()
