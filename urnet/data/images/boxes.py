"""Boxes: what files of the ISO base media format (AVIF, HEIC, MP4) and JP2 consist of."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple


class Box(NamedTuple):
    """Four letters and the place of the content; ``end`` may lie behind the end of the data that was cut off."""

    name: bytes
    start: int
    end: int


def boxes(data: bytes, start: int, end: int) -> Iterator[Box]:
    """The boxes from ``start`` to ``end``, one after the other; one that goes on behind ``end`` is the last."""
    while start + 8 <= min(end, len(data)):
        size, name = struct.unpack_from(">I4s", data, start)
        content = start + 8
        if size == 1:
            size = int.from_bytes(data[content : content + 8], "big")
            content += 8
        stop = end if size == 0 else start + size
        if stop < content:
            return
        yield Box(name, content, stop)
        start = stop


def box(data: bytes, name: bytes, start: int, end: int) -> Box:
    """The first box of this name; raises ValueError where there is none or its end is missing."""
    for found in boxes(data, start, end):
        if found.name == name:
            if found.end > len(data):
                raise ValueError("the header is cut off")
            return found
    raise ValueError(f"its header lacks {name.decode('latin-1').strip()!r}")
