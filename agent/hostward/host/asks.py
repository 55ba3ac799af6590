"""Questions to the sockets of programs on this machine.  Only ever a question: nothing asked here changes anything."""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass
from types import TracebackType

from hostward.host.errors import HostError

#: NTP control messages, "mode 6" (RFC 9327): the header, and the two operations that read.
_HEADER = struct.Struct("!BBHHHHH")
READ_STATUS = 1
READ_VARIABLES = 2
_VERSION_AND_MODE = 2 << 3 | 6
_RESPONSE, _ERROR, _MORE = 0x80, 0x40, 0x20
_FRAGMENTS_MAX = 256
_ANSWER_MAX = 65535 + 480


@dataclass(frozen=True)
class Answer:
    """One answer to a control message: the status word of the system or association asked for, and its data."""

    status: int
    data: bytes


class NtpControl:
    """A line to the ntpd of this machine, over UDP on the loopback; `with NtpControl() as line: line.ask(...)`.

    Each question waits at most `timeout_s`, and is asked again once, since UDP may lose it.
    """

    def __init__(self, timeout_s: float = 1.0, address: str = "127.0.0.1", port: int = 123) -> None:
        self.name = f"{address}:{port}"
        self.timeout_s = timeout_s
        self._sequence = 0
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            # A connected socket hears its peer only, and hears of it when nobody listens there.
            self._socket.connect((address, port))
        except OSError as error:
            raise HostError(self.name, f"cannot be asked: {error.strerror}") from None

    def ask(self, operation: int, association: int = 0, data: bytes = b"") -> Answer:
        """The whole answer, put together from its fragments.  Raises HostError: no answer, or it says an error."""
        for attempt in (1, 2):
            self._sequence = self._sequence % 65535 + 1
            head = _HEADER.pack(_VERSION_AND_MODE, operation, self._sequence, 0, association, 0, len(data))
            try:
                self._socket.send(head + data + b"\0" * (-len(data) % 4))
                answer = self._collect(operation, association)
            except OSError as error:
                raise HostError(self.name, f"does not answer control messages: {error.strerror or error}") from None
            if answer is not None:
                return answer
            if attempt == 2:
                break
        raise HostError(self.name, f"no answer to a control message within {self.timeout_s:g} s (restrict noquery?)")

    def _collect(self, operation: int, association: int) -> Answer | None:
        """The fragments of an answer in whatever order they come; None when they are not all here in time."""
        deadline = time.monotonic() + self.timeout_s
        parts: dict[int, bytes] = {}
        end = -1
        for _ in range(_FRAGMENTS_MAX):
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._socket.settimeout(left)
            try:
                packet = self._socket.recv(_ANSWER_MAX)
            except socket.timeout:
                return None
            if len(packet) < _HEADER.size:
                continue
            _, what, sequence, status, about, offset, count = _HEADER.unpack_from(packet)
            if sequence != self._sequence or about != association or what & 0x1F != operation or not what & _RESPONSE:
                continue
            if what & _ERROR:
                raise HostError(self.name, f"refuses a control message: error {status >> 8}")
            parts[offset] = packet[_HEADER.size : _HEADER.size + count]
            if not what & _MORE:
                end = offset + count
            if end >= 0:
                whole = _joined(parts)
                if whole is not None and len(whole) == end:
                    return Answer(status, whole)
        return None

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> NtpControl:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()


def _joined(parts: dict[int, bytes]) -> bytes | None:
    """The fragments one after another; None while one is missing."""
    whole = b""
    for offset in sorted(parts):
        if offset != len(whole):
            return None
        whole += parts[offset]
    return whole


def realtime_s() -> float:
    """CLOCK_REALTIME, for the age of what carries a date of this machine's own clock."""
    return time.time()
