"""The command line: parses it, hands over to one of the commands, and turns every error into a line and a status."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hostward import __version__

if TYPE_CHECKING:
    import argparse

#: The commands, a file each, in the order that --help lists them.
COMMANDS = (
    "check",
    "clock",
    "compare",
    "explain",
    "facts",
    "fix",
    "history",
    "hook",
    "known-issues",
    "log",
    "modules",
    "scriptlet",
    "status",
    "undo",
    "watch",
)

COULD_NOT_TELL = 3


def parser(only: str = "") -> argparse.ArgumentParser:
    """The whole parser, or one that knows just the command that was asked for: the others' files stay unread."""
    import argparse
    import importlib

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> None:  # type: ignore[override]
            self.print_usage(sys.stderr)
            self.exit(COULD_NOT_TELL, f"{self.prog}: {message}\n")

    top = Parser(
        prog="hostward",
        description="Checks, and where it is safe repairs, what a KVM host fails its guests by: "
        "kernel modules that will not load, and a clock that nothing keeps.",
        epilog="Exit status of check: 0 all passed, 1 warnings, 2 errors, 3 could not tell. "
        "Of fix: 0 now true, 1 something left, 3 refused.",
    )
    top.add_argument("--version", action="version", version=f"hostward {__version__}")
    subparsers = top.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    for name in COMMANDS:
        if only in ("", name):
            importlib.import_module(f"hostward.commands.{name.replace('-', '_')}").add(subparsers)
    return top


def main(argv: Sequence[str]) -> int:
    """Runs one command and returns its exit status.  Every expected error is a line on standard error."""
    if argv and argv[0] == "scriptlet":
        # A package transaction must not fail by this, whatever it is called with and whatever is broken.
        try:
            _main(argv)
        except Exception:
            pass
        return 0
    return _main(argv)


def _main(argv: Sequence[str]) -> int:
    if list(argv) in (["--version"], ["-V"]):
        print(f"hostward {__version__}")
        return 0
    try:
        arguments = parser(argv[0] if argv and argv[0] in COMMANDS else "").parse_args(argv)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else COULD_NOT_TELL

    from hostward.host import HostError
    from hostward.yamldoc import ConfigError

    try:
        status: int = arguments.main(arguments)
        if sys.stdout is not None:  # closed by the caller (`>&-`)
            sys.stdout.flush()
        return status
    except (ConfigError, HostError, LookupError) as error:
        from hostward.report.text import safe

        text = str(error.args[0] if error.args else error)
        print(f"hostward: {safe(text)}", file=sys.stderr)
        return COULD_NOT_TELL
    except KeyboardInterrupt:
        print("hostward: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader went away (`hostward check | head`); keep the interpreter from complaining about it at exit.
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return COULD_NOT_TELL


def run() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        # A C locale must not turn a path's umlaut into a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    run()
