"""`hostward scriptlet`: for the scriptlets and triggers of packages, and kernel-install(8); its exit status is 0."""

from __future__ import annotations

import argparse
from typing import Any


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "scriptlet",
        help="for the scriptlets of packages: say what a transaction broke",
        description="Judges what a package transaction did to kernel modules. Nothing is printed when all is well, "
        "else a few lines in depmod's words and one of advice. On a live system it repairs what the configuration lets "
        "happen unattended; in a chroot, an image build, a container or under rpm-ostree it changes nothing. "
        "Events: post-install, post-upgrade and post-remove (of the kmod packages named), modules-changed (the names "
        "of the files on standard input), modules-removed, kernel-added and kernel-removed (of the releases named). "
        "It is given 5 s, or HOSTWARD_SCRIPTLET_LIMIT_S of the environment, and 10 s more for a repair.",
        epilog="The exit status is 0, whatever happens.",
    )
    parser.add_argument("event", metavar="EVENT", help="what happened, e.g. post-install or modules-changed")
    parser.add_argument("names", metavar="NAME", nargs="*", help="packages, or kernel releases")
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    from hostward import scriptlet

    scriptlet.run(arguments.event, arguments.names)
    return 0
