"""What the real tools pack is inflated within bounds; what is broken says so."""

from __future__ import annotations

import random
import shutil
import subprocess

import pytest

from hostward.kmod.compress import BadData, inflate, inflater, packing

TOOLS = {
    "gzip": ["gzip", "-9nc"],
    "bzip2": ["bzip2", "-9c"],
    "xz": ["xz", "--check=crc32", "-c"],
    "lzma": ["xz", "--format=lzma", "-c"],
    "zstd": ["zstd", "-q", "-19", "--ultra", "-c"],
    "lz4": ["lz4", "-q", "-l", "-9", "-c"],
    "lzo": ["lzop", "-9c"],
}
PLAIN = b"".join(b"symbol_%d\0" % (n * n) for n in range(60_000)) + random.Random(1).randbytes(100_000)


def packed(name: str, data: bytes = PLAIN) -> bytes:
    argv = TOOLS[name]
    if shutil.which(argv[0]) is None:
        pytest.skip(f"{argv[0]} is not installed: nothing packed by the real tool to read")
    return subprocess.run(argv, input=data, capture_output=True, check=True).stdout


@pytest.mark.parametrize("name", TOOLS)
def test_what_the_real_tool_packs(name: str) -> None:
    data = packed(name)
    assert packing(data[:16]) == name
    assert inflate(data, len(PLAIN)) == PLAIN


@pytest.mark.parametrize("name", TOOLS)
def test_larger_than_allowed_is_refused_before_it_is_held(name: str) -> None:
    import tracemalloc

    bomb = packed(name, bytes(64 << 20))
    tracemalloc.start()
    with pytest.raises(BadData, match="more than the 1000000 bytes"):
        inflate(bomb, 1_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < len(bomb) * 3 + (24 << 20)


@pytest.mark.parametrize("name", TOOLS)
def test_cut_short(name: str) -> None:
    data = packed(name)
    with pytest.raises(BadData):
        inflate(data[: len(data) // 2], len(PLAIN))


@pytest.mark.parametrize("name", TOOLS)
def test_fed_in_small_pieces_and_followed_by_something_else(name: str) -> None:
    data = packed(name) + (b"\0\0\0\0next" if name == "lz4" else b"next")
    stream = inflater(name)
    out = []
    for at in range(0, len(data), 7001):
        piece = data[at : at + 7001]
        while not stream.eof:
            got = stream.decompress(piece, 50_000)
            assert len(got) <= 50_000
            out.append(got)
            piece = b""
            if stream.needs_input:
                break
        if stream.eof:
            rest = stream.unused_data + data[at + 7001 :]
            break
    assert b"".join(out) == PLAIN
    assert rest.endswith(b"next") and len(rest) <= 8


@pytest.mark.parametrize("name", TOOLS)
def test_broken_data_is_bad_data_and_nothing_else(name: str) -> None:
    whole = packed(name, PLAIN[:20_000])
    draw = random.Random(name)
    for _ in range(300):
        broken = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            broken[draw.randrange(len(broken))] = draw.randrange(256)
        try:
            assert len(inflate(bytes(broken), 100_000)) <= 100_000
        except BadData:
            pass
