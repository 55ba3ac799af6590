"""Writes the manual pages from what the program itself knows: its parsers, its configuration file, its checks.

    python3 tools/manpages.py DIRECTORY

hostward(1) and a page for each command from the parsers of the command line, hostward.yaml(5) from the comments of
config/hostward.yaml, hostward-checks(7) from the checks' own explanations. The date is SOURCE_DATE_EPOCH's, else today.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY / "agent"))

from hostward import __version__, checks, cli  # noqa: E402

#: Files that a page names, with what they are.
FILES = {
    "/etc/hostward/hostward.yaml": "the configuration, see hostward.yaml(5)",
    "/etc/hostward/hostward.d/*.yaml": "what is to be otherwise, read after it in the order of the names",
    "/var/lib/hostward": "the lock, the journal of repairs and the history",
    "/var/cache/hostward": "what was worked out from kernel images; may be removed at any time",
    "/usr/share/hostward": "known issues, schemas of the JSON output, rules for Prometheus",
}


def escaped(text: str) -> str:
    """Text as roff takes it: no escapes, no requests at the start of a line, hyphens that can be copied."""
    text = (
        text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga").replace("^", "\\(ha")
    )
    text = text.replace("~", "\\(ti").replace("…", "...").replace("→", "->")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.M)


def head(name: str, section: int, summary: str) -> Iterator[str]:
    stamp = int(os.environ.get("SOURCE_DATE_EPOCH") or datetime.now(timezone.utc).timestamp())
    day = datetime.fromtimestamp(stamp, timezone.utc).date()
    yield f'.TH {escaped(name).upper()} {section} "{day}" "hostward {__version__}" "hostward"'
    yield from (".nh", ".ad l", ".SH NAME", f"{escaped(name)} \\- {escaped(one_line(summary))}")


def one_line(text: str) -> str:
    return " ".join(text.split())


def sentence(text: str) -> str:
    text = one_line(text)
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!")) else ".")


def command_of(top: argparse.ArgumentParser) -> dict[str, tuple[str, argparse.ArgumentParser]]:
    """Command -> (its line in --help, its parser)."""
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            return {name: (helps.get(name, ""), parser) for name, parser in action.choices.items()}
    return {}


def synopsis(parser: argparse.ArgumentParser) -> str:
    formatter = argparse.HelpFormatter(parser.prog, width=10_000)
    formatter.add_usage(None, parser._actions, parser._mutually_exclusive_groups, prefix="")
    usage = one_line(formatter.format_help())[len(parser.prog) :]
    return f"\\fB{escaped(parser.prog)}\\fR{escaped(usage)}"


def arguments(parser: argparse.ArgumentParser) -> Iterator[str]:
    """An entry for each argument, positional ones first."""
    actions = [
        a for a in parser._actions if not isinstance(a, argparse._SubParsersAction) and a.help != argparse.SUPPRESS
    ]
    for action in sorted(actions, key=lambda a: bool(a.option_strings)):
        if action.option_strings:
            value = "" if action.nargs == 0 else action.metavar or "{" + ",".join(map(str, action.choices or ())) + "}"
            names = ", ".join(f"\\fB{escaped(name)}\\fR" for name in action.option_strings)
            tag = names + (f" \\fI{escaped(str(value))}\\fR" if value and value != "{}" else "")
        else:
            tag = f"\\fI{escaped(str(action.metavar or action.dest))}\\fR"
        text = parser._get_formatter()._expand_help(action) if action.help else ""
        if not text and action.choices:
            text = f"one of {', '.join(map(str, action.choices))}; {action.default} by default"
        yield from (".TP", tag, escaped(sentence(text)) if text else "\\&")


def files() -> Iterator[str]:
    yield ".SH FILES"
    for name, what in FILES.items():
        yield from (".TP", f"\\fI{escaped(name)}\\fR", escaped(sentence(what)))


def see_also(pages: Iterable[str]) -> Iterator[str]:
    named = [re.fullmatch(r"(.*)\((\d)\)", page) for page in pages]
    yield ".SH SEE ALSO"
    yield ",\n".join(f".BR {escaped(m[1])} ({m[2]})" for m in named if m).replace(",\n", " ,\n")


def command_page(name: str, summary: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    yield from head(f"hostward-{name}", 1, summary)
    yield from (".SH SYNOPSIS", synopsis(parser), ".SH DESCRIPTION")
    yield escaped(sentence(parser.description or summary))
    yield ".SH OPTIONS"
    yield from arguments(parser)
    if parser.epilog:
        yield from (
            ".SH NOTES" if "xit status" not in parser.epilog else ".SH EXIT STATUS",
            escaped(one_line(parser.epilog)),
        )
    yield from files()
    yield from see_also(("hostward(1)", "hostward.yaml(5)", "hostward-checks(7)"))


def main_page(top: argparse.ArgumentParser) -> Iterator[str]:
    yield from head("hostward", 1, "check, and where it is safe repair, a KVM host")
    yield from (".SH SYNOPSIS", "\\fBhostward\\fR [\\fIOPTION\\fR] \\fICOMMAND\\fR [\\fIARGUMENT\\fR ...]")
    yield from (".SH DESCRIPTION", escaped(sentence(top.description or "")), ".SH OPTIONS")
    yield from arguments(top)
    yield ".SH COMMANDS"
    commands = command_of(top)
    for name, (summary, _) in commands.items():
        yield from (".TP", f".BR hostward\\-{escaped(name)} (1)", escaped(sentence(summary)))
    yield from (".SH EXIT STATUS", escaped(one_line(top.epilog or "")))
    yield from files()
    yield from see_also([*(f"hostward-{name}(1)" for name in commands), "hostward.yaml(5)", "hostward-checks(7)"])


def configuration_page(text: str) -> Iterator[str]:
    """From the shipped configuration: a comment stands before the key that it explains."""
    yield from head("hostward.yaml", 5, "configuration of hostward")
    yield ".SH DESCRIPTION"
    comment: list[str] = []
    section = ""
    nested = False
    for line in [*text.splitlines(), ""]:
        if line.strip().startswith("#"):
            comment.append(line.strip()[1:])
            continue
        key = re.match(r"( *)([\w.-]+):(.*)", line)
        if key is None:
            if comment and not section:
                yield from prose(comment)
                comment = []
            continue
        depth = len(key[1])
        if depth == 0:
            section, nested = key[2], False
            yield f".SH {escaped(section)}"
        elif depth == 2:
            value = key[3].strip()
            nested = not value
            yield from (".TP", f"\\fB{escaped(key[2])}\\fR" + (f" (default: {escaped(value)})" if value else ""))
            yield from prose(comment, tagged=True) if comment else ("\\&",)
            if nested:
                yield from (".IP", "By default:", ".RS", ".nf")
        elif nested:
            yield escaped(line.strip())
        comment = [] if depth else comment
        if nested and not following_is_deeper(text, line):
            yield from (".fi", ".RE")
            nested = False
    yield from files()
    yield from see_also(("hostward(1)", "hostward-checks(7)"))


def following_is_deeper(text: str, line: str) -> bool:
    rest = text.split(line + "\n", 1)[-1].splitlines()
    return bool(rest) and rest[0].startswith("    ")


def prose(lines: list[str], tagged: bool = False) -> Iterator[str]:
    """Paragraphs; lines that are indented further are shown as they stand. `tagged`: the text of a .TP."""
    literal = False
    margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    for line in lines:
        text = line[margin:].rstrip()
        wants = text.startswith("  ")
        if wants != literal and text:
            yield from ((".RS", ".nf") if wants else (".fi", ".RE", ".IP") if tagged else (".fi", ".RE"))
            literal = wants
        if text:
            yield escaped(text.strip() if not literal else text)
        elif not literal:
            yield ".sp"
    if literal:
        yield from (".fi", ".RE")


def checks_page() -> Iterator[str]:
    yield from head("hostward-checks", 7, "what hostward judges, and why")
    yield ".SH DESCRIPTION"
    yield escaped("Every check of hostward, by its id, as `hostward explain ID` tells of it.")
    group = ""
    for check in sorted(checks.load_all().values(), key=lambda c: c.id.split(".")[0]):
        if check.id.split(".")[0] != group:
            group = check.id.split(".")[0]
            yield f".SH {escaped(group)}"
        yield from (f".SS {escaped(check.id)}", escaped(check.title + "."), ".sp")
        yield from prose((check.why or "").splitlines())
        if check.references:
            yield from (".sp", escaped("See " + ", ".join(r.text for r in check.references) + "."))
    yield from see_also(("hostward(1)", "hostward-explain(1)", "hostward.yaml(5)"))


def pages() -> dict[str, str]:
    """File name -> page."""
    os.environ["COLUMNS"] = "10000"
    top = cli.parser()
    made = {"hostward.1": main_page(top)}
    for name, (summary, parser) in command_of(top).items():
        made[f"hostward-{name}.1"] = command_page(name, summary, parser)
    made["hostward.yaml.5"] = configuration_page((REPOSITORY / "config" / "hostward.yaml").read_text())
    made["hostward-checks.7"] = checks_page()
    return {name: "\n".join(tidied(lines)) + "\n" for name, lines in made.items()}


def tidied(lines: Iterable[str]) -> Iterator[str]:
    """Without a space request where another or a heading follows or came before."""
    kept: list[str] = []
    for line in (part for whole in lines for part in whole.split("\n")):
        if kept and kept[-1] == ".sp" and (line == ".sp" or line.startswith((".S", ".TP", ".RS"))):
            kept.pop()
        if line == ".sp" and kept and kept[-1].startswith((".S", ".TP", ".RS", ".IP")):
            continue
        if line:
            kept.append(line)
    yield from kept


def main() -> None:
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (target / name).write_text(text)


if __name__ == "__main__":
    main()
