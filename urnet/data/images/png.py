"""PNG's chunks: the walk to the end, and the still picture of an animated file."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple


class Chunk(NamedTuple):
    """Four letters, where the content lies; the chunk itself has 8 bytes before it and a checksum of 4 behind."""

    name: bytes
    start: int
    end: int


def chunks(data: bytes) -> Iterator[Chunk]:
    """Every chunk whose beginning is there, to IEND; the last one's end may be missing."""
    at = 8
    while at + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        yield Chunk(name, at + 8, at + 8 + length)
        if name == b"IEND":
            return
        at += 12 + length


def read_png(data: bytes) -> tuple[int, int, bool]:
    """Width, height and whether IEND is there: OpenCV reserves what a length claims, 4 GiB for a file of 100 bytes."""
    if data[12:16] == b"CgBI":
        raise ValueError("a PNG file in Apple's own form, which cannot be read; convert it to JPEG")
    if data[12:16] != b"IHDR":
        raise ValueError("the PNG header is broken")
    width, height = struct.unpack_from(">II", data, 16)
    return width, height, any(chunk.name == b"IEND" and chunk.end + 4 <= len(data) for chunk in chunks(data))


def still(data: bytes) -> bytes:
    """An animated file without its animation: the picture that every viewer shows, from IDAT."""
    if b"acTL" not in data:
        return data
    kept = [chunk for chunk in chunks(data) if chunk.name not in (b"acTL", b"fcTL", b"fdAT")]
    return data[:8] + b"".join(data[chunk.start - 8 : chunk.end + 4] for chunk in kept)
