"""The daemon's memory: the state under /var/lib, or, where that can't be written, in /run until it can be again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from hostward.daemon import messages
from hostward.daemon.transitions import merge
from hostward.host import Host, HostError
from hostward.host.moment import Moment
from hostward.host.state import FALLBACK, Merged, Picture, Run, Standing, State, Transition
from hostward.model import Result

if TYPE_CHECKING:
    from hostward.host.journald import JournalWriter

T = TypeVar("T")


class Memory:
    """States in the order of preference; the first that can be written is used. `trouble` is why it is not the first.

    Raises HostError where none of them can be written.
    """

    def __init__(self, *states: State) -> None:
        self._states = list(states)
        self._seed: dict[str, Standing] = {}
        self.trouble = ""

    @classmethod
    def of(cls, host: Host) -> Memory:
        return cls(State.at(host.state_directory, keep_open=True), State.at(FALLBACK, keep_open=True))

    def close(self) -> None:
        for state in self._states:
            state.close()

    def merge(self, results: Iterable[Result], known: list[str] | None, moment: Moment, tentative: bool) -> str:
        """Merges fresh results into what stands (see transitions.merge).  Returns what became of a damaged file."""
        results = list(results)
        self._return(moment)

        def work(old: dict[str, Standing]) -> Merged:
            standings, forget, transitions = merge(old or self._seed, results, known, moment, tentative)
            return (standings if old else {**self._seed, **standings}), forget, transitions

        return self._do(lambda state: state.merge(work))

    def note(self, transition: Transition) -> None:
        """Adds a transition of no check, unless the last of its subject says the very same."""
        self._do(lambda state: state.add([transition], unless_last=True))

    def add(self, transition: Transition) -> None:
        self._do(lambda state: state.add([transition]))

    def picture(self) -> Picture:
        return self._do(lambda state: state.picture())

    def last_run(self, moment: Moment) -> Run | None:
        """The last run of this boot, wherever it was written, None for none that can be read."""
        runs = []
        for state in self._states:
            try:
                run = state.picture().run
            except HostError:
                continue
            if run is not None and run.when.same_boot(moment):
                runs.append(run)
        return max(runs, key=lambda run: run.when.up, default=None)

    def close_run(self, run: Run, measures: dict[str, Any]) -> None:
        self._do(lambda state: state.close_run(run, measures))

    def tell(self, writer: JournalWriter, moment: Moment) -> None:
        """Tells the journal what it does not have yet; what it does not take stays for the next time."""
        while True:
            untold = self._do(lambda state: state.untold())
            sent = messages.tell(writer, untold, moment)
            if not self._told(sent) or len(sent) < len(untold) or not untold:
                return

    def _return(self, moment: Moment) -> None:
        """Takes over what was kept elsewhere while the first place could not be written, once it can be again."""
        if len(self._states) < 2:
            return
        first, other = self._states[:2]
        try:
            there = other.picture().run
        except HostError:
            return
        if there is None or not there.when.same_boot(moment):
            return
        try:
            here = first.picture().run
        except HostError:
            here = None
        if here is not None and here.when.same_boot(moment) and here.when.up >= there.when.up:
            return
        try:
            first.take_over(other)
        except HostError:
            pass  # not yet

    def _told(self, sent: list[int]) -> bool:
        try:
            self._states[0].told(sent)
        except HostError:
            return False  # told once more the next time, which is better than never
        return True

    def _do(self, work: Callable[[State], T]) -> T:
        while True:
            try:
                return work(self._states[0])
            except HostError as error:
                if len(self._states) == 1:
                    raise
                self.trouble = self.trouble or str(error)
                # What stands is carried over, so that what was told already is not told again from the other place.
                try:
                    self._seed = self._states[0].picture().standings
                except HostError:
                    pass
                self._states.pop(0).close()
