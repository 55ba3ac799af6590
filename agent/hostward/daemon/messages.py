"""What the daemon tells the journal: for each transition an entry with fields, its MESSAGE_ID explained by the catalog.

A MESSAGE_ID is made of the kind of message, and for a finding of its check, so that it stays the same for ever:
`journalctl MESSAGE_ID=...` finds every appearance of one finding on any host.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from hostward import __version__
from hostward.daemon.transitions import APPEARED, BLIND, CHANGED, GONE, SIGHTED
from hostward.host.moment import Moment, date_words, span_words

if TYPE_CHECKING:
    from hostward.host.journald import JournalWriter
    from hostward.host.state import Transition

#: The namespace of the ids (RFC 4122, version 5); never to be changed.
NAMESPACE = "7f0c3b0e-6f0e-5a57-9d5c-2c8b1f7f6a11"
REPAIRED, UNDONE, FAILED, GAVE_UP = "repaired", "repair-undone", "repair-failed", "gave-up"
DAMAGED, START, CLOCK_SET = "state-damaged", "start", "clock-set"
BAD_CONFIG, UNWRITABLE, NO_TEXTFILE = "configuration-error", "state-unwritable", "textfile-unwritable"
#: The kinds of messages that have one id each, whatever check they are about.
KINDS = (GONE, BLIND, SIGHTED, REPAIRED, UNDONE, FAILED, GAVE_UP, DAMAGED, START, CLOCK_SET, BAD_CONFIG,
         UNWRITABLE, NO_TEXTFILE)  # fmt: skip

#: Results of no check, on the agent's own footing, and the kinds that their findings are told as.
CONFIGURATION, STATE, TEXTFILE = "hostward.configuration", "hostward.state", "hostward.textfile"
_OWN = {CONFIGURATION: BAD_CONFIG, STATE: UNWRITABLE, TEXTFILE: NO_TEXTFILE}

_PRIORITIES = {"error": "3", "warning": "4", "info": "6"}
_QUIET = {GONE: "5", SIGHTED: "5", REPAIRED: "5", START: "6", CLOCK_SET: "5"}
#: What the subject of a finding begins with that says that a remedy, named after it, is not tried any more.
GAVE_UP_ON = "repair "
_FIELD_MAX = 4_000
#: What is told later than this after it happened carries its time in the message.
_LATE_S = 60


def message_id(kind: str, check: str = "") -> str:
    """The MESSAGE_ID, 32 hexadecimal digits: of the findings of a check (`appeared` and `changed`), or of a kind."""
    import uuid

    name = kind
    if kind in (APPEARED, CHANGED):
        name = _OWN.get(check) or f"finding {check}"
    return uuid.uuid5(uuid.UUID(NAMESPACE), name).hex


def _id(t: Transition) -> str:
    if t.what in (APPEARED, CHANGED) and t.subject.startswith(GAVE_UP_ON):
        return message_id(GAVE_UP)
    return message_id(t.what, t.check)


def message(t: Transition) -> str:
    """The entry's MESSAGE, one line."""
    why = str(t.document.get("why", ""))
    because = f" ({why})" if why else ""
    if t.what == APPEARED:
        return f"{t.check}: {t.summary}"
    if t.what == CHANGED:
        was = t.document.get("before", {})
        severity = was.get("severity", "") if isinstance(was, dict) else ""
        return f"{t.check}: {t.summary}" + (f" (was: {severity})" if severity and severity != t.severity else "")
    if t.what == GONE:
        return f"{t.check}: no longer so: {t.summary}{because}"
    if t.what == BLIND:
        kept = t.document.get("kept", 0)
        rest = f"; its {kept} finding{'s' * (kept != 1)} of before may still be so" if kept else ""
        return f"{t.check}: can't be judged: {why}{rest}"
    if t.what == SIGHTED:
        return f"{t.check}: can be judged again"
    return f"{t.summary}{because}"


def fields(t: Transition, now: Moment) -> dict[str, str]:
    """The entry's other fields, bounded."""
    found: dict[str, Any] = {
        "MESSAGE_ID": _id(t),
        "PRIORITY": _QUIET.get(t.what, _PRIORITIES.get(t.severity, "6")),
        "SYSLOG_IDENTIFIER": "hostward",
        "HOSTWARD_VERSION": __version__,
        "HOSTWARD_TRANSITION": t.what,
        "HOSTWARD_CHECK": t.check,
        "HOSTWARD_SUBJECT": t.subject,
        "HOSTWARD_SEVERITY": t.severity,
        "HOSTWARD_SUMMARY": t.summary,
        "HOSTWARD_ADVICE": t.document.get("advice", ""),
        "HOSTWARD_EVIDENCE": t.document.get("evidence", ()),
        "HOSTWARD_REFERENCES": t.document.get("references", ()),
        "HOSTWARD_REMEDIES": t.document.get("remedies", ()),
        "HOSTWARD_WHY": t.document.get("why", ""),
        "HOSTWARD_REPAIR": t.document.get("repair", ""),
        "HOSTWARD_REMEDY": t.subject[len(GAVE_UP_ON) :] if t.subject.startswith(GAVE_UP_ON) else "",
    }
    if _late(t, now):
        found["HOSTWARD_WHEN"] = date_words(t.when.at)
    texts = {key: value if isinstance(value, str) else _lines(value) for key, value in found.items()}
    return {key: text[:_FIELD_MAX] for key, text in texts.items() if text}


def _lines(value: Any) -> str:
    return "\n".join(str(line) for line in value) if isinstance(value, (list, tuple)) else str(value)


def _late(t: Transition, now: Moment) -> bool:
    return not t.when.same_boot(now) or t.when.age_s(now) > _LATE_S


def tell(writer: JournalWriter, transitions: Iterable[Transition], now: Moment) -> list[int]:
    """Sends transitions in their order, up to the first that nothing takes.  Returns the ids of those sent."""
    sent = []
    for t in transitions:
        text = message(t)
        if _late(t, now):
            ago = span_words(t.when.age_s(now)) + " ago" if t.when.same_boot(now) else "before the last boot"
            text = f"{text} [told late: it happened {ago}]"
        if not writer.send(text, fields(t, now)):
            break
        sent.append(t.id)
    return sent
