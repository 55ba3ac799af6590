"""Where the agent's own data (known issues, JSON schemas) lies."""

from __future__ import annotations

import os
import sys

from hostward.host.errors import Missing


def data_directory() -> str:
    """PREFIX/share/hostward of the installation, or config/ of the checkout that this code runs from."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    checkout = os.path.join(os.path.dirname(os.path.dirname(package)), "config")
    installed = os.path.join(sys.prefix, "share", "hostward")
    for directory in (checkout, installed, "/usr/share/hostward"):
        if os.path.isdir(os.path.join(directory, "known-issues")):
            return directory
    raise Missing(installed, "hostward's own data is not there; its installation is incomplete, install it again")


def code_stamp(*packages: str) -> str:
    """What tells whether the files of some of the agent's own packages are still the same: sizes and times, hashed."""
    import hashlib

    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    found = []
    for name in packages:
        with os.scandir(os.path.join(package, name)) as entries:
            for entry in entries:
                if entry.name.endswith(".py"):
                    status = entry.stat()
                    found.append((name, entry.name, status.st_size, status.st_mtime_ns))
    return hashlib.sha256(repr((package, sorted(found))).encode("utf-8", "surrogateescape")).hexdigest()[:32]
