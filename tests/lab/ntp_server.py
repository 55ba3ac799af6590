"""An NTP server whose clock is as wrong as a test wants it: RFC 5905, mode 4, nothing else.

    ntp_server.py ADDRESS:OFFSET_S:STRATUM:LEAP ...

serves each address on UDP port 123 with the system clock plus an offset. It sets no clock.
"""

from __future__ import annotations

import select
import socket
import struct
import sys
import time

EPOCH = 2_208_988_800  # seconds from 1900 to 1970


def stamp(seconds: float) -> bytes:
    return struct.pack("!Q", int((seconds + EPOCH) * 2**32) & (2**64 - 1))


def main(arguments: list[str]) -> None:
    served = {}
    for argument in arguments:
        address, *errors = argument.split(":")
        line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        line.bind((address, 123))
        served[line] = (float(errors[0]), int(errors[1]), int(errors[2]))
    while True:
        for line in select.select(list(served), [], [])[0]:
            request, sender = line.recvfrom(512)
            offset, stratum, leap = served[line]
            now = time.time() + offset
            if len(request) < 48 or request[0] & 7 != 3:
                continue
            version = request[0] >> 3 & 7
            head = struct.pack("!BBBb", leap << 6 | version << 3 | 4, stratum, request[2], -20)
            # A root delay and dispersion of 1 ms each, in 16.16 seconds; the reference is 16 s old.
            root = struct.pack("!II", 66, 66) + (b"LAB\0" if stratum == 1 else bytes([192, 0, 2, 1]))
            stamps = stamp(now - 16) + request[40:48] + stamp(now) + stamp(time.time() + offset)
            line.sendto(head + root + stamps, sender)


if __name__ == "__main__":
    main(sys.argv[1:])
