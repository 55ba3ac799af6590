"""systemd's signals about units, by the system bus: as little of D-Bus as that takes.

Wire format and authentication: the D-Bus Specification; the signals: org.freedesktop.systemd1(5).  Any user may send
a signal straight to a connection, so only what systemd itself sent is looked at, by the unique name that the bus says
owns its well-known one.  Everything that comes in is bounded; a message that is too large is passed over unread.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hostward.host.errors import HostError

SYSTEM_BUS = "/run/dbus/system_bus_socket"
#: The largest message that is read; systemd's longest, all properties of a unit, take about 10 KiB.
MESSAGE_MAX = 128 << 10
_HEADER_MAX = 8 << 10
_SYSTEMD = "org.freedesktop.systemd1"
_MANAGER_PATH, _MANAGER = "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"
_UNIT_PATH = f"{_MANAGER_PATH}/unit/"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_BUS, _BUS_PATH = "org.freedesktop.DBus", "/org/freedesktop/DBus"
_CALL, _RETURN, _ERROR, _SIGNAL = 1, 2, 3, 4
_NO_REPLY = 1
#: What of a unit makes a difference; the rest (timestamps, counters of memory) comes with every breath it takes.
_TELLING = {"ActiveState", "SubState", "LoadState", "UnitFileState", "Result"}
_DEPTH_MAX = 32
_WAITING_MAX = 100
_FIXED = {"y": "B", "b": "I", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d", "h": "I"}
_ALIGNED = {"y": 1, "g": 1, "v": 1, "n": 2, "q": 2, "x": 8, "t": 8, "d": 8, "(": 8, "{": 8}


class BusError(HostError):
    """The bus can't be reached, is gone, or speaks nonsense."""


@dataclass(frozen=True)
class UnitSignal:
    """`kind`: "unit" (a watched unit's state changed), "files" (units were enabled, disabled, masked), "reloaded"
    (systemd read its units anew), "started" (the boot is done)."""

    kind: str
    unit: str = ""


class SystemdSignals:
    """A connection to the system bus that hears of the units it watches.  Raises BusError.

    What has to be waited for (connecting, `state`) takes at most `timeout_s`.
    """

    def __init__(self, address: str = "", timeout_s: float = 2.0) -> None:
        self._address = address or SYSTEM_BUS
        self._timeout_s = timeout_s
        self._serial = 0
        self._buffer = b""
        self._pass_over = 0
        self._owner = ""
        self._waiting: list[Message] = []
        self._units: dict[str, str] = {}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.settimeout(timeout_s)
            self._socket.connect(self._address)
            self._authenticate()
            self._socket.setblocking(False)
            self._ask(_BUS, _BUS_PATH, _BUS, "Hello")
            self._add_match(f"type='signal',sender='{_BUS}',member='NameOwnerChanged',arg0='{_SYSTEMD}'")
            answer = self._ask(_BUS, _BUS_PATH, _BUS, "GetNameOwner", "s", (_SYSTEMD,))
            self._owner = str(answer.values()[0])
            for member in ("UnitFilesChanged", "Reloading", "StartupFinished"):
                self._match(f"path='{_MANAGER_PATH}',interface='{_MANAGER}',member='{member}'", True)
            self._ask(_SYSTEMD, _MANAGER_PATH, _MANAGER, "Subscribe")
        except BusError:
            self.close()
            raise
        except OSError as error:
            self.close()
            raise BusError(self._address, f"systemd's signals can't be heard: {error.strerror or error}") from None

    @property
    def fd(self) -> int:
        return self._socket.fileno()

    def fileno(self) -> int:
        return self._socket.fileno()

    def watch(self, units: Iterable[str]) -> None:
        """Hears of these units from here on, and of no other.  Raises BusError."""
        wanted = {_UNIT_PATH + escaped(unit): unit for unit in units}
        for path in set(self._units) ^ set(wanted):
            self._match(f"path='{path}',interface='{_PROPERTIES}',member='PropertiesChanged'", path in wanted)
        self._units = wanted

    def state(self) -> str:
        """systemd's SystemState: initializing, starting, running, degraded, maintenance, stopping.  Raises BusError."""
        answer = self._ask(_SYSTEMD, _MANAGER_PATH, _PROPERTIES, "Get", "ss", (_MANAGER, "SystemState"))
        values = answer.values()
        return str(values[0]) if values else ""

    def read(self) -> list[UnitSignal]:
        """What came since the last read.  Raises BusError once the connection is gone."""
        waiting, self._waiting = self._waiting, []
        found: dict[UnitSignal, None] = {}
        for message in (*waiting, *self._receive()):
            try:
                signal = self._signal(message)
            except BusError:
                continue  # nothing that systemd says of a unit
            if signal is not None:
                found[signal] = None
        return list(found)

    def close(self) -> None:
        self._socket.close()

    def _signal(self, message: Message) -> UnitSignal | None:
        if message.kind != _SIGNAL:
            return None
        if message.sender == _BUS and message.member == "NameOwnerChanged" and message.signature == "sss":
            name, _, owner = message.values()
            if name == _SYSTEMD:
                self._owner = str(owner)
            return None
        if not self._owner or message.sender != self._owner:
            return None  # whoever else can send us signals
        if message.path == _MANAGER_PATH and message.interface == _MANAGER:
            if message.member == "Reloading":
                return None if message.signature != "b" or message.values() == [True] else UnitSignal("reloaded")
            kind = {"UnitFilesChanged": "files", "StartupFinished": "started"}.get(message.member)
            return UnitSignal(kind) if kind else None
        unit = self._units.get(message.path)
        if unit is None or (message.interface, message.member) != (_PROPERTIES, "PropertiesChanged"):
            return None
        if message.signature != "sa{sv}as":
            return None
        _, changed, invalid = message.values()
        return UnitSignal("unit", unit) if _TELLING & {*changed, *invalid} else None

    def _authenticate(self) -> None:
        uid = str(os.geteuid()).encode().hex()
        self._socket.sendall(b"\0AUTH EXTERNAL " + uid.encode() + b"\r\n")
        line = b""
        while not line.endswith(b"\r\n"):
            byte = self._socket.recv(1)
            if not byte or len(line) > 4096:
                raise BusError(self._address, "the bus ended the connection before it began")
            line += byte
        if not line.startswith(b"OK "):
            raise BusError(self._address, f"the bus refuses this user: {line[:80].decode('ascii', 'replace').strip()}")
        self._socket.sendall(b"BEGIN\r\n")

    def _match(self, rule: str, add: bool) -> None:
        self._add_match(f"type='signal',sender='{_SYSTEMD}',{rule}", add)

    def _add_match(self, rule: str, add: bool = True) -> None:
        self._send(_BUS, _BUS_PATH, _BUS, "AddMatch" if add else "RemoveMatch", "s", (rule,), _NO_REPLY)

    def _ask(
        self, to: str, path: str, interface: str, member: str, signature: str = "", values: tuple[str, ...] = ()
    ) -> Message:
        """A call and its answer; what comes between is kept for `read`."""
        serial = self._send(to, path, interface, member, signature, values, 0)
        deadline = time.monotonic() + self._timeout_s
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._socket], [], [], left)[0]:
                raise BusError(self._address, f"no answer to {member} within {self._timeout_s:g} s")
            answer = None
            for message in self._receive():
                if message.kind in (_RETURN, _ERROR) and message.reply_to == serial:
                    answer = message
                elif message.kind == _SIGNAL:
                    self._waiting = [*self._waiting[-_WAITING_MAX:], message]
            if answer is not None:
                if answer.kind == _ERROR:
                    raise BusError(
                        self._address, f"{member}: {answer.error} {' '.join(map(str, answer.values()))}"[:300]
                    )
                return answer

    def _send(
        self, to: str, path: str, interface: str, member: str, signature: str, values: tuple[str, ...], flags: int
    ) -> int:
        self._serial += 1
        body = b""
        for value in values:
            body += b"\0" * (-len(body) % 4) + _string(value)
        fields = [(1, "o", path), (2, "s", interface), (3, "s", member), (6, "s", to)]
        header = b""
        for code, kind, value in (*fields, *([(8, "g", signature)] if signature else [])):
            header += b"\0" * (-len(header) % 8) + bytes((code, 1)) + kind.encode() + b"\0"
            header += bytes((len(value),)) + value.encode() + b"\0" if kind == "g" else _string(value)
        start = struct.pack("<BBBBIII", ord("l"), _CALL, flags, 1, len(body), self._serial, len(header))
        data = start + header + b"\0" * (-(len(start) + len(header)) % 8) + body
        deadline = time.monotonic() + self._timeout_s
        try:
            while data:
                try:
                    data = data[self._socket.send(data) :]
                except BlockingIOError:
                    left = deadline - time.monotonic()
                    if left <= 0 or not select.select([], [self._socket], [], left)[1]:
                        raise BusError(self._address, "the bus takes nothing any more") from None
        except OSError as error:
            raise BusError(self._address, f"the bus is gone: {error.strerror or error}") from None
        return self._serial

    def _receive(self) -> list[Message]:
        """The whole messages that can be had without waiting."""
        gone = False
        while len(self._buffer) <= 2 * MESSAGE_MAX:
            try:
                data = self._socket.recv(65536)
            except BlockingIOError:
                break
            except OSError as error:
                raise BusError(self._address, f"the bus is gone: {error.strerror or error}") from None
            if not data:
                gone = True
                break
            self._buffer += data
        found, at = [], 0
        while True:
            if self._pass_over:
                skipped = min(self._pass_over, len(self._buffer) - at)
                self._pass_over -= skipped
                at += skipped
            message, length = parse(self._buffer, at, self._address)
            if length == 0:
                break
            if message is None:
                self._pass_over = length
            else:
                found.append(message)
                at += length
        self._buffer = self._buffer[at:]
        if gone and not found:
            raise BusError(self._address, "the bus is gone: it ended the connection")
        return found


def escaped(unit: str) -> str:
    """A unit's name as the last part of its object's path: chrony.service -> chrony_2eservice (bus_label_escape)."""
    if not unit:
        return "_"
    data = unit.encode("utf-8", "surrogateescape")
    return "".join(
        chr(c) if chr(c).isascii() and (chr(c).isalpha() or (chr(c).isdigit() and at > 0)) else f"_{c:02x}"
        for at, c in enumerate(data)
    )


@dataclass(frozen=True)
class Message:
    """A message's header; `values` reads its body."""

    kind: int
    path: str
    interface: str
    member: str
    error: str
    sender: str
    signature: str
    reply_to: int
    body: bytes
    order: str

    def values(self) -> list[Any]:
        """Raises BusError for a body that is not of its signature."""
        try:
            return _Reader(self.body, self.order, 0).values(self.signature)
        except (struct.error, IndexError, ValueError, TypeError, RecursionError) as error:
            raise BusError("D-Bus", f"a message of {self.sender} can't be made out: {error}") from None


#: The types that the fields of a header have, by their codes.
_FIELD_TYPES = {1: "o", 2: "s", 3: "s", 4: "s", 5: "u", 6: "s", 7: "s", 8: "g", 9: "u"}


def parse(data: bytes, at: int = 0, where: str = "D-Bus") -> tuple[Message | None, int]:
    """(the message at `at`, its length); (None, 0) while it is not all there, (None, its length) for one that is too
    large to be read.  Raises BusError for what is no message."""
    if len(data) - at < 16:
        return None, 0
    order = {ord("l"): "<", ord("B"): ">"}.get(data[at])
    if order is None or data[at + 3] != 1:
        raise BusError(where, "what the bus sent is no message of D-Bus")
    length, _, fields = struct.unpack_from(f"{order}III", data, at + 4)
    start = 16 + fields + (-(16 + fields) % 8)
    if fields > _HEADER_MAX or start + length > MESSAGE_MAX:
        return None, start + length
    if len(data) - at < start + length:
        return None, 0
    try:
        header = _header(_Reader(data[at : at + 16 + fields], order, 12))
    except (struct.error, IndexError, ValueError, TypeError, RecursionError) as error:
        raise BusError(where, f"a message of the bus can't be made out: {error}") from None
    path, interface, member, error_, sender, signature = (str(header.get(code, "")) for code in (1, 2, 3, 4, 7, 8))
    body = data[at + start : at + start + length]
    return Message(
        data[at + 1], path, interface, member, error_, sender, signature, int(header.get(5, 0)), body, order
    ), start + length


def _header(reader: _Reader) -> dict[int, Any]:
    """The fields of a header, each of the type that it must have.  Raises ValueError."""
    end = reader.value("u", 0) + 16
    found = {}
    while reader.at < end:
        reader.align(8)
        code = reader.value("y", 0)
        kind = reader.value("g", 0)
        if kind != _FIELD_TYPES.get(code, kind) or len(kind) > 1:
            raise ValueError(f"field {code} of a header has the type {kind}")
        found[code] = reader.value(kind, 0)
    return found


class _Reader:
    """Values out of the bytes of one message."""

    def __init__(self, data: bytes, order: str, at: int) -> None:
        self._data = data
        self._order = order
        self.at = at

    def values(self, signature: str) -> list[Any]:
        found, left = [], signature
        while left:
            one = _first(left)
            found.append(self.value(one, 0))
            left = left[len(one) :]
        return found

    def value(self, kind: str, depth: int) -> Any:
        if depth > _DEPTH_MAX:
            raise ValueError("nested too deeply")
        code = kind[0]
        self.align(_ALIGNED.get(code, 4))
        if code in _FIXED:
            (number,) = struct.unpack_from(self._order + _FIXED[code], self._data, self.at)
            self.at += struct.calcsize(_FIXED[code])
            return bool(number) if code == "b" else number
        if code in "so":
            return self._text(self.value("u", depth))
        if code == "g":
            return self._text(self.value("y", depth))
        if code == "v":
            inner = self._text(self.value("y", depth))
            if not inner or _first(inner) != inner:
                raise ValueError("a variant of no single type")
            return self.value(inner, depth + 1)
        if code == "a":
            return self._array(kind[1:], depth)
        if code in "({":
            found, left = [], kind[1:-1]
            if not left:
                raise ValueError("a structure of nothing")
            while left:
                one = _first(left)
                found.append(self.value(one, depth + 1))
                left = left[len(one) :]
            return tuple(found)
        raise ValueError(f"no type is called {code!r}")

    def _array(self, inner: str, depth: int) -> Any:
        length = self.value("u", depth)
        self.align(_ALIGNED.get(inner[0], 4))
        end = self.at + length
        if end > len(self._data):
            raise ValueError("an array longer than its message")
        if inner == "y":
            self.at = end
            return self._data[end - length : end]
        found = []
        while self.at < end:
            found.append(self.value(inner, depth + 1))
        return dict(found) if inner[0] == "{" else found

    def _text(self, length: int) -> str:
        end = self.at + length
        if end >= len(self._data) or self._data[end] != 0:
            raise ValueError("a text without its end")
        text = self._data[self.at : end].decode("utf-8", "replace")
        self.at = end + 1
        return text

    def align(self, size: int) -> None:
        self.at += -self.at % size


def _first(signature: str) -> str:
    """The first complete type of a signature.  Raises ValueError."""
    at = 0
    while at < len(signature) and signature[at] == "a":
        at += 1
    if at >= len(signature) or at > _DEPTH_MAX:
        raise ValueError("a signature without its end")
    if signature[at] not in "({":
        return signature[: at + 1]
    depth = 0
    for end in range(at, len(signature)):
        depth += (signature[end] in "({") - (signature[end] in ")}")
        if depth == 0:
            return signature[: end + 1]
    raise ValueError("a signature without its end")


def _string(text: str) -> bytes:
    data = text.encode("utf-8", "surrogateescape")
    return struct.pack("<I", len(data)) + data + b"\0"
