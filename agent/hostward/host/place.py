"""A directory of the agent's own: made when it is missing, used only when nobody else can write to it."""

from __future__ import annotations

import os
import stat

from hostward.host.errors import Untrusted, from_oserror


def own_directory(path: str) -> None:
    """Makes the directory (mode 0700) where it is missing.  Raises HostError, Untrusted for one that is not ours."""
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        status = os.lstat(path)
    except OSError as error:
        raise from_oserror(path, error) from None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise Untrusted(
            path,
            "not used: it must be a plain directory that belongs to this user and nobody else can write to "
            f"(it belongs to user {status.st_uid}, mode {stat.S_IMODE(status.st_mode):o})",
        )


def runtime_directory() -> str:
    """/run/hostward for root; $XDG_RUNTIME_DIR/hostward, or one in the temporary directory, for anyone else."""
    if os.geteuid() == 0:
        return "/run/hostward"
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    # One level below /tmp, which only we could have made: `own_directory` looks at that one.
    return os.path.join(base, "hostward") if base.startswith("/") else f"/tmp/hostward-{os.geteuid()}"
