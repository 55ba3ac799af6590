"""What the journal is told of a transition: words for people, fields for programs, ids that stay."""

from __future__ import annotations

from dataclasses import replace

from hostward import checks
from hostward.daemon.messages import KINDS, fields, message, message_id, tell
from hostward.host.moment import Moment
from hostward.host.state import Transition

NOW = Moment(1_790_000_000.0, "boot-a", 100.0)
FOUND = Transition(
    7, NOW, "clock.no-keeper", "chrony", "appeared", "error", "nothing keeps the clock",
    {"advice": "Enable one.", "evidence": ["a", "b"], "references": ["https://x/1"], "remedies": ["r.one"]},
)  # fmt: skip


class Recorder:
    def __init__(self, room: int = 99) -> None:
        self.room = room
        self.sent: list[tuple[str, dict[str, str]]] = []

    def send(self, message: str, fields: dict[str, str]) -> bool:
        if len(self.sent) == self.room:
            return False
        self.sent.append((message, fields))
        return True


def test_ids_stay_for_ever_and_are_one_each() -> None:
    assert message_id("appeared", "clock.no-keeper") == "50a56c269a535e9ab90a14e863dda07d"
    assert message_id("changed", "clock.no-keeper") == message_id("appeared", "clock.no-keeper")
    assert message_id("gone", "clock.no-keeper") == message_id("gone", "modules.next-boot")
    ids = [message_id("appeared", id) for id in checks.load_all()] + [message_id(kind) for kind in KINDS]
    assert len(set(ids)) == len(ids)


def test_words() -> None:
    assert message(FOUND) == "clock.no-keeper: nothing keeps the clock"
    before = {"before": {"severity": "warning", "summary": "x"}}
    assert message(replace(FOUND, what="changed", document=before)).endswith("keeps the clock (was: warning)")
    gone = replace(FOUND, what="gone", document={"why": "a container"})
    assert message(gone) == "clock.no-keeper: no longer so: nothing keeps the clock (a container)"
    blind = replace(FOUND, what="blind", document={"why": "no answer", "kept": 1})
    assert message(blind) == "clock.no-keeper: can't be judged: no answer; its 1 finding of before may still be so"
    assert message(replace(FOUND, what="sighted", document={})) == "clock.no-keeper: can be judged again"


def test_fields() -> None:
    found = fields(FOUND, NOW)
    assert found["PRIORITY"] == "3" and found["SYSLOG_IDENTIFIER"] == "hostward"
    assert found["HOSTWARD_EVIDENCE"] == "a\nb" and found["HOSTWARD_REFERENCES"] == "https://x/1"
    assert found["HOSTWARD_TRANSITION"] == "appeared" and found["HOSTWARD_SUBJECT"] == "chrony"
    assert "HOSTWARD_WHEN" not in found and "HOSTWARD_WHY" not in found
    assert fields(replace(FOUND, what="gone"), NOW)["PRIORITY"] == "5", "that an error is gone is no error"
    assert fields(replace(FOUND, severity="warning"), NOW)["PRIORITY"] == "4"
    assert all(
        len(value) <= 4000 for value in fields(replace(FOUND, document={"evidence": ["x" * 99] * 999}), NOW).values()
    )


def test_what_nothing_takes_is_left_for_later_in_order() -> None:
    recorder = Recorder(room=2)
    assert tell(recorder, [replace(FOUND, id=n) for n in (1, 2, 3)], NOW) == [1, 2]  # type: ignore[arg-type]


def test_what_is_told_late_says_when_it_was() -> None:
    recorder = Recorder()
    late = [replace(FOUND, when=Moment(0.0, "boot-a", -200.0)), replace(FOUND, when=Moment(0.0, "boot-0", 9e9))]
    tell(recorder, late, NOW)  # type: ignore[arg-type]
    assert recorder.sent[0][0].endswith("[told late: it happened 5 min ago]")
    assert recorder.sent[1][0].endswith("[told late: it happened before the last boot]")
    assert all(sent["HOSTWARD_WHEN"].startswith("1970-01-01") for _, sent in recorder.sent)
