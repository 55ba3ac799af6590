"""What a script, a command line or a rule does with hwclock(8): sets the system clock, or writes the RTC."""

from __future__ import annotations

import re
from dataclasses import dataclass

TEXT_MAX = 256 << 10
_LINES_MAX = 20_000
_QUOTED_MAX = 4

#: Words that a command may begin with and that run something else than what their arguments name.
_TALK = {"[", "[[", "test", "echo", "printf", "which", "type", "command", "logger", "ebegin", "eend", "einfo", "ewarn",
         "eerror", "provide", "need", "rm", "ls", "grep", "daemon_name", "trap"}  # fmt: skip
_SPLIT = re.compile(r"\|\|?|&&?|;|\$\(|[()`{}]")
_ASSIGNED = re.compile(r"""^\s*(?:export\s+|local\s+|:\s*\$\{)?(\w+):?[+]?=\s*("[^"]*"|'[^']*'|[^\s;]*)""", re.M)


@dataclass(frozen=True)
class Calls:
    """`sets_system_clock`: from the RTC (--hctosys, -s); `writes_rtc`: from the system clock (--systohc, -w).

    `lines` are the calls as they stand in the text.
    """

    sets_system_clock: bool = False
    writes_rtc: bool = False
    lines: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.sets_system_clock or self.writes_rtc

    def __or__(self, other: Calls) -> Calls:
        return Calls(
            self.sets_system_clock or other.sets_system_clock,
            self.writes_rtc or other.writes_rtc,
            tuple(dict.fromkeys(self.lines + other.lines))[:_QUOTED_MAX],
        )


def calls_in(text: str) -> Calls:
    """The calls of hwclock in a shell script, a unit's command line, a crontab or a udev rule.

    Options that come by a variable are looked for where variables are assigned, as in RHEL 5's rc.sysinit
    (CLOCKFLAGS="$CLOCKFLAGS --hctosys"; hwclock $CLOCKFLAGS).
    """
    if "hwclock" not in text:
        return Calls()
    code = _without_comments(text[:TEXT_MAX])
    assigned = _ASSIGNED.findall(code)
    by_variable = _options(" ".join(value.strip("\"'") for _, value in assigned).split())
    programs = {name for name, value in assigned if re.search(r"(?:^|/)hwclock\W?$", value.strip("\"'"))}
    found = Calls()
    for line in code.splitlines():
        if "hwclock" not in line and not any(name in line for name in programs):
            continue
        for command in _SPLIT.split(line):
            words = [word.strip("\"'") for word in command.split()]
            while words and (words[0] in ("if", "then", "else", "elif", "do", "!", "while", "until")):
                words.pop(0)
            if not words or words[0] in _TALK or words[0].startswith(("log_", "verbose_log_")):
                continue
            at = next((n for n, word in enumerate(words) if _is_hwclock(word, programs)), None)
            if at is None:
                continue
            sets, writes = _options(words[at + 1 :])
            if not (sets or writes) and any("$" in word for word in words[at + 1 :]):
                sets, writes = by_variable
            if sets or writes:
                found |= Calls(sets, writes, (" ".join(line.split())[:200],))
    return found


def _is_hwclock(word: str, programs: set[str]) -> bool:
    if word.startswith("$"):
        return word.strip("${}") in programs
    return word.rpartition("/")[2].lstrip("_-@+!:") == "hwclock"


def _options(words: list[str]) -> tuple[bool, bool]:
    """(sets the system clock, writes the RTC) by hwclock(8)'s options; busybox takes the short ones."""
    sets = writes = False
    for word in words:
        if word in ("--hctosys",) or re.fullmatch(r"-[arulvDt]*s[arulvDt]*", word):
            sets = True
        elif word in ("--systohc",) or re.fullmatch(r"-[arulvDt]*w[arulvDt]*", word):
            writes = True
    return sets, writes


def _without_comments(text: str) -> str:
    lines = text.replace("\\\n", " ").split("\n")[:_LINES_MAX]
    return "\n".join(re.sub(r"(?:^|(?<=\s))#.*", "", line[:4000]) for line in lines)
