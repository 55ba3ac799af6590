"""systemd's signals: against a bus of the test's own, and whatever bytes a bus could send."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostward.host.dbus import MESSAGE_MAX, BusError, SystemdSignals, UnitSignal, escaped, parse
from tests.lab.debs import NotAtHand

MANAGER = "/org/freedesktop/systemd1"


def text(value: str, order: str = "<") -> bytes:
    return struct.pack(f"{order}I", len(value)) + value.encode() + b"\0"


def message(
    kind: int, path: str, interface: str, member: str, signature: str = "", body: bytes = b"", *,
    order: str = "<", reply_to: int = 0, to: str = "", serial: int = 1, sender: str = ":1.1",
) -> bytes:  # fmt: skip
    """A message as the specification has it, in either byte order."""
    fields = [
        (1, "o", path),
        (2, "s", interface),
        (3, "s", member),
        (6, "s", to),
        (7, "s", sender),
        (8, "g", signature),
    ]
    header = b""
    for code, type_, value in fields:
        if value:
            header += b"\0" * (-len(header) % 8) + bytes((code, 1)) + type_.encode() + b"\0"
            header += bytes((len(value),)) + value.encode() + b"\0" if type_ == "g" else text(value, order)
    if reply_to:
        header += b"\0" * (-len(header) % 8) + bytes((5, 1)) + b"u\0" + struct.pack(f"{order}I", reply_to)
    start = struct.pack(
        f"{order}BBBBIII", ord("l" if order == "<" else "B"), kind, 0, 1, len(body), serial, len(header)
    )
    return start + header + b"\0" * (-(len(start) + len(header)) % 8) + body


def changed(unit: str, *names: str, order: str = "<", sender: str = ":1.1") -> bytes:
    """PropertiesChanged of a unit with these properties, each a text."""
    entries = b""
    for name in names:
        entries += b"\0" * (-len(entries) % 8) + text(name, order) + b"\1s\0"
        entries += b"\0" * (-len(entries) % 4) + text("x", order)
    body = text("org.freedesktop.systemd1.Unit", order)
    body += b"\0" * (-len(body) % 4) + struct.pack(f"{order}I", len(entries))
    body += b"\0" * (-len(body) % 8) + entries
    body += b"\0" * (-len(body) % 4) + struct.pack(f"{order}I", 0)
    path = f"{MANAGER}/unit/{escaped(unit)}"
    return message(
        4, path, "org.freedesktop.DBus.Properties", "PropertiesChanged", "sa{sv}as", body, order=order, sender=sender
    )


class Bus:
    """A bus of one client: it authenticates, answers every call that wants an answer, and says what it is told."""

    def __init__(self, path: Path, answers: dict[str, tuple[str, bytes]] | None = None, mute: bool = False) -> None:
        self.path = str(path)
        self.calls: list[str] = []
        self.rules: list[str] = []
        self._answers = answers or {}
        self._mute = mute
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(self.path)
        self._listening.listen()
        self.client: socket.socket | None = None
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        client, _ = self._listening.accept()
        line = b""
        while not line.endswith(b"\r\n"):
            line += client.recv(1)
        assert line.startswith(b"\0AUTH EXTERNAL ")
        client.sendall(b"OK 0123456789abcdef\r\n")
        while client.recv(1) != b"\n":
            pass
        self.client = client
        data = b""
        while True:
            try:
                more = client.recv(65536)
            except OSError:
                return
            if not more:
                return
            data += more
            while True:
                asked, used = parse(data)
                if asked is None:
                    break
                serial, flags = struct.unpack_from("<I", data, 8)[0], data[2]
                data = data[used:]
                self.calls.append(asked.member)
                if "Match" in asked.member:
                    self.rules.append(f"{asked.member} {asked.values()[0]}")
                if not flags & 1 and not self._mute:
                    signature, body = self._answers.get(asked.member, ("", b""))
                    client.sendall(message(2, "", "", "", signature, body, reply_to=serial))

    def told(self, what: str, unit: str) -> list[str]:
        """The rules of this kind about a unit, once there are any."""
        deadline = time.monotonic() + 5
        while True:
            found = [rule for rule in self.rules if rule.startswith(what) and unit in rule]
            if found or time.monotonic() > deadline:
                return found
            time.sleep(0.01)

    def say(self, *messages: bytes) -> None:
        assert self.client is not None
        for one in messages:
            self.client.sendall(one)


@pytest.fixture
def bus(tmp_path: Path) -> Bus:
    return Bus(tmp_path / "bus", {"Get": ("v", b"\1s\0\0" + text("starting")), "GetNameOwner": ("s", text(":1.1"))})


def heard(signals: SystemdSignals, count: int = 1) -> list[UnitSignal]:
    import select

    found: list[UnitSignal] = []
    deadline = time.monotonic() + 5
    while len(found) < count and time.monotonic() < deadline:
        if select.select([signals], [], [], 0.2)[0]:
            found += signals.read()
    return found


def test_a_unit_that_is_watched_is_heard_and_no_other(bus: Bus) -> None:
    signals = SystemdSignals(bus.path)
    assert bus.calls[:2] == ["Hello", "AddMatch"] and bus.calls[-1] == "Subscribe"
    signals.watch(["chrony.service", "systemd-timesyncd.service"])
    bus.say(changed("cron.service", "ActiveState"), changed("chrony.service", "ActiveState", "SubState"))
    assert heard(signals) == [UnitSignal("unit", "chrony.service")]
    (rule,) = bus.told("AddMatch", "chrony")
    assert rule == (
        "AddMatch type='signal',sender='org.freedesktop.systemd1',"
        "path='/org/freedesktop/systemd1/unit/chrony_2eservice',"
        "interface='org.freedesktop.DBus.Properties',member='PropertiesChanged'"
    )
    signals.watch(["systemd-timesyncd.service"])
    bus.say(changed("chrony.service", "ActiveState"), changed("systemd-timesyncd.service", "LoadState"))
    assert heard(signals) == [UnitSignal("unit", "systemd-timesyncd.service")]
    assert len(bus.told("RemoveMatch", "chrony")) == 1
    signals.close()


def test_what_comes_with_every_breath_is_not_heard(bus: Bus) -> None:
    signals = SystemdSignals(bus.path)
    signals.watch(["chrony.service"])
    bus.say(changed("chrony.service", "ActiveEnterTimestamp", "MemoryCurrent"), changed("chrony.service", "SubState"))
    assert heard(signals) == [UnitSignal("unit", "chrony.service")]


def test_the_managers_own_signals(bus: Bus) -> None:
    signals = SystemdSignals(bus.path)
    manager = "org.freedesktop.systemd1.Manager"
    bus.say(
        message(4, MANAGER, manager, "UnitFilesChanged"),
        message(4, MANAGER, manager, "Reloading", "b", struct.pack("<I", 1)),
        message(4, MANAGER, manager, "Reloading", "b", struct.pack("<I", 0)),
        message(4, MANAGER, manager, "StartupFinished", "tttttt", struct.pack("<6Q", 1, 2, 3, 4, 5, 6)),
        message(4, MANAGER, manager, "JobNew", "u", struct.pack("<I", 7)),
    )
    assert heard(signals, 3) == [UnitSignal("files"), UnitSignal("reloaded"), UnitSignal("started")]


def test_the_state_and_what_comes_before_its_answer(bus: Bus) -> None:
    signals = SystemdSignals(bus.path)
    signals.watch(["chrony.service"])
    bus.say(changed("chrony.service", "ActiveState"))
    time.sleep(0.1)
    assert signals.state() == "starting"
    assert signals.read() == [UnitSignal("unit", "chrony.service")], "kept for the next read"


def test_the_other_byte_order(bus: Bus) -> None:
    signals = SystemdSignals(bus.path)
    signals.watch(["chrony.service"])
    bus.say(changed("chrony.service", "ActiveState", order=">"))
    assert heard(signals) == [UnitSignal("unit", "chrony.service")]


def test_a_message_in_pieces(bus: Bus) -> None:
    signals = SystemdSignals(bus.path)
    signals.watch(["chrony.service"])
    whole = changed("chrony.service", "ActiveState")
    for at in range(0, len(whole), 7):
        bus.say(whole[at : at + 7])
        time.sleep(0.001)
    assert heard(signals) == [UnitSignal("unit", "chrony.service")]


def test_a_bus_that_ends(bus: Bus) -> None:
    signals = SystemdSignals(bus.path)
    assert bus.client is not None
    bus.say(message(4, MANAGER, "org.freedesktop.systemd1.Manager", "UnitFilesChanged"))
    bus.client.shutdown(socket.SHUT_RDWR)
    assert heard(signals)[:1] == [UnitSignal("files")], "what it said before counts"
    with pytest.raises(BusError, match="the bus is gone"):
        for _ in range(10):
            signals.read()
            time.sleep(0.02)


def test_a_bus_that_never_answers_is_not_waited_for_long(tmp_path: Path) -> None:
    mute = Bus(tmp_path / "bus", mute=True)
    begun = time.monotonic()
    with pytest.raises(BusError, match=r"no answer to Hello within 0\.3 s"):
        SystemdSignals(mute.path, 0.3)
    assert time.monotonic() - begun < 3


def test_no_bus_at_all(tmp_path: Path) -> None:
    with pytest.raises(BusError, match="systemd's signals can't be heard: No such file"):
        SystemdSignals(str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("unit", "label"),
    [("chrony.service", "chrony_2eservice"), ("a-b@c.service", "a_2db_40c_2eservice"), ("2x", "_32x"), ("", "_")],
)
def test_units_in_paths(unit: str, label: str) -> None:
    assert escaped(unit) == label


SAMPLES = [
    changed("chrony.service", "ActiveState", "SubState"),
    changed("chrony.service", "ActiveState", order=">"),
    message(4, MANAGER, "org.freedesktop.systemd1.Manager", "StartupFinished", "tttttt", b"\0" * 48),
]


CHANGES = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=8)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(SAMPLES), CHANGES, st.integers(0, 400))
def test_changed_bytes_are_an_error_or_a_message_and_never_a_hang(
    sample: bytes, changes: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(sample)
    for at, value in changes:
        data[at % len(data)] = value
    try:
        made, _ = parse(bytes(data[: cut or len(data)]))
        if made is not None:
            made.values()
    except BusError:
        pass


@pytest.mark.parametrize(
    "signature",
    ["a()", "a" * 200 + "s", "(" * 100 + "s" + ")" * 100, "a{", "v", "z", "aaaaaaaaaaay"],
)
def test_types_that_would_never_end(signature: str) -> None:
    body = struct.pack("<I", 64) + b"\0" * 64
    begun = time.monotonic()
    made, _ = parse(message(4, "/x", "a.b", "C", signature, body))
    assert made is not None
    try:
        made.values()
    except BusError:
        pass
    assert time.monotonic() - begun < 1


def test_any_user_can_send_us_signals_and_none_of_them_counts(bus: Bus) -> None:
    signals = SystemdSignals(bus.path)
    signals.watch(["chrony.service"])
    manager, stranger = "org.freedesktop.systemd1.Manager", ":1.99"
    path = f"{MANAGER}/unit/{escaped('chrony.service')}"
    properties = "org.freedesktop.DBus.Properties"
    array = struct.pack("<I", 0)
    bus.say(
        changed("chrony.service", "ActiveState", sender=stranger),
        message(4, MANAGER, manager, "UnitFilesChanged", sender=stranger),
        message(4, "/", "org.freedesktop.DBus", "NameOwnerChanged", "sss", b"", sender=stranger),
        # What systemd itself would never say: other types, a body cut short.
        message(4, path, properties, "PropertiesChanged", "sa{sv}aas", text("x") + b"\0" * 2 + array * 4),
        message(4, path, properties, "PropertiesChanged", "sa{sv}as", b"\xff"),
        changed("chrony.service", "ActiveState"),
    )
    assert heard(signals) == [UnitSignal("unit", "chrony.service")]


def test_a_message_larger_than_makes_sense_is_passed_over(bus: Bus) -> None:
    signals = SystemdSignals(bus.path)
    signals.watch(["chrony.service"])
    large = message(4, "/x", "a.b", "C", "s", text("x" * (3 * MESSAGE_MAX)), sender=":1.99")
    said = (large, changed("chrony.service", "ActiveState"), large, changed("chrony.service", "SubState"))
    threading.Thread(target=bus.say, args=said, daemon=True).start()  # more than the socket holds
    assert heard(signals, 2) == [UnitSignal("unit", "chrony.service")] * 2
    assert len(signals._buffer) < MESSAGE_MAX


def test_systemd_under_another_name_on_the_bus(bus: Bus) -> None:
    signals = SystemdSignals(bus.path)
    signals.watch(["chrony.service"])
    body = b""
    for value in ("org.freedesktop.systemd1", ":1.1", ":1.7"):
        body += b"\0" * (-len(body) % 4) + text(value)
    bus.say(
        message(4, "/org/freedesktop/DBus", "org.freedesktop.DBus", "NameOwnerChanged", "sss", body,
                sender="org.freedesktop.DBus"),
        changed("chrony.service", "ActiveState", sender=":1.1"),
        changed("chrony.service", "ActiveState", sender=":1.7"),
    )  # fmt: skip
    assert heard(signals) == [UnitSignal("unit", "chrony.service")]


def test_many_small_messages_take_no_more_than_their_number() -> None:
    data = message(4, MANAGER, "a.b", "C") * 20_000
    begun, at, count = time.monotonic(), 0, 0
    while True:
        made, length = parse(data, at)
        if made is None:
            break
        at += length
        count += 1
    assert count == 20_000 and time.monotonic() - begun < 10


CONFIGURATION = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/>
<allow receive_sender="*"/><allow own="*"/><allow user="*"/></policy>
</busconfig>
"""


@pytest.fixture
def real_bus(tmp_path: Path) -> Iterator[str]:
    program = shutil.which("dbus-daemon")
    if program is None:
        raise NotAtHand("dbus-daemon is not installed")
    path = tmp_path / "real"
    (tmp_path / "bus.conf").write_text(CONFIGURATION.format(path=path))
    argv = [program, "--nofork", "--nopidfile", f"--config-file={tmp_path}/bus.conf"]
    process = subprocess.Popen(argv, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    yield str(path)
    process.kill()
    process.wait()


def test_a_real_bus_without_systemd_says_so(real_bus: str) -> None:
    """Authentication, Hello and the match rules are taken by the reference implementation; nobody owns the name."""
    with pytest.raises(BusError, match=r"GetNameOwner: org\.freedesktop\.DBus\.Error\."):
        SystemdSignals(real_bus)
