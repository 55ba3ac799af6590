"""Makes a host tree by hand: `python -m tests.hosts rhel5 DIRECTORY`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from tests.hosts import hostile, rhel5

STORIES: dict[str, Callable[[str], object]] = {"rhel5": rhel5.build, **hostile.STORIES}


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or arguments[0] not in STORIES:
        print(f"usage: python -m tests.hosts {{{'|'.join(STORIES)}}} DIRECTORY", file=sys.stderr)
        return 2
    story, directory = arguments
    if os.path.isdir(directory) and os.listdir(directory):
        print(f"{directory} is not empty; name a directory that is or that does not exist yet", file=sys.stderr)
        return 2
    STORIES[story](directory)
    print(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
