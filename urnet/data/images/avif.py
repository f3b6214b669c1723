"""What an AVIF file's header says: size, whether its picture's bytes are all there, and how it is to be turned.

After ISO/IEC 14496-12 and 23008-12 (HEIF) and the AVIF specification 1.1. A file has items (pictures and parts of
them) with properties in a list; an animation (brand `avis`) has a track as well, which decoders prefer.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from urnet.data.images.av1 import largest_frame
from urnet.data.images.boxes import Box, box, boxes

_SPARE_PIXELS = 1 << 22  # by which a tile may be larger than the picture that is cut out of it
_MOST_EXTENTS = 1 << 16
# (quarter turns to the left, None | 0: upside down | 1: left to right) -> EXIF's orientation
_ORIENTATIONS: dict[tuple[int, int | None], int] = {
    (0, None): 1,
    (1, None): 8,
    (2, None): 3,
    (3, None): 6,
    (0, 0): 4,
    (1, 0): 5,
    (2, 0): 2,
    (3, 0): 7,
    (0, 1): 2,
    (1, 1): 7,
    (2, 1): 4,
    (3, 1): 5,
}


class Avif(NamedTuple):
    """Size in pixels as stored, whether the picture's bytes are there, EXIF's number for its turn and mirror.

    ``orientation`` None: nothing says it. Of a grey picture: whether its values are 16 to 235, and where the names of
    the boxes are that make another item its alpha. OpenCV takes the values as they are, and cannot decode grey with
    alpha.
    """

    width: int
    height: int
    whole: bool
    orientation: int | None = None
    limited_grey: bool = False
    grey_alpha: tuple[int, ...] = ()


def is_avif(data: bytes) -> bool:
    """Whether a file begins as AVIF does: by its brands, since HEIC has the same form."""
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, min(int.from_bytes(data[:4], "big"), 64), 4))}
    return data[4:8] == b"ftyp" and not brands.isdisjoint((b"avif", b"avis"))


def read_avif(data: bytes) -> Avif:
    """Raises ValueError where the header is broken, struct.error or IndexError where it is cut off."""
    top = list(boxes(data, 0, len(data)))
    if data[8:12] == b"avis" and any(found.name == b"moov" for found in top):
        # of an animation the first frame is decoded, whatever still picture lies next to it
        ends = [found.end for found in top if found.name == b"mdat"]
        return Avif(*_movie(data, box(data, b"moov", 0, len(data))), 0 < max(ends, default=0) <= len(data))
    meta = box(data, b"meta", 0, len(data))
    meta = Box(b"meta", meta.start + 4, meta.end)  # behind version and flags
    main = box(data, b"pitm", meta.start, meta.end)
    primary = _number(data, main.start + 4, 4 if data[main.start] else 2)
    iprp = box(data, b"iprp", meta.start, meta.end)
    ipco = box(data, b"ipco", iprp.start, iprp.end)
    properties = list(boxes(data, ipco.start, ipco.end))
    own = [properties[n - 1] for n in _associated(data, iprp, primary) if 0 < n <= len(properties)]
    width, height = next((_ispe(data, found) for found in own if found.name == b"ispe"), (0, 0))
    parts = _extents(data, meta)
    places = [place for item in parts.values() for place in item]
    whole = all(place.stop <= len(data) for place in places)
    if whole and sum(place.stop - place.start for place in places) > 2 * len(data):
        raise ValueError("the AVIF header is broken")
    for item in _items(data, meta, b"av01") if whole else ():
        _check_frames(b"".join(data[place] for place in parts.get(item, ())), width, height)
    turns = {found.name: data[found.start] for found in own if found.name in (b"irot", b"imir")}
    mirror = turns[b"imir"] & 1 if b"imir" in turns else None
    orientation = _ORIENTATIONS[turns.get(b"irot", 0) & 3, mirror] if turns else None
    grey = any(found.name == b"av1C" and data[found.start + 2] & 0x10 for found in own)
    ranges = [data[found.start + 10] for found in own if data[found.start - 4 : found.start + 4] == b"colrnclx"]
    limited = any(not full & 0x80 for full in ranges)
    alpha = tuple(found.start - 4 for found in properties if found.name == b"auxC")
    return Avif(width, height, whole, orientation, grey and limited, alpha if grey else ())


def _ispe(data: bytes, found: Box) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", data, found.start + 4)
    return width, height


def _check_frames(av1: bytes, width: int, height: int) -> None:
    """Raise ValueError where a picture's data would be decoded to far more pixels than the file claims."""
    w, h = largest_frame(av1)
    if w * h > width * height + _SPARE_PIXELS:
        raise ValueError(f"the AVIF header claims {width} x {height} pixels, its data {w} x {h}")


def _movie(data: bytes, moov: Box) -> tuple[int, int]:
    """Width and height of the largest track."""
    largest = (0, 0)
    tracks = [found for found in boxes(data, moov.start, moov.end) if found.name == b"trak"]
    for trak in tracks:
        header = box(data, b"tkhd", trak.start, trak.end)
        width, height = struct.unpack_from(">II", data, header.end - 8)  # in 1/65536
        largest = max(largest, (width >> 16, height >> 16), key=lambda size: size[0] * size[1])
    for trak in tracks:
        table = trak
        for name in (b"mdia", b"minf", b"stbl"):
            table = box(data, name, table.start, table.end)
        sizes = box(data, b"stsz", table.start, table.end)
        size = _number(data, sizes.start + 4, 4) or _number(data, sizes.start + 12, 4)
        for chunks in boxes(data, table.start, table.end):
            if chunks.name in (b"stco", b"co64"):
                start = _number(data, chunks.start + 8, 4 if chunks.name == b"stco" else 8)
                _check_frames(data[start : start + size], *largest)
    return largest


def _number(data: bytes, at: int, size: int) -> int:
    if at + size > len(data):
        raise IndexError
    return int.from_bytes(data[at : at + size], "big")


def _associated(data: bytes, iprp: Box, wanted: int) -> list[int]:
    """The numbers of an item's properties, counted from 1."""
    found: list[int] = []
    for ipma in boxes(data, iprp.start, iprp.end):
        if ipma.name != b"ipma":
            continue
        of_item = 4 if data[ipma.start] else 2
        size, mask = (2, 0x7FFF) if data[ipma.start + 3] & 1 else (1, 0x7F)
        at = ipma.start + 8
        for _ in range(_number(data, ipma.start + 4, 4)):
            item, count = _number(data, at, of_item), data[at + of_item]
            at += of_item + 1
            if item == wanted:
                found += [_number(data, at + size * i, size) & mask for i in range(count)]
            at += size * count
    return found


def avif_xmp(data: bytes) -> bytes:
    """The XMP text of a file whose header was read, b"" where there is none, or EXIF as well."""
    meta = box(data, b"meta", 0, len(data))
    meta = Box(b"meta", meta.start + 4, meta.end)
    parts = _extents(data, meta)
    if any(True for _ in _items(data, meta, b"Exif")):
        return b""
    texts = [b"".join(data[place] for place in parts.get(item, ())) for item in _items(data, meta, b"mime")]
    return next((text for text in texts if b"tiff:" in text), b"")


def _items(data: bytes, meta: Box, wanted: bytes) -> Iterator[int]:
    """The items of a kind; `av01` are pictures: the picture itself, its tiles, its transparency."""
    iinf = box(data, b"iinf", meta.start, meta.end)
    for infe in boxes(data, iinf.start + (8 if data[iinf.start] else 6), iinf.end):
        of_item = 2 if data[infe.start] < 3 else 4
        kind = infe.start + 4 + of_item + 2
        if infe.name == b"infe" and data[kind : kind + 4] == wanted:
            yield _number(data, infe.start + 4, of_item)


def _extents(data: bytes, meta: Box) -> dict[int, list[slice]]:
    """Item -> where its bytes lie in the file, for the items that lie there or in the header's own data."""
    iloc = box(data, b"iloc", meta.start, meta.end)
    own = next((found.start for found in boxes(data, meta.start, meta.end) if found.name == b"idat"), 0)
    version, sizes, at = data[iloc.start], _number(data, iloc.start + 4, 2), iloc.start + 6
    of_offset, of_length, of_base = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    of_index = sizes & 15 if version in (1, 2) else 0
    of_item = 4 if version == 2 else 2
    found: dict[int, list[slice]] = {}
    extents = 0
    items = _number(data, at, of_item)
    at += of_item
    for _ in range(items):
        item = _number(data, at, of_item)
        at += of_item
        method = _number(data, at, 2) & 15 if version in (1, 2) else 0
        at += (2 if version in (1, 2) else 0) + 2  # method, and the number of the data's file
        base = _number(data, at, of_base)
        at += of_base
        count = _number(data, at, 2)
        at += 2
        extents += count
        for _ in range(count if extents <= _MOST_EXTENTS else 0):
            at += of_index
            offset, length = _number(data, at, of_offset), _number(data, at + of_offset, of_length)
            at += of_offset + of_length
            if method in (0, 1):
                start = base + offset + method * own
                found.setdefault(item, []).append(slice(start, start + length if length else max(start, len(data))))
    if extents > _MOST_EXTENTS:
        raise ValueError("the AVIF header is broken")
    return found


def without_grey_alpha(data: bytes, head: Avif) -> bytes:
    """The file, in which no other item is the alpha of a grey picture."""
    copy = bytearray(data)
    for at in head.grey_alpha:
        copy[at : at + 4] = b"free"
    return bytes(copy)
