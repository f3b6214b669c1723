"""GIF's first frame: its place and size, and a file that holds nothing else, after the GIF89a specification."""

from __future__ import annotations

import struct


def read_gif(data: bytes) -> tuple[int, int, bool]:
    """Width and height of the screen, enlarged to hold the first frame, and whether that frame is whole."""
    width, height = struct.unpack_from("<HH", data, 6)
    start, end = _first_frame(data)
    if start is not None:
        left, top, w, h = struct.unpack_from("<HHHH", data, start + 1)
        width, height = max(width, left + w), max(height, top + h)
    return width, height, start is not None and end <= len(data)


def only_first_frame(data: bytes) -> bytes:
    """A GIF of the first frame alone, in which no colour is transparent: decoders read all frames' blocks, and
    show the background for what is transparent, not the colour that is stored."""
    start, end = _first_frame(data)
    width, height, _ = read_gif(data)
    colours = _palette_bytes(data[10])
    background = data[11] if 3 * data[11] < colours else 0
    head = data[:6] + struct.pack("<HHBBB", width, height, data[10], background, 0)
    return head + data[13 : 13 + colours] + data[start:end] + b";"


def _palette_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _first_frame(data: bytes) -> tuple[int | None, int]:
    """Where the first frame begins (None: there is none) and ends: walk the blocks up to the end of its data."""
    at = 13 + _palette_bytes(data[10])
    while at < len(data) and data[at] in (0x21, 0x2C):
        start = at if data[at] == 0x2C else None
        if start is not None and at + 9 < len(data):
            at += 11 + _palette_bytes(data[at + 9])
        else:
            at += 2
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1
        if start is not None:
            return start, at
    return None, at
