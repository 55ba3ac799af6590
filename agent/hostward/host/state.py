"""What the daemon knows between two judgements: the result of each check, what changed when, and its last run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hostward.host.database import NAME, Database, Garbled
from hostward.host.moment import Moment
from hostward.model import Finding, Outcome, Reference, Result, Severity, as_json

if TYPE_CHECKING:
    import sqlite3

DIRECTORY = "/var/lib/hostward"
#: Where the daemon keeps it while that can't be written; lost at the next boot.
FALLBACK = "/run/hostward"
#: Transitions that are kept; the oldest go, by their number and never by a date.
TRANSITIONS_MAX = 10_000
#: Findings of one check that are kept, and of each the lines of evidence, a line's and a text's length.
FINDINGS_MAX = 200
_EVIDENCE_MAX = 10
_LINE_MAX = 300
_TEXT_MAX = 1_000
_DOCUMENT_MAX = 2_000  # of a transition, in characters
_ABSENT = "holds no judgement yet: `hostward watch`, the daemon, writes it"


@dataclass(frozen=True)
class Standing:
    """What is known of one check.

    `kept`: it can't judge at present (`result` says why), and the findings are those of when it last could.
    `since` is when its outcome came about, `judged` when it was last asked.
    """

    result: Result
    kept: bool
    since: Moment
    judged: Moment


@dataclass(frozen=True)
class Transition:
    """A finding that appeared, changed or is gone, or a check that went blind or is sighted again.

    `document` has the rest of it: advice, evidence, references, and `why` where that is not plain.
    """

    id: int
    when: Moment
    check: str
    subject: str
    what: str
    severity: str
    summary: str
    document: dict[str, Any]


@dataclass(frozen=True)
class Run:
    """The last judgement: when it ended, how long it took, and its circumstances (reason, version, pid, ...)."""

    when: Moment
    duration_s: float
    document: dict[str, Any]


@dataclass(frozen=True)
class Picture:
    """All that is known, for whoever shows it."""

    standings: dict[str, Standing]
    measures: dict[str, Any]
    run: Run | None


#: What merging answers: the standings to write, the ids of checks to forget, and the transitions.
Merged = tuple[dict[str, Standing], list[str], list[Transition]]


class State:
    """The state in one file.  Every error is a HostError that names it."""

    def __init__(self, path: str, keep_open: bool = False) -> None:
        self.path = path
        self._database = Database(path, keep_open)

    @classmethod
    def at(cls, directory: str = DIRECTORY, keep_open: bool = False) -> State:
        return cls(f"{directory}/{NAME}", keep_open)

    def close(self) -> None:
        """Ends what `keep_open` keeps open; a later change opens it again."""
        self._database.close()

    def merge(self, work: Callable[[dict[str, Standing]], Merged]) -> str:
        """Lets `work` tell from what stands what is to stand, and writes that with its transitions, in one transaction.

        Returns "", or what had to be done about a damaged file (`work` then began from nothing).  Raises HostError.
        """

        def within(database: sqlite3.Connection) -> None:
            standings, forget, transitions = work(_standings(database))
            for id, standing in standings.items():
                _put_standing(database, id, standing)
            database.executemany("DELETE FROM result WHERE check_id = ?", [(id,) for id in forget])
            _put_transitions(database, transitions)

        return self._database.change(within, "the state can't be written")[1]

    def close_run(self, run: Run, measures: dict[str, Any]) -> str:
        """Writes the last run, and the measures that it took anew.  Raises HostError."""

        def within(database: sqlite3.Connection) -> None:
            for name, document in measures.items():
                database.execute("INSERT OR REPLACE INTO measure VALUES (?, ?)", (name, _dump(document)))
            database.execute(
                "INSERT OR REPLACE INTO run VALUES (1, ?, ?, ?, ?, ?)",
                (run.when.at, run.when.boot, run.when.up, run.duration_s, _dump(run.document)),
            )

        return self._database.change(within, "the state can't be written")[1]

    def add(self, transitions: Iterable[Transition], unless_last: bool = False) -> str:
        """Adds transitions that come of no check: repairs, a damaged file.  `unless_last`: not those whose subject's
        last one says the very same.  Raises HostError."""
        transitions = list(transitions)

        def within(database: sqlite3.Connection) -> None:
            _put_transitions(database, [t for t in transitions if not (unless_last and _is_last(database, t))])

        return self._database.change(within, "the state can't be written")[1]

    def untold(self, limit: int = 1_000) -> list[Transition]:
        """The oldest transitions that the journal does not have yet.  Raises HostError."""
        return self._database.change(
            lambda database: _transitions(database, "WHERE told = 0 ORDER BY id LIMIT ?", (limit,))
        )[0]

    def told(self, ids: Iterable[int]) -> None:
        """The journal has these now.  Raises HostError."""
        rows = [(id,) for id in ids]
        self._database.change(
            lambda database: database.executemany("UPDATE transition SET told = 1 WHERE id = ?", rows)
        )

    def take_over(self, other: State) -> None:
        """Makes what another file holds this one's: its standings, and its transitions as the latest here.  The other
        file then goes.  Raises HostError; then both are as they were."""
        standings = other.picture().standings
        everything = other.transitions(limit=TRANSITIONS_MAX)
        untold = {t.id for t in other.untold(TRANSITIONS_MAX)}

        def within(database: sqlite3.Connection) -> None:
            for id, standing in standings.items():
                _put_standing(database, id, standing)
            for t in everything:
                _put_transitions(database, [t], told=t.id not in untold)

        self._database.change(within, "the state can't be written")
        other.close()
        other._database.remove()

    def picture(self) -> Picture:
        """All that is known.  Raises Missing where nothing was ever judged, HostError otherwise."""

        def within(database: sqlite3.Connection) -> Picture:
            database.execute("BEGIN")
            measures = {str(name): _load(text) for name, text in database.execute("SELECT * FROM measure")}
            row = database.execute("SELECT at, boot, up, duration_s, document FROM run").fetchone()
            run = None if row is None else Run(_moment(*row[:3]), float(row[3]), _mapping(row[4]))
            return Picture(_standings(database), measures, run)

        return self._database.read(within, _ABSENT)

    def transitions(self, glob: str = "*", limit: int = 100) -> list[Transition]:
        """The latest transitions of the checks that a glob names, in the order of their happening.

        Raises Missing, HostError.
        """

        def within(database: sqlite3.Connection) -> list[Transition]:
            return _transitions(database, "WHERE check_id GLOB ? ORDER BY id DESC LIMIT ?", (glob, limit))[::-1]

        return self._database.read(within, _ABSENT)


def bounded(result: Result) -> Result:
    """A result as it is kept: the worst of its findings, each of a bounded size.

    What is compared must be cut the same way each time, so this comes before any comparison.
    """
    kept = result.findings[:FINDINGS_MAX]
    more = len(result.findings) - len(kept)
    findings = [
        replace(
            f,
            summary=_cut(f.summary, _LINE_MAX),
            subject=_cut(f.subject, _LINE_MAX),
            evidence=tuple(_cut(line, _LINE_MAX) for line in f.evidence[:_EVIDENCE_MAX]),
            advice=_cut(f.advice, _TEXT_MAX),
        )
        for f in kept
    ]
    if more:
        worst = max(f.severity for f in result.findings[FINDINGS_MAX:])
        findings.append(Finding(worst, f"and {more} more findings; `hostward check {result.check}` tells them all"))
    return replace(result, findings=tuple(findings), reason=_cut(result.reason, _TEXT_MAX))


def _cut(text: str, limit: int) -> str:
    text = as_json(text)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _standings(database: sqlite3.Connection) -> dict[str, Standing]:
    found = {}
    for row in database.execute(
        "SELECT check_id, document, kept, since_at, since_boot, since_up, judged_at, judged_boot, judged_up FROM result"
    ):
        result = result_of(_mapping(row[1]))
        found[str(row[0])] = Standing(result, bool(row[2]), _moment(*row[3:6]), _moment(*row[6:9]))
    return found


def _put_standing(database: sqlite3.Connection, id: str, standing: Standing) -> None:
    result, since, judged = standing.result, standing.since, standing.judged
    database.execute(
        "INSERT OR REPLACE INTO result VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(id, result.outcome.value, result.reason, result.applicable, standing.kept, _dump(result)),
            *(since.at, since.boot, since.up, judged.at, judged.boot, judged.up),
        ),
    )


def _transitions(database: sqlite3.Connection, rest: str, values: tuple[Any, ...]) -> list[Transition]:
    columns = "id, at, boot, up, check_id, subject, what, severity, summary, document"
    found = []
    for id, at, boot, up, check, subject, what, severity, summary, document in database.execute(
        f"SELECT {columns} FROM transition {rest}", values
    ):
        texts = (str(check), str(subject), str(what), str(severity), str(summary))
        found.append(Transition(int(id), _moment(at, boot, up), *texts, _mapping(document)))
    return found


def _is_last(database: sqlite3.Connection, t: Transition) -> bool:
    last = database.execute(
        "SELECT what, document FROM transition WHERE check_id = ? AND subject = ? ORDER BY id DESC LIMIT 1",
        (t.check, _cut(t.subject, _LINE_MAX)),
    ).fetchone()
    return last is not None and (last[0], last[1]) == (t.what, _fitting(t.document))


def _put_transitions(database: sqlite3.Connection, transitions: list[Transition], told: bool = False) -> None:
    for t in transitions:
        database.execute(
            "INSERT INTO transition (at, boot, up, check_id, subject, what, severity, summary, document, told)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(t.when.at, t.when.boot, t.when.up, t.check, _cut(t.subject, _LINE_MAX), t.what, t.severity),
                *(_cut(t.summary, _LINE_MAX), _fitting(t.document), told),
            ),
        )
    if transitions:
        database.execute("DELETE FROM transition WHERE id <= (SELECT max(id) FROM transition) - ?", (TRANSITIONS_MAX,))


def _fitting(document: dict[str, Any]) -> str:
    """A transition's document as JSON, its evidence left out from the end and then its texts cut till it fits."""
    document = dict(document)
    text = _dump(document)
    while len(text) > _DOCUMENT_MAX and document.get("evidence"):
        document["evidence"] = document["evidence"][:-1]
        text = _dump(document)
    if len(text) > _DOCUMENT_MAX:
        short = {key: _cut(value, _LINE_MAX) for key, value in document.items() if isinstance(value, str)}
        text = _dump(short)
    return text


def result_of(document: dict[str, Any]) -> Result:
    """A Result from what as_json made of it.  Raises Garbled."""
    try:
        findings = tuple(
            Finding(
                Severity[f["severity"].upper()], f["summary"], f["subject"], tuple(f["evidence"]), f["advice"],
                tuple(f["remedies"]), _references(f["references"]),
            )
            for f in document["findings"]
        )  # fmt: skip
        return Result(
            document["check"], document["title"], Outcome(document["outcome"]), findings, document["reason"],
            document["applicable"], _references(document["references"]),
        )  # fmt: skip
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Garbled(f"a result is not as hostward writes it: {error!r}") from None


def _references(documents: list[dict[str, str]]) -> tuple[Reference, ...]:
    return tuple(Reference(r["text"], r["url"]) for r in documents)


def _moment(at: Any, boot: Any, up: Any) -> Moment:
    try:
        return Moment(float(at), str(boot), float(up))
    except (TypeError, ValueError) as error:
        raise Garbled(f"a time is not as hostward writes it: {error}") from None


def _dump(document: Any) -> str:
    return json.dumps(as_json(document), ensure_ascii=False, separators=(",", ":"))


def _load(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError) as error:
        raise Garbled(f"a document is not as hostward writes it: {error}") from None


def _mapping(text: Any) -> dict[str, Any]:
    document = _load(text)
    if not isinstance(document, dict):
        raise Garbled("a document is not as hostward writes it")
    return document
