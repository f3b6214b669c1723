"""What a TIFF file's first directory says, and the same file written so that OpenCV gives the colours as stored.

After TIFF 6.0 and BigTIFF. OpenCV multiplies colours by an alpha that is stored next to them, and turns some kinds of
file whatever it is asked for: both are said otherwise in a copy of the directory, and done here.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

_MOST_STRIPS = 1 << 16  # a strip has 8 KiB as a rule; more of them, a thousand times over, would take minutes
_CODES = {1: "B", 3: "H", 4: "I", 7: "B", 16: "Q"}
SUBFILE, WIDTH, HEIGHT, PHOTOMETRIC, ORIENTATION = 254, 256, 257, 262, 274
BITS, PLANES = 258, 284
STRIPS, STRIP_BYTES, TILES, TILE_BYTES = 273, 279, 324, 325
SUB_DIRECTORIES, EXTRA_SAMPLES, XMP, DNG_VERSION = 330, 338, 700, 50706


class _Entry(NamedTuple):
    kind: int
    n: int
    start: int  # of its values


class Directory:
    """The first directory of a TIFF file; where a tag stands twice, its first entry."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._order = "<" if data[:2] == b"II" else ">"
        (version,) = struct.unpack_from(self._order + "H", data, 2)
        big = version == 43
        offset, in_place, size = ("Q", 8, 20) if big else ("I", 4, 12)
        (at,) = struct.unpack_from(self._order + offset, data, 8 if big else 4)
        (n,) = struct.unpack_from(self._order + ("Q" if big else "H"), data, at)
        at += 8 if big else 2
        self._entries: dict[int, _Entry] = {}
        for _ in range(min(n, 1000)):
            tag, kind, count = struct.unpack_from(self._order + "HH" + offset, data, at)
            start = at + 4 + in_place
            if kind in _CODES and struct.calcsize(_CODES[kind]) * count > in_place:
                (start,) = struct.unpack_from(self._order + offset, data, start)
            self._entries.setdefault(tag, _Entry(kind, count, start))
            at += size

    def __contains__(self, tag: int) -> bool:
        return tag in self._entries

    def values(self, tag: int) -> tuple[int, ...]:
        """A tag's whole numbers; none where it is not there. Raises ValueError where they are cut off or too many."""
        kind, count, start = self._entries.get(tag, _Entry(0, 0, 0))
        code = _CODES.get(kind)
        if code is None:
            return ()
        if start + count * struct.calcsize(code) > len(self._data):
            raise ValueError("the header is cut off")
        if count > _MOST_STRIPS:
            raise ValueError(f"the TIFF header lists {count} strips; at most {_MOST_STRIPS} are accepted")
        return struct.unpack_from(f"{self._order}{count}{code}", self._data, start)

    def first(self, tag: int, default: int) -> int:
        """A tag's first number; ``default`` where there is none to be read."""
        try:
            return next(iter(self.values(tag)), default)
        except ValueError:
            return default

    def text(self, tag: int) -> bytes:
        """A tag's bytes."""
        entry = self._entries.get(tag, _Entry(0, 0, 0))
        return self._data[entry.start : entry.start + entry.n] if entry.kind in (1, 7) else b""

    def put(self, copy: bytearray, tag: int, value: int) -> None:
        """Write another first number into a copy of the file."""
        kind, _, start = self._entries[tag]
        struct.pack_into(self._order + _CODES[kind], copy, start, value)


def read_tiff(data: bytes) -> tuple[int, int, bool]:
    """Width, height, and whether all strips or tiles lie inside the file."""
    directory = Directory(data)
    if not directory.values(WIDTH) or not directory.values(HEIGHT):
        raise ValueError("the TIFF header is broken")
    if _is_raw(directory):
        raise ValueError("a camera's raw picture, which cannot be read; convert it to JPEG")
    starts = directory.values(STRIPS) or directory.values(TILES)
    lengths = directory.values(STRIP_BYTES) or directory.values(TILE_BYTES)
    if len(starts) != len(lengths):
        raise ValueError("the TIFF header is broken")
    whole = all(start + length <= len(data) for start, length in zip(starts, lengths, strict=True)) and len(starts) > 0
    return directory.first(WIDTH, 0), directory.first(HEIGHT, 0), whole


def _is_raw(directory: Directory) -> bool:
    """DNG, NEF, ARW and their like: a TIFF whose first picture is a small preview, or values of a sensor."""
    preview = directory.first(SUBFILE, 0) & 1 and SUB_DIRECTORIES in directory
    return bool(preview) or DNG_VERSION in directory or directory.first(PHOTOMETRIC, 0) in (32803, 34892)


def as_stored(data: bytes) -> tuple[bytes, bool]:
    """The file, not turned, alpha not to be multiplied in; and whether the colours are stored multiplied by it."""
    directory = Directory(data)
    alpha = directory.first(EXTRA_SAMPLES, 0)
    if alpha == 1 and directory.first(PLANES, 1) == 2 and directory.first(BITS, 1) == 16:
        raise ValueError("a TIFF file of 16 bits in planes, multiplied by alpha, cannot be decoded; convert it to PNG")
    turned = directory.first(ORIENTATION, 1) != 1
    if not turned and alpha != 2:
        return data, alpha == 1
    copy = bytearray(data)
    if turned:
        directory.put(copy, ORIENTATION, 1)
    if alpha == 2:
        directory.put(copy, EXTRA_SAMPLES, 1)
    return bytes(copy), alpha == 1
