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
