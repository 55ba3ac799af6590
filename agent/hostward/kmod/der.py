"""DER as the kernel's decoder takes it (lib/asn1_decoder.c): it checks lengths, and not that they are the shortest."""

from __future__ import annotations

#: The decoder takes no more than this, and answers EMSGSIZE.
DER_MAX = 65535
BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, OID = 0x01, 0x02, 0x03, 0x04, 0x06
SEQUENCE, SET = 0x30, 0x31


class BadDer(ValueError):
    """Bytes that are no DER, or not the value that was asked for."""


class Der:
    """Values one after the other between two places of `data`.  Every method raises BadDer."""

    __slots__ = ("at", "data", "end")

    def __init__(self, data: bytes, at: int = 0, end: int | None = None) -> None:
        self.data, self.at = data, at
        self.end = len(data) if end is None else end

    @property
    def tag(self) -> int:
        """The next value's tag; -1 at the end."""
        return self.data[self.at] if self.at < self.end else -1

    def take(self, tag: int = -1) -> Der:
        """The content of the next value, which is of that tag (any, for -1)."""
        at, end, data = self.at, self.end, self.data
        if at + 2 > end:
            raise BadDer("cut short")
        if data[at] & 0x1F == 0x1F or (tag >= 0 and data[at] != tag):
            raise BadDer(f"tag {data[at]:#x} where {tag:#x} should be")
        length, at = data[at + 1], at + 2
        if length & 0x80:
            count = length & 0x7F
            if not 1 <= count <= 2 or at + count > end:
                raise BadDer("a length in a form that is not taken")
            length, at = int.from_bytes(data[at : at + count], "big"), at + count
        if at + length > end:
            raise BadDer("longer than what holds it")
        self.at = at + length
        return Der(data, at, at + length)

    def maybe(self, *tags: int) -> Der | None:
        """The content of the next value if it is of one of these tags."""
        return self.take() if self.tag in tags else None

    def value(self, tag: int = -1) -> bytes:
        return self.take(tag).rest()

    def whole(self, tag: int = -1) -> bytes:
        """The next value with its own tag and length."""
        start = self.at
        self.take(tag)
        return self.data[start : self.at]

    def rest(self) -> bytes:
        return self.data[self.at : self.end]

    def done(self) -> None:
        if self.at != self.end:
            raise BadDer("more data than expected")


def parse_oid(der: Der) -> bytes:
    """The object identifier of an AlgorithmIdentifier, which is the next value; what follows it there is skipped."""
    inner = der.take(SEQUENCE)
    oid = inner.value(OID)
    if inner.at < inner.end:
        inner.take()
    inner.done()
    return oid
