"""Copies of a host's files for a library that opens paths by itself, so that no link of a tree leads it outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def laid_out(files: Mapping[str, bytes]) -> Iterator[str]:
    """A private directory that holds `files` by their paths inside the host, for as long as the block lasts.

    Raises OSError where there is no room for temporary files.
    """
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory(prefix="hostward-") as directory:
        for path, data in files.items():
            copy = Path(directory + path)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(data)
        yield directory
