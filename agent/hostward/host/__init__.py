"""The only code that touches a machine: its files under a root, its programs, its units."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hostward.host.errors import (
    Changed,
    HostError,
    Missing,
    NotLive,
    NotRegular,
    TooLarge,
    Unreadable,
    Untrusted,
)
from hostward.host.tree import Directory, File, Tree

if TYPE_CHECKING:
    from hostward.host.changes import State
    from hostward.host.programs import Completed


class Host(Tree):
    """A machine to look at: the running one, or a directory that holds one (an image, a chroot, a mounted disk)."""

    def __init__(self, root: str, live: bool) -> None:
        super().__init__(root)
        self.live = live
        #: How long a program that is asked for a fact may take, in seconds (limits.program-timeout-s).
        self.program_timeout_s = 10.0
        #: Where the agent keeps its lock, its journal of repairs and its state.
        self.state_directory = "/var/lib/hostward"

    @classmethod
    def running(cls) -> Host:
        """This very machine."""
        return cls("/", live=True)

    @classmethod
    def at(cls, root: str) -> Host:
        """A tree that holds a machine; nothing outside it is read and nothing in it is executed.

        Raises HostError when `root` is not a directory that can be entered.
        """
        absolute = os.path.abspath(root)
        if not os.path.isdir(absolute):
            reason = "is not a directory" if os.path.lexists(absolute) else "does not exist"
            raise Missing(root, f"{reason}; --root wants the directory that holds the host's /etc, /lib and so on")
        return cls(absolute, live=False)

    def run(
        self, argv: Sequence[str], timeout_s: float | None = None, input: bytes = b"", bound: bool = False
    ) -> Completed:
        """Runs a trusted program of the running machine to its end, without a shell; with `bound` it ends when we do.

        Raises NotLive under a root, Missing, Untrusted, or HostError at the time limit.
        """
        if not self.live:
            raise NotLive(argv[0], "not run: this tree is looked at from outside and nothing in it is executed")
        from hostward.host.programs import run

        return run(argv, timeout_s or self.program_timeout_s, input, bound)

    def uname(self) -> os.uname_result:
        """uname(2) of the running machine.  Raises NotLive under a root."""
        if not self.live:
            raise NotLive("running kernel", "this tree is looked at from outside, none of its kernels runs")
        return os.uname()

    def trusted(self, path: str) -> str:
        """The program behind `path`, when only root can have put it there.  Raises NotLive, Missing, Untrusted."""
        if not self.live:
            raise NotLive(path, "not judged: nothing of a tree looked at from outside is ever run")
        from hostward.host.programs import trusted

        return trusted(path)

    def look(self, path: str) -> tuple[State, bytes]:
        """What stands at a path, no link followed at its end, and a file's content; for `put`.  Raises HostError."""
        from hostward.host.changes import look

        return look(self, path)

    def put(self, path: str, before: State, after: State, data: bytes = b"") -> None:
        """Changes what stands at a path from `before` to `after`, synced, at once or not at all.

        Raises Changed where something else stands there by now, NotLive under a root, HostError.
        """
        self._must_be_live(path)
        from hostward.host.changes import put

        put(self, path, before, after, data)

    def sweep(self, path: str) -> None:
        """Removes a half-made file that a kill left beside a path."""
        self._must_be_live(path)
        from hostward.host.changes import sweep

        sweep(self, path)

    def _must_be_live(self, path: str) -> None:
        if not self.live:
            raise NotLive(path, "not changed: a tree looked at from outside is never written to")


__all__ = [
    "Changed",
    "Directory",
    "File",
    "Host",
    "HostError",
    "Missing",
    "NotLive",
    "NotRegular",
    "TooLarge",
    "Unreadable",
    "Untrusted",
]
