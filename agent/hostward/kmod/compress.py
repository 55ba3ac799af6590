"""The compressions of kernels, modules and initramfs images: told apart by their first bytes, inflated within bounds.

gzip, bzip2, xz and lzma are Python's own. zstd, lz4 and LZO are asked of the libraries that the host's own tools link
(libzstd.so.1, liblz4.so.1, liblzo2.so.2), loaded only when such data is met. Formats: lib/decompress*.c of the kernel.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Iterator
from typing import Any, Protocol

#: How the kernel tells formats apart (lib/decompress.c); the name is the one its configuration uses.
_MAGIC = (
    (b"\x1f\x8b", "gzip"),
    (b"\x1f\x9e", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x02\x21\x4c\x18", "lz4"),
    (b"\x89LZO\x00\r\n\x1a\n", "lzo"),
    (b"\x5d\x00\x00", "lzma"),
)
#: The largest dictionary or window any of them may ask for, in bytes; the kernel's own limit for zstd is 128 MiB.
WINDOW_MAX = 128 << 20
#: No kernel image inflates to more than this many times its length (the real ones to 6 to 10 times).
INFLATED_RATIO_MAX = 32
#: How much is handed to a decompressor and taken from it at a time, in bytes.
_FED = 64 << 20
_GIVEN = 1 << 20


class BadData(Exception):
    """Compressed data that can't be inflated: broken, larger than it may be, or no library for it here."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NoLibrary(BadData):
    """Sound or not, it can't be told here: the library for this format is not installed."""


def packing(head: bytes) -> str:
    """The format that data beginning with `head` is in, "" for none of them."""
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    return ""


class Inflater(Protocol):
    """What lzma.LZMADecompressor is: fed piecewise, gives at most `max_length` bytes at a time, knows its end."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def inflater(name: str) -> Inflater:
    """A fresh decompressor of that format.  Its decompress raises BadData; so does this where a library is missing."""
    if name == "gzip":
        return _Gzip()
    if name == "bzip2":
        import bz2

        return _Guarded(name, bz2.BZ2Decompressor(), (OSError, ValueError, EOFError))
    if name in ("xz", "lzma"):
        import lzma

        which = lzma.FORMAT_XZ if name == "xz" else lzma.FORMAT_ALONE
        return _Guarded(
            name, lzma.LZMADecompressor(which, memlimit=WINDOW_MAX + (32 << 20)), (lzma.LZMAError, EOFError)
        )
    if name == "zstd":
        return _Zstd()
    if name in ("lz4", "lzo"):
        return _Blocks(_Lz4() if name == "lz4" else _Lzo())
    raise BadData(f"no compression is called {name!r}")


def inflate(data: Any, limit: int) -> bytes:
    """All that compressed `data` holds (its first stream; what follows it is ignored).

    Raises BadData when it is broken, cut short, or would be longer than `limit` bytes.
    """
    chunks = list(_chunks(data, limit, _FED))
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def inflate_large(data: Any, limit: int) -> bytearray:
    """As inflate, for what comes to tens of MB: never twice in memory."""
    found = bytearray()
    for chunk in _chunks(data, limit, _GIVEN):
        found += chunk
    return found


def inflate_to(size: int, data: Any) -> mmap.mmap:
    """As inflate, where it is known how long it will be: memory is taken once, and none for pages of zeros.

    Raises BadData when it is another length, or more than data of that length may hold.
    """
    if not 0 < size <= INFLATED_RATIO_MAX * len(data):
        raise BadData(f"it says of itself that it inflates to {size} bytes, which it can't")
    found = mmap.mmap(-1, size)
    if packing(bytes(data[:16])) == "zstd":
        # In one go zstd needs no window beside what it writes; a kernel's is 128 MiB.
        _zstd_whole(bytes(data), found)
        return found
    at = 0
    for chunk in _chunks(data, size, _GIVEN):
        if chunk.count(0) != len(chunk):
            found[at : at + len(chunk)] = chunk
        at += len(chunk)
    if at != size:
        raise BadData(f"it inflates to {at} bytes and says {size}")
    return found


def _chunks(data: Any, limit: int, fed: int) -> Iterator[bytes]:
    name = packing(bytes(data[:16]))
    stream = inflater(name)
    at = got = 0
    while True:
        piece = bytes(data[at : at + fed]) if stream.needs_input or not at else b""
        at += len(piece)
        chunk = stream.decompress(piece, min(limit + 1 - got, _GIVEN))
        got += len(chunk)
        if got > limit:
            raise BadData(f"{name} data that inflates to more than the {limit} bytes that make sense here")
        yield chunk
        if stream.eof:
            return
        if not chunk and stream.needs_input and at >= len(data):
            if may_end(name, stream):
                return
            raise BadData(f"{name} data that is cut short")


def may_end(name: str, stream: Inflater) -> bool:
    """Whether the data may end here though the stream did not say so: lz4's legacy frames have no end mark."""
    return isinstance(stream, _Blocks) and name == "lz4" and stream.ends_whole()


class _Guarded:
    """A decompressor of Python's own whose errors become BadData."""

    def __init__(self, name: str, inner: Any, errors: tuple[type[Exception], ...]) -> None:
        self._name = name
        self._inner = inner
        self._errors: tuple[type[Exception], ...] = (*errors, MemoryError)

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def needs_input(self) -> bool:
        return bool(self._inner.needs_input)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inner.unused_data)

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        try:
            return bytes(self._inner.decompress(data, max_length))
        except self._errors as error:
            raise BadData(f"broken {self._name} data: {error}") from None


class _Gzip:
    """zlib with gzip's header; zlib keeps the input it had no room for apart, so it is fed again from here."""

    def __init__(self) -> None:
        import zlib

        self._errors: tuple[type[Exception], ...] = (zlib.error,)
        self._inner = zlib.decompressobj(31)
        self._pending = b""

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._pending and not self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        try:
            out = self._inner.decompress(self._pending + data, max(max_length, 0))
        except self._errors as error:
            raise BadData(f"broken gzip data: {error}") from None
        self._pending = self._inner.unconsumed_tail
        return out


def _library(name: str, what: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(name)
    except OSError:
        raise NoLibrary(f"{what} data, and {name} to inflate it is not installed") from None


class _Buffer(ctypes.Structure):
    """ZSTD_inBuffer and ZSTD_outBuffer (zstd.h)."""

    _fields_ = (("address", ctypes.c_void_p), ("size", ctypes.c_size_t), ("position", ctypes.c_size_t))


def _zstd_whole(data: bytes, target: mmap.mmap) -> None:
    """Fills `target` with what one frame holds.  Raises BadData where it holds more or less."""
    library = _library("libzstd.so.1", "zstd")
    for name in ("ZSTD_decompress", "ZSTD_findFrameCompressedSize"):
        getattr(library, name).restype = ctypes.c_size_t
    library.ZSTD_findFrameCompressedSize.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    library.ZSTD_decompress.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
    library.ZSTD_isError.argtypes = [ctypes.c_size_t]
    frame = library.ZSTD_findFrameCompressedSize(data, len(data))
    room = (ctypes.c_char * len(target)).from_buffer(target)
    if library.ZSTD_isError(frame) or library.ZSTD_decompress(room, len(target), data, frame) != len(target):
        raise BadData("broken zstd data, or not as long as it says")


class _Zstd:
    """Streaming zstd by libzstd; one frame, as the kernel's unzstd takes it."""

    def __init__(self) -> None:
        library = _library("libzstd.so.1", "zstd")
        library.ZSTD_createDStream.restype = ctypes.c_void_p
        library.ZSTD_freeDStream.argtypes = [ctypes.c_void_p]
        library.ZSTD_decompressStream.restype = ctypes.c_size_t
        library.ZSTD_decompressStream.argtypes = [ctypes.c_void_p, ctypes.POINTER(_Buffer), ctypes.POINTER(_Buffer)]
        library.ZSTD_isError.argtypes = [ctypes.c_size_t]
        library.ZSTD_getErrorName.argtypes = [ctypes.c_size_t]
        library.ZSTD_getErrorName.restype = ctypes.c_char_p
        library.ZSTD_DCtx_setParameter.restype = ctypes.c_size_t
        library.ZSTD_DCtx_setParameter.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
        self._library = library
        self._stream = library.ZSTD_createDStream()
        if not self._stream:
            raise BadData("libzstd has no memory for a stream")
        window_log_max = 100  # ZSTD_d_windowLogMax
        library.ZSTD_DCtx_setParameter(self._stream, window_log_max, WINDOW_MAX.bit_length() - 1)
        self._pending = b""
        self._starved = True
        self.eof = False
        self.unused_data = b""

    @property
    def needs_input(self) -> bool:
        return self._starved and not self.eof

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        source = self._pending + data
        room = max(1 << 17, 8 * len(source))  # a small module must not cost a large buffer
        if max_length >= 0:
            room = min(room, max_length)
        if self.eof or room == 0:
            return b""
        target = ctypes.create_string_buffer(room)
        entry = _Buffer(ctypes.cast(ctypes.c_char_p(source), ctypes.c_void_p), len(source), 0)
        out = _Buffer(ctypes.cast(target, ctypes.c_void_p), room, 0)
        while out.position < room:
            before = entry.position, out.position
            left = self._library.ZSTD_decompressStream(self._stream, ctypes.byref(out), ctypes.byref(entry))
            if self._library.ZSTD_isError(left):
                raise BadData(f"broken zstd data: {self._library.ZSTD_getErrorName(left).decode()}")
            if left == 0:
                self.eof = True
                self.unused_data = source[entry.position :]
                break
            if (entry.position, out.position) == before:
                break
        self._pending = b"" if self.eof else source[entry.position :]
        self._starved = not self._pending and out.position < room
        return ctypes.string_at(target, out.position)

    def __del__(self) -> None:
        if getattr(self, "_stream", None):
            self._library.ZSTD_freeDStream(self._stream)


class _Format(Protocol):
    """A format of independent blocks."""

    def block(self, data: bytes, at: int) -> tuple[int, bytes] | None:
        """(where the block ends, what it holds) of the block at `at`; None when more input is needed.

        Raises _End(where the data ends) after the last block, BadData for what is broken.
        """


class _End(Exception):
    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


class _Blocks:
    """A decompressor over blocks: whole blocks are inflated, and handed out as asked for."""

    def __init__(self, form: _Format) -> None:
        self._format = form
        self._input = b""
        self._at = 0
        self._output = b""
        self._ended = False
        self.unused_data = b""

    @property
    def needs_input(self) -> bool:
        return not self._output and not self._ended

    @property
    def eof(self) -> bool:
        return self._ended and not self._output

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        if data:
            self._input = self._input[self._at :] + data
            self._at = 0
        parts = [self._output]
        have = len(self._output)
        while not self._ended and (max_length < 0 or have < max_length):
            try:
                found = self._format.block(self._input, self._at)
            except _End as end:
                self.unused_data = self._input[end.at :]
                self._ended = True
                break
            if found is None:
                break
            self._at, piece = found
            parts.append(piece)
            have += len(piece)
        whole = b"".join(parts)
        cut = len(whole) if max_length < 0 else max_length
        self._output = whole[cut:]
        return whole[:cut]

    def ends_whole(self) -> bool:
        """Whether the input ended with a block: all the end there is to lz4's legacy frames."""
        return self._at == len(self._input)


class _Lz4:
    """lz4's legacy frame (lib/decompress_unlz4.c): a magic, then blocks of a 32-bit size and at most 8 MiB inflated.

    It has no end mark: a size of 0 or more than a block can have, or another magic, ends it.
    """

    BLOCK = 8 << 20

    def __init__(self) -> None:
        self._library = _library("liblz4.so.1", "lz4")
        self._begun = False

    def block(self, data: bytes, at: int) -> tuple[int, bytes] | None:
        start = at if self._begun else at + 4
        if len(data) < start + 4:
            return None
        (size,) = struct.unpack_from("<I", data, start)
        self._begun = True
        if size == 0x184C2102:  # another frame begins
            return start + 4, b""
        if size == 0 or size > self.BLOCK + self.BLOCK // 255 + 16:
            raise _End(start)
        if len(data) < start + 4 + size:
            self._begun = start == at
            return None
        # A byte stands for 255 at most; millions of tiny blocks must not cost 8 MiB each.
        room = min(self.BLOCK, 255 * size + 64)
        target = ctypes.create_string_buffer(room)
        got = self._library.LZ4_decompress_safe(data[start + 4 : start + 4 + size], target, size, room)
        if got < 0:
            raise BadData("broken lz4 data")
        return start + 4 + size, ctypes.string_at(target, got)


class _Lzo:
    """lzop's container (lib/decompress_unlzo.c): a header, then blocks with their inflated and packed sizes."""

    BLOCK = 256 << 10

    def __init__(self) -> None:
        self._library = _library("liblzo2.so.2", "LZO")
        self._library.lzo1x_decompress_safe.argtypes = [
            ctypes.c_char_p,
            ctypes.c_ulong,
            ctypes.c_char_p,
            ctypes.POINTER(ctypes.c_ulong),
            ctypes.c_void_p,
        ]
        self._header = False
        self._flags = 0

    def block(self, data: bytes, at: int) -> tuple[int, bytes] | None:
        if not self._header:
            return self._skip_header(data, at)
        if len(data) < at + 4:
            return None
        (inflated,) = struct.unpack_from(">I", data, at)
        if inflated == 0:
            raise _End(at + 4)
        if len(data) < at + 8:
            return None
        (packed,) = struct.unpack_from(">I", data, at + 4)
        if inflated > self.BLOCK or packed > inflated:
            raise BadData("broken LZO data: a block larger than any can be")
        # Checksums: of the inflated data (adler32, crc32), and of the packed data where that is smaller.
        head = at + 8 + 4 * bool(self._flags & 0x1) + 4 * bool(self._flags & 0x100)
        if packed < inflated:
            head += 4 * bool(self._flags & 0x2) + 4 * bool(self._flags & 0x200)
        if len(data) < head + packed:
            return None
        piece = data[head : head + packed]
        if packed == inflated:
            return head + packed, piece
        target = ctypes.create_string_buffer(inflated)
        got = ctypes.c_ulong(inflated)
        status = self._library.lzo1x_decompress_safe(piece, packed, target, ctypes.byref(got), None)
        if status != 0 or got.value != inflated:
            raise BadData("broken LZO data")
        return head + packed, target.raw

    def _skip_header(self, data: bytes, at: int) -> tuple[int, bytes] | None:
        """The header's fields (lzop's own format): only the flags matter here."""
        if len(data) < at + 9 + 34:
            return None
        (version,) = struct.unpack_from(">H", data, at + 9)
        at += 9 + 2 + 2 + (2 if version >= 0x940 else 0) + 1 + (1 if version >= 0x940 else 0)
        (self._flags,) = struct.unpack_from(">I", data, at)
        at += 4 + (4 if self._flags & 0x800 else 0) + 4 + 4 + (4 if version >= 0x940 else 0)
        if len(data) < at + 1:
            return None
        at += 1 + data[at] + 4
        if len(data) < at:
            return None
        self._header = True
        return at, b""
