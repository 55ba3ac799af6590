"""Control messages to an ntpd of the test's own, over real UDP on the loopback."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from hostward.host.asks import READ_STATUS, READ_VARIABLES, NtpControl
from hostward.host.errors import HostError

Server = Callable[[Callable[[bytes, int], list[bytes]]], int]


def packet(
    request: bytes, data: bytes, offset: int = 0, more: bool = False, status: int = 0, error: bool = False
) -> bytes:
    _, operation, sequence, _, association, _, _ = struct.unpack("!BBHHHHH", request[:12])
    what = 0x80 | (0x40 if error else 0) | (0x20 if more else 0) | operation
    return struct.pack("!BBHHHHH", 0x16, what, sequence, status, association, offset, len(data)) + data


@pytest.fixture
def server() -> Iterator[Server]:
    """Serves answers(request, number of the request) on a port of its own."""
    line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    line.bind(("127.0.0.1", 0))

    def start(answers: Callable[[bytes, int], list[bytes]]) -> int:
        def serve() -> None:
            for number in range(1000):
                try:
                    request, sender = line.recvfrom(4096)
                except OSError:
                    return
                for answer in answers(request, number):
                    line.sendto(answer, sender)

        threading.Thread(target=serve, daemon=True).start()
        port: int = line.getsockname()[1]
        return port

    yield start
    line.close()


def test_the_question_is_a_read_and_nothing_else(server: Server) -> None:
    seen: list[bytes] = []
    port = server(lambda request, _: [seen.append(request) or packet(request, b"leap=0", status=0x0614)])  # type: ignore[func-returns-value]
    with NtpControl(port=port) as line:
        answer = line.ask(READ_VARIABLES, 7)
    assert (answer.status, answer.data) == (0x0614, b"leap=0")
    assert seen == [struct.pack("!BBHHHHH", 0x16, 2, 1, 0, 7, 0, 0)]


def test_fragments_in_any_order_and_twice(server: Server) -> None:
    def answers(request: bytes, _: int) -> list[bytes]:
        last = packet(request, b"three", 8)
        return [packet(request, b"two.", 4, more=True), last, last, packet(request, b"one.", 0, more=True)]

    with NtpControl(port=server(answers)) as line:
        assert line.ask(READ_VARIABLES).data == b"one.two.three"


def test_a_lost_packet_is_asked_for_again(server: Server) -> None:
    def answers(request: bytes, number: int) -> list[bytes]:
        return [] if number == 0 else [packet(request, b"leap=0")]

    with NtpControl(0.2, port=server(answers)) as line:
        assert line.ask(READ_VARIABLES).data == b"leap=0"


def test_late_and_foreign_answers_are_passed_over(server: Server) -> None:
    def answers(request: bytes, _: int) -> list[bytes]:
        old = request[:2] + b"\xff\xff" + request[4:]
        other = request[:6] + b"\x00\x09" + request[8:]
        return [packet(old, b"old"), packet(other, b"other"), request, b"", b"short", packet(request, b"right")]

    with NtpControl(port=server(answers)) as line:
        assert line.ask(READ_STATUS).data == b"right"


def test_no_answer_within_its_time(server: Server) -> None:
    with (
        NtpControl(0.1, port=server(lambda request, _: [])) as line,
        pytest.raises(HostError, match="restrict noquery"),
    ):
        line.ask(READ_STATUS)


def test_an_answer_that_never_ends_ends_at_the_time_limit(server: Server) -> None:
    def answers(request: bytes, _: int) -> list[bytes]:
        return [packet(request, b"x", offset, more=True) for offset in range(200)]

    with NtpControl(0.3, port=server(answers)) as line, pytest.raises(HostError, match="no answer"):
        line.ask(READ_STATUS)


def test_a_refusal(server: Server) -> None:
    port = server(lambda request, _: [packet(request, b"", status=0x0100, error=True)])
    with NtpControl(port=port) as line, pytest.raises(HostError, match="refuses a control message: error 1"):
        line.ask(READ_VARIABLES)


def test_nobody_listens() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with NtpControl(port=port) as line, pytest.raises(HostError, match="Connection refused"):
        line.ask(READ_STATUS)
