"""The commands, a file each: `add(subparsers)` says its arguments, `main(arguments)` returns its exit status."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from hostward import config
from hostward.host import Host

if TYPE_CHECKING:
    from hostward.config import Config
    from hostward.engine import Engine
    from hostward.report.text import Paint


def common(parser: argparse.ArgumentParser, formats: tuple[str, ...] = ("text", "json")) -> None:
    """The arguments that every command takes."""
    parser.add_argument(
        "--root",
        metavar="DIR",
        help="look at the host whose file system is in DIR (an image, a chroot, a mounted disk)",
    )
    parser.add_argument("--config", metavar="FILE", default="", help=f"instead of {config.PATH} and its drop-ins")
    parser.add_argument("--format", choices=formats, default=formats[0])
    parser.add_argument("--color", choices=("auto", "always", "never"), default="auto")


def host_of(arguments: argparse.Namespace, settings: Config) -> Host:
    """The host that the arguments name.  Raises HostError when DIR is not there."""
    host = Host.running() if arguments.root is None else Host.at(arguments.root)
    host.program_timeout_s = settings.program_timeout_s
    return host


def engine_of(arguments: argparse.Namespace) -> Engine:
    """An engine for the host and the configuration that the arguments name, with every check and remedy known."""
    from hostward import checks, remedies
    from hostward.engine import Engine

    settings = config.load(arguments.config)
    known = checks.load_all()
    if settings.where:
        settings.verify_ids(known, {id: kind.at_most for id, kind in remedies.load_all().items()})
    return Engine(host_of(arguments, settings), settings)


def paint_of(arguments: argparse.Namespace) -> Paint:
    from hostward.report.text import painter

    return painter(sys.stdout, arguments.color)
