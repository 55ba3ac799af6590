"""Runs as much of a grub.cfg as it takes to know its menu and its default entry.

GRUB's script language is a small shell (info grub, "Shell-like scripting"). Understood here: quoting, variables,
`set`, `if` with `[`, `menuentry`, `submenu`, `load_env`, `source` and `blscfg`. Other commands do nothing; functions
and loops are passed over. Bounded: at most STEPS_MAX commands are run.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from hostward.facts.bootloaders import Entry

STEPS_MAX = 20_000
PARTS_MAX = 200_000
ENTRIES_MAX = 500
_DEPTH_MAX = 32
_SOURCED_MAX = 20
_FEATURES = ("menuentry_id", "default_font_path", "platform_search_hint", "all_video_module", "timeout_style",
             "chainloader_bpb", "ntldr", "nativedisk_cmd", "200_final")  # fmt: skip
_LINUX = {"linux", "linuxefi", "linux16", "multiboot", "multiboot2", "xen_hypervisor"}
_MODULE = {"module", "module2", "xen_linux", "xen_module"}

_ORDERS = {"-eq": operator.eq, "-ne": operator.ne, "-lt": operator.lt, "-le": operator.le, "-gt": operator.gt,
           "-ge": operator.ge}  # fmt: skip

# A word is a tuple of parts: text or a variable's name, and which it is. Separators and braces are strings.
_TEXT, _VAR, _QUOTED_VAR = 0, 1, 2
_Part = tuple[str, int]


class BadScript(Exception):
    """A grub.cfg that GRUB itself could not run, or one without end."""


@dataclass
class Script:
    """A grub.cfg that has been run: the variables it left and its menu.

    `exists`, `read_env` and `read` answer for files by the path GRUB names them with; `bls` gives the
    entries for `blscfg`, from the variables at that moment.
    """

    file: str
    exists: Callable[[str], bool]
    read_env: Callable[[str], dict[str, str]]
    read: Callable[[str], str]
    bls: Callable[[dict[str, str]], list[Entry]]
    env: dict[str, str] = field(default_factory=dict)
    menu: list[Entry] = field(default_factory=list)
    used_bls: bool = False
    steps: int = 0
    sourced: int = 0

    def run(self, text: str) -> Script:
        """Raises BadScript."""
        prefix = self.file.rpartition("/")[0]
        self.env = {f"feature_{name}": "y" for name in _FEATURES}
        self.env.update(prefix=prefix, config_directory=prefix, menuentry_id_option="--id")
        _Run(self, self.env, self.menu, None).text(text, 0)
        return self


class _Run:
    """One level of execution: the top, a submenu's body, or the body of an entry that would be booted."""

    def __init__(self, script: Script, env: dict[str, str], menu: list[Entry] | None, boot: list[list[str]] | None):
        self.script = script
        self.env = env
        self.menu = menu  # where menuentry puts entries; None inside an entry
        self.boot = boot  # where linux and module commands go; None outside an entry

    def text(self, text: str, depth: int) -> None:
        self.tokens(tokenize(text), depth)

    def tokens(self, tokens: list[str | tuple[_Part, ...]], depth: int) -> None:
        self._list(_Cursor(tokens), (), True, depth)

    def _list(self, cursor: _Cursor, ends: tuple[str, ...], active: bool, depth: int) -> bool:
        """Commands up to a word of `ends`, which is left in place. Returns the last one's status."""
        if depth > _DEPTH_MAX:
            raise BadScript(f"menus, conditions or sourced files nested deeper than {_DEPTH_MAX}")
        status = True
        while True:
            token = cursor.peek()
            if token is None:
                if ends:
                    raise BadScript(f"the file ends before a {' or '.join(ends)}")
                return status
            if token == ";":
                cursor.next()
                continue
            if token == "}":
                raise BadScript("a closing brace that nothing opened")
            if cursor.word() in ends:
                return status
            status = self._command(cursor, active, depth)

    def _command(self, cursor: _Cursor, active: bool, depth: int) -> bool:
        self.script.steps += 1
        if self.script.steps > STEPS_MAX:
            raise BadScript(f"more than {STEPS_MAX} commands")
        word = cursor.word()
        if word == "if":
            return self._if(cursor, active, depth)
        if word in ("for", "while", "until"):
            cursor.skip_loop()
            return True
        if word == "function":
            cursor.until_brace()
            cursor.block()
            return True
        negated = False
        while cursor.word() == "!":
            cursor.next()
            negated = not negated
        words: list[tuple[_Part, ...]] = []
        while (token := cursor.peek()) not in (None, ";", "{", "}"):
            assert isinstance(token, tuple)
            words.append(token)
            cursor.next()
        if cursor.peek() == "{":
            body = cursor.block()
            expanded = self._expand(words) if active else []
            return self._entry(expanded, body, depth) if expanded else True
        if not words:
            raise BadScript("a brace or the end where a command should be")
        if not active:
            return True
        expanded = self._expand(words)
        return (self._simple(expanded, depth) if expanded else True) != negated

    def _if(self, cursor: _Cursor, active: bool, depth: int) -> bool:
        done, status, word = False, True, "if"
        while word in ("if", "elif"):
            cursor.next()
            met = self._list(cursor, ("then",), active and not done, depth + 1)
            cursor.next()
            now = active and not done and met
            taken = self._list(cursor, ("elif", "else", "fi"), now, depth + 1)
            done, status = done or now, taken if now else status
            word = cursor.word()
        if word == "else":
            cursor.next()
            taken = self._list(cursor, ("fi",), active and not done, depth + 1)
            status = status if done else taken
        cursor.next()
        return status

    def _expand(self, words: list[tuple[_Part, ...]]) -> list[str]:
        """The words with their variables; a variable outside quotes is split at blanks, and may vanish."""
        found: list[str] = []
        for word in words:
            fields: list[str] = []
            joins = False  # whether the next part goes on in the last field
            for text, kind in word:
                value = text if kind == _TEXT else self.env.get(text, "")
                pieces = [value] if kind != _VAR else value.split()
                joins = joins and not (kind == _VAR and value[:1].isspace())
                if pieces and joins:
                    fields[-1] += pieces.pop(0)
                fields += pieces
                joins = bool(fields) and not (kind == _VAR and value[-1:].isspace())
            found += fields
        return found

    def _simple(self, words: list[str], depth: int) -> bool:
        name, arguments = words[0], words[1:]
        if name in ("[", "test"):
            return self._test(arguments[:-1] if name == "[" and arguments[-1:] == ["]"] else arguments)
        if name == "set" or (re.match(r"\w+=", name) and len(words) == 1):
            for pair in arguments if name == "set" else words:
                key, equals, value = pair.partition("=")
                if equals:
                    self.env[key] = value
        elif name == "unset":
            for key in arguments:
                self.env.pop(key, None)
        elif name == "load_env":
            self._load_env(arguments)
        elif name in ("source", "configfile", ".") and arguments:
            self.script.sourced += 1
            if self.script.sourced > _SOURCED_MAX:
                raise BadScript(f"more than {_SOURCED_MAX} files are sourced")
            self.text(self.script.read(arguments[0]), depth + 1)
        elif name == "blscfg" and self.menu is not None:
            self.script.used_bls = True
            self.menu.extend(self.script.bls(self.env))
        elif name == "false":
            return False
        elif name in _LINUX or name in _MODULE:
            if self.boot is not None:
                self.boot.append(words)
        else:
            # keystatus, cmostest and the like ask for something that only the machine at boot knows
            return name in ("true", "insmod", "search", "export", "save_env", "terminal_output", "terminal_input")
        return True

    def _load_env(self, arguments: list[str]) -> None:
        file, names = self.env.get("prefix", "") + "/grubenv", []
        words = iter(arguments)
        for word in words:
            if word in ("-f", "--file"):
                file = next(words, file)
            elif word.startswith("--file="):
                file = word[7:]
            elif not word.startswith("-"):
                names.append(word)
        loaded = self.script.read_env(file)
        self.env.update({k: v for k, v in loaded.items() if not names or k in names})

    def _test(self, words: list[str]) -> bool:
        """test's grammar: -o binds weaker than -a, ! strongest."""
        if len(words) > 40:
            return False
        for join, combine in (("-o", any), ("-a", all)):
            if join in words:
                at = words.index(join)
                return combine((self._test(words[:at]), self._test(words[at + 1 :])))
        if words[:1] == ["!"]:
            return not self._test(words[1:])
        if len(words) == 1:
            return words[0] != ""
        if len(words) == 2:
            flag, value = words
            if flag in ("-n", "-z"):
                return (value != "") == (flag == "-n")
            if flag in ("-f", "-e", "-s", "-d"):
                return self.script.exists(value)
        if len(words) == 3:
            left, comparison, right = words
            if comparison in ("=", "=="):
                return left == right
            if comparison == "!=":
                return left != right
            if comparison in _ORDERS and re.fullmatch(r"-?[0-9]{1,18} -?[0-9]{1,18}", f"{left} {right}"):
                return bool(_ORDERS[comparison](int(left), int(right)))
        return False

    def _entry(self, words: list[str], body: list[str | tuple[_Part, ...]], depth: int) -> bool:
        if words[0] not in ("menuentry", "submenu") or self.menu is None:
            return True
        if len(self.menu) >= ENTRIES_MAX:
            raise BadScript(f"more than {ENTRIES_MAX} entries in a menu")
        title, entry_id = "", ""
        arguments = iter(words[1:])
        for word in arguments:
            if word in ("--id", "--class", "--users", "--hotkey", "--source"):
                value = next(arguments, "")
                entry_id = value if word == "--id" else entry_id
            elif word.startswith("--id="):
                entry_id = word[5:]
            elif not word.startswith("--") and not title:
                title = word
        env = dict(self.env)
        if words[0] == "submenu":
            children: list[Entry] = []
            _Run(self.script, env, children, None).tokens(body, depth + 1)
            self.menu.append(Entry(title, self.script.file, entry_id, children=tuple(children)))
            return True
        boot: list[list[str]] = []
        _Run(self.script, env, None, boot).tokens(body, depth + 1)
        image, cmdline = kernel_of(boot)
        self.menu.append(Entry(title, self.script.file, entry_id, image, cmdline))
        return True


def kernel_of(commands: list[list[str]]) -> tuple[str, tuple[str, ...]]:
    """The kernel and its command line among an entry's commands; under Xen the first module is the kernel."""
    image, cmdline, under_xen = "", (), False  # type: tuple[str, tuple[str, ...], bool]
    for words in commands:
        names = words[1:]
        while names and names[0].startswith("--"):
            del names[0]  # an option of the command; what follows the image is the kernel's
        if names and (words[0] in _LINUX or under_xen):
            image, cmdline = names[0], tuple(names[1:])
            under_xen = words[0] in _LINUX and "xen" in image.rpartition("/")[2].partition("-")[0]
    return image, tuple(word for word in cmdline if word != "placeholder")


class _Cursor:
    def __init__(self, tokens: list[str | tuple[_Part, ...]]) -> None:
        self.tokens = tokens
        self.at = 0

    def peek(self) -> str | tuple[_Part, ...] | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def next(self) -> None:
        self.at += 1

    def word(self) -> str:
        """The literal text of the word here, "" for anything that is no plain word."""
        token = self.peek()
        if isinstance(token, tuple) and len(token) == 1 and token[0][1] == _TEXT:
            return token[0][0]
        return ""

    def until_brace(self) -> None:
        while self.peek() not in (None, "{"):
            self.next()

    def block(self) -> list[str | tuple[_Part, ...]]:
        """The tokens between the brace here and the one that closes it."""
        self.next()
        start, depth = self.at, 1
        while depth:
            token = self.peek()
            if token is None:
                raise BadScript("a brace is never closed")
            depth += (token == "{") - (token == "}")
            self.next()
        return self.tokens[start : self.at - 1]

    def skip_loop(self) -> None:
        depth = 0
        while self.peek() is not None:
            word = self.word()
            depth += (word in ("for", "while", "until")) - (word == "done")
            self.next()
            if depth == 0:
                return
        raise BadScript("a loop is never closed")


_LEX = re.compile(
    r"""(?P<blank>[ \t\r]+|\\\n)|(?P<end>[\n;|&]+)|(?P<comment>\#[^\n]*)|(?P<brace>[{}](?=[\s;]|$))
    |'(?P<single>[^']*)'|"(?P<double>(?:[^"\\]|\\.)*)"|\\(?P<escaped>.)
    |\$\{(?P<braced>[\w?@*\#]+)\}|\$(?P<var>\w+|[?@*\#])|(?P<plain>[^\s;|&'"\\$]+|\$)""",
    re.X | re.S,
)
_VARIABLE = re.compile(r"\$\{([\w?@*#]+)\}|\$(\w+|[?@*#])|\\([$\"\\\n])|([^$\\]+|[$\\])", re.S)


def tokenize(text: str) -> list[str | tuple[_Part, ...]]:
    """Words (as parts, literal or variable), ";" for each end of a command, and braces.  Raises BadScript."""
    tokens: list[str | tuple[_Part, ...]] = []
    parts: list[_Part] | None = None
    at = count = 0
    while at < len(text):
        count += 1
        if count > PARTS_MAX:
            raise BadScript(f"more than {PARTS_MAX} words, blanks and quotations")
        match = _LEX.match(text, at)
        if not match:
            raise BadScript(f"line {text.count(chr(10), 0, at) + 1}: a quotation is never closed")
        kind, value = match.lastgroup, match.group(match.lastgroup or 0)
        if kind == "comment" and parts is not None:  # `a#b` is one word
            kind, value = "plain", "#"
            match = None
        if kind in ("blank", "end", "comment") or (kind == "brace" and parts is None):
            if parts is not None:
                tokens.append(_joined(parts))
                parts = None
            if kind == "end":
                tokens.append(";")
            elif kind == "brace":
                tokens.append(value)
        else:
            parts = [] if parts is None else parts
            if kind in ("braced", "var"):
                parts.append((value, _VAR))
            elif kind == "double":
                parts.append(("", _TEXT))  # quoted, a word stays one even when it is empty
                for braced, bare, escaped, literal in _VARIABLE.findall(value):
                    parts.append((braced or bare, _QUOTED_VAR) if braced or bare else (escaped or literal, _TEXT))
            else:
                parts.append((value, _TEXT))
        at = match.end() if match else at + 1
    if parts is not None:
        tokens.append(_joined(parts))
    return tokens


def _joined(parts: list[_Part]) -> tuple[_Part, ...]:
    """The parts with neighbouring texts put together."""
    joined: list[_Part] = []
    for text, kind in parts:
        if joined and kind == _TEXT and joined[-1][1] == _TEXT:
            joined[-1] = (joined[-1][0] + text, _TEXT)
        else:
            joined.append((text, kind))
    return tuple(joined)


def parse_env(text: str) -> dict[str, str]:
    """The variables of an environment block (grub-editenv(1)): NAME=VALUE lines, `\\` escaping, `#` padding."""
    found = {}
    for line in re.split(r"(?<!\\)\n", text):
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found[name] = re.sub(r"\\(.)", r"\1", value, flags=re.S)
    return found
