"""The agent's configuration: /etc/hostward/hostward.yaml and its drop-ins, every key checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from hostward.host import Host, Missing
from hostward.model import RepairClass
from hostward.yamldoc import ConfigError, Document, nearest

PATH = "/etc/hostward/hostward.yaml"
DROPINS = "/etc/hostward/hostward.d"
#: By how much a clock may be off, in seconds, before what depends on it fails: Kerberos' clockskew (krb5.conf(5)),
#: Ceph's mon_clock_drift_allowed, etcd's warning; a live migration hands a guest from one host's clock to another's.
CLOCK_USES = {"kerberos": 300.0, "tls": 60.0, "etcd": 1.0, "live-migration": 0.5, "ceph": 0.05}


@dataclass(frozen=True)
class SwitchedOff:
    """A check switched off: why, until which day (inclusive), and where that is written."""

    reason: str
    until: date
    where: str = ""


@dataclass(frozen=True)
class Config:
    """Every setting with its default; config/hostward.yaml ships the same values with their explanations."""

    #: Checks switched off, by id.
    disabled_checks: dict[str, SwitchedOff] = field(default_factory=dict)
    #: Who has to agree before a remedy is applied, by its id, where that is not the remedy's own default.
    repair_classes: dict[str, RepairClass] = field(default_factory=dict)
    #: How long `fix` waits for another hostward that is repairing, in seconds.
    lock_wait_s: float = 30.0
    #: How many lines of evidence the text report shows under a finding.
    evidence_lines: int = 8
    #: What depends on the clock here, by the names that checks/clock_truth.py gives limits for.
    clock_uses: tuple[str, ...] = ("kerberos", "tls")
    #: The most that a clock may gain or lose, in ppm.
    clock_drift_ppm: float = 50.0
    #: The most that a guest's clock may differ from its host's, in seconds.
    clock_guest_offset_s: float = 0.1
    #: What libvirt's hook does about a guest with a finding of severity error: "warn", or "refuse" to start it.
    guests_hook: str = "warn"
    #: The most that the RTC may differ from the system clock, in seconds.
    clock_rtc_offset_s: float = 2.0
    #: Where the daemon writes its figures for node_exporter: a path, "auto" for where it looks by default, "" for none.
    prometheus_textfile: str = "auto"
    #: How long a program that is asked for a fact may take, in seconds.
    program_timeout_s: float = 10.0
    #: Where each check or remedy id was named, for errors that only show once all ids are known.
    where: dict[str, str] = field(default_factory=dict)

    def verify_ids(self, checks: Iterable[str], remedies: dict[str, RepairClass]) -> None:
        """Raises ConfigError for an id in the configuration that no check or remedy has, and for a remedy made freer
        than it may be (`remedies`: the freest class of each)."""
        for kind, named, known in (
            ("check", list(self.disabled_checks), list(checks)),
            ("remedy", list(self.repair_classes), list(remedies)),
        ):
            for name in named:
                if name not in known:
                    raise ConfigError(self.where.get(name, PATH), f"no {kind} is called {name}{nearest(name, known)}")
        order = list(RepairClass)
        for name, wanted in self.repair_classes.items():
            if order.index(wanted) < order.index(remedies[name]):
                raise ConfigError(
                    self.where.get(name, PATH),
                    f"repair.classes.{name}: never {wanted.value} in hostward; the most is {remedies[name].value}",
                )


def _disabled(file: Document, node: Any, into: dict[str, Any]) -> None:
    for id, key, value in file.mapping(node, "checks.disabled"):
        what = f"checks.disabled.{id}"
        given = dict(file.known(value, what, ("reason", "until")))
        for wanted in ("reason", "until"):
            if wanted not in given:
                raise ConfigError(
                    file.at(key), f"{what} needs {wanted}: a check is switched off for a reason, until a day"
                )
        reason = file.scalar(given["reason"], "a text", f"{what}.reason").strip()
        if not reason:
            raise ConfigError(file.at(given["reason"]), f"{what}.reason is empty: say why this check is off")
        text = file.scalar(given["until"], "a date such as 2027-01-31", f"{what}.until")
        try:
            until = date.fromisoformat(text)
        except ValueError:
            raise ConfigError(
                file.at(given["until"]), f"{what}.until: {text} is not a day such as 2027-01-31"
            ) from None
        into.setdefault("disabled_checks", {})[id] = SwitchedOff(reason, until, file.at(key))
        into["where"][id] = file.at(key)


def _classes(file: Document, node: Any, into: dict[str, Any]) -> None:
    words = {kind.value: kind for kind in RepairClass}
    for id, key, value in file.mapping(node, "repair.classes"):
        word = file.scalar(value, "a text", f"repair.classes.{id}")
        if word not in words:
            raise ConfigError(
                file.at(value), f"repair.classes.{id}: {word} is none of {', '.join(words)}{nearest(word, words)}"
            )
        into.setdefault("repair_classes", {})[id] = words[word]
        into["where"][id] = file.at(key)


def _evidence_lines(file: Document, node: Any, into: dict[str, Any]) -> None:
    into["evidence_lines"] = int(file.number(node, "a whole number", "report.evidence-lines", 1, 10_000))


def _program_timeout(file: Document, node: Any, into: dict[str, Any]) -> None:
    into["program_timeout_s"] = file.number(node, "a number", "limits.program-timeout-s", 0.1, 3600)


def _clock_uses(file: Document, node: Any, into: dict[str, Any]) -> None:
    uses = []
    for item in file.sequence(node, "clock.uses"):
        use = file.scalar(item, "a text", "an entry of clock.uses")
        if use not in CLOCK_USES:
            raise ConfigError(file.at(item), f"clock.uses: no use is called {use}{nearest(use, CLOCK_USES)}")
        uses.append(use)
    into["clock_uses"] = tuple(uses)


def _hook(file: Document, node: Any, into: dict[str, Any]) -> None:
    word = file.scalar(node, "a text", "guests.hook")
    if word not in ("warn", "refuse"):
        raise ConfigError(file.at(node), f"guests.hook: {word} is neither warn nor refuse")
    into["guests_hook"] = word


def _textfile(file: Document, node: Any, into: dict[str, Any]) -> None:
    path = file.scalar(node, "a text", "prometheus.textfile")
    if path not in ("", "auto") and not (path.startswith("/") and path.endswith(".prom")):
        raise ConfigError(
            file.at(node), f'prometheus.textfile: {path} is neither auto, "" nor an absolute path that ends in .prom'
        )
    into["prometheus_textfile"] = path


def _number(setting: str, what: str, low: float, high: float) -> Callable[[Document, Any, dict[str, Any]], None]:
    def read(file: Document, node: Any, into: dict[str, Any]) -> None:
        into[setting] = file.number(node, "a number", what, low, high)

    return read


#: section -> key -> what reads it.  The one list of keys there are.
_KEYS: dict[str, dict[str, Callable[[Document, Any, dict[str, Any]], None]]] = {
    "checks": {"disabled": _disabled},
    "repair": {
        "classes": _classes,
        "lock-wait-s": _number("lock_wait_s", "repair.lock-wait-s", 0, 3600),
    },
    "clock": {
        "uses": _clock_uses,
        "drift-ppm": _number("clock_drift_ppm", "clock.drift-ppm", 0.1, 10_000),
        "guest-offset-s": _number("clock_guest_offset_s", "clock.guest-offset-s", 0.000_01, 3600),
        "rtc-offset-s": _number("clock_rtc_offset_s", "clock.rtc-offset-s", 0.01, 86400),
    },
    "guests": {"hook": _hook},
    "prometheus": {"textfile": _textfile},
    "report": {"evidence-lines": _evidence_lines},
    "limits": {"program-timeout-s": _program_timeout},
}


def _apply(path: str, data: bytes, into: dict[str, Any]) -> None:
    file = Document(path, data)
    if file.root is None:
        return
    for section, body in file.known(file.root, "the configuration", _KEYS):
        if body.tag.endswith(":null"):
            continue
        for key, value in file.known(body, section, _KEYS[section]):
            if value.tag.endswith(":null"):
                raise ConfigError(
                    file.at(value), f"{section}.{key} has no value; leave the line out to keep the default"
                )
            _KEYS[section][key](file, value, into)


def load(path: str = "") -> Config:
    """The configuration of this agent: PATH (or `path`) and the drop-ins in name order, later ones winning.

    Without a file the defaults hold.  Raises ConfigError, or HostError for a file that can't be read.
    """
    here = Host.running()
    settings: dict[str, Any] = {"where": {}}
    files = [path or PATH]
    if not path:
        try:
            files += [f"{DROPINS}/{name}" for name in here.names(DROPINS) if name.endswith(".yaml")]
        except Missing:
            pass
    for name in files:
        try:
            data = here.read(name)
        except Missing:
            if path:
                raise
            continue
        _apply(name, data, settings)
    return Config(**settings)
