"""What an image file's bytes say before anything is decoded: kind, width, height, whole or not.

Reads JPEG, PNG, GIF, WebP, BMP and TIFF. Only sizes are looked at, so a small file that claims a huge image
(a decompression bomb) costs nothing. ``whole`` means that the end the format prescribes is there: decoders
fill what is missing with grey in silence, and half an image must not be taken for a row's.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Collection
from typing import NamedTuple

from urnet.data.images.other_kinds import other_kind

ACCEPTED = "JPEG, PNG, GIF, WebP, BMP or TIFF"


class Header(NamedTuple):
    """Kind of file, size in pixels as stored (before any EXIF rotation), and whether the end is there."""

    kind: str
    width: int
    height: int
    whole: bool


def read_header(data: bytes) -> Header:
    """Return the header of an image file's bytes.

    Raises ValueError with a short reason: empty, of no known kind, or the header itself is cut off or broken.
    """
    if not data:
        raise ValueError("the file is empty")
    kind = kind_of(data)
    if kind is None:
        raise ValueError(what_it_is(data))
    try:
        header = _READERS[kind](data)
    except (struct.error, IndexError, OverflowError):  # the last for BigTIFF's 64-bit offsets
        raise ValueError("the header is cut off") from None
    if header.width < 1 or header.height < 1:
        raise ValueError(f"the {header.kind} header claims {header.width} x {header.height} pixels")
    return header


def kind_of(data: bytes) -> str | None:
    """The kind of picture that a file begins like (its first 64 bytes are enough); None for any other file."""
    return next((kind for kind, matches in _SIGNATURES.items() if matches(data)), None)


def what_it_is(data: bytes) -> str:
    """What a file is whose ``kind_of`` is None, in words, by its first bytes, and what to do about it."""
    other = other_kind(data)
    if other is None:
        return f"no {ACCEPTED} file"
    if other.picture:
        return f"{other.name}, which cannot be read; convert it to JPEG"
    return f"{other.name}, no picture; {other.remedy or 'accepted: ' + ACCEPTED}"


def _png(data: bytes) -> Header:
    if data[12:16] != b"IHDR":
        raise ValueError("the PNG header is broken")
    width, height = struct.unpack_from(">II", data, 16)
    return Header("PNG", width, height, _png_ends(data))


def _png_ends(data: bytes) -> bool:
    """Walk the chunks to IEND: OpenCV reserves what a length claims, 4 GiB for a file of 100 bytes."""
    at = 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        if data[at + 4 : at + 8] == b"IEND":
            return at + 12 + length <= len(data)
        at += 12 + length
    return False


# A marker inside entropy-coded data: 0xFF, then neither a stuffed zero, a fill byte nor a restart marker.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0..SOF15 without DHT, JPG, DAC
_BARE = frozenset([0x01, *range(0xD0, 0xD9)])  # markers without a length
MAX_SCANS = 500  # a progressive file has about ten; each costs a pass over all pixels, and 40 bytes make one


def _jpeg(data: bytes) -> Header:
    """Walk the segments: the frame header gives the size, the end marker after the scans says it is whole."""
    at, size = 2, None
    while True:
        while data[at] == 0xFF and data[at + 1] == 0xFF:
            at += 1
        if data[at] != 0xFF:
            raise ValueError("the JPEG header is broken")
        marker = data[at + 1]
        if marker in _BARE:
            at += 2
            continue
        if marker == 0xD9:
            raise ValueError("the JPEG header is broken")
        (length,) = struct.unpack_from(">H", data, at + 2)
        if length < 2:
            raise ValueError("the JPEG header is broken")
        if marker in _FRAMES and size is None:
            size = struct.unpack_from(">HH", data, at + 5)
        at += 2 + length
        if marker == 0xDA:  # the first scan begins
            if size is None:
                raise ValueError("the JPEG header is broken")
            scans = data.count(b"\xff\xda")
            if scans > MAX_SCANS:
                raise ValueError(f"the JPEG file has {scans} scans; at most {MAX_SCANS} are accepted")
            return Header("JPEG", size[1], size[0], _jpeg_ends(data, at))


def _jpeg_ends(data: bytes, at: int) -> bool:
    """Whether the scans that begin at ``at`` come to the end marker (bytes behind it do not matter)."""
    if at <= len(data) - 2 and data.endswith(b"\xff\xd9"):
        return True
    while True:
        found = _MARKER.search(data, at)
        if found is None:
            return False
        marker, at = data[found.start() + 1], found.end()
        if marker == 0xD9:
            return True
        if marker not in _BARE:
            if at + 2 > len(data):
                return False
            at += struct.unpack_from(">H", data, at)[0]


def _gif(data: bytes) -> Header:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    return Header("GIF", width, height, _gif_ends(data, 13 + _palette_bytes(flags)))


def _palette_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _gif_ends(data: bytes, at: int) -> bool:
    """Whether the first frame is whole: walk the blocks up to the end of its data."""
    while at < len(data) and data[at] in (0x21, 0x2C):
        frame = data[at] == 0x2C
        if frame and at + 9 < len(data):
            at += 11 + _palette_bytes(data[at + 9])
        else:
            at += 2
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1
        if frame:
            return at <= len(data)
    return False


def _webp(data: bytes) -> Header:
    (length,) = struct.unpack_from("<I", data, 4)
    whole, kind = len(data) >= length + 8, data[12:16]
    if kind == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
        data[29]  # an IndexError where the header is cut off
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 ":
        width, height = (value & 0x3FFF for value in struct.unpack_from("<HH", data, 26))
    else:
        raise ValueError("the WebP header is broken")
    return Header("WebP", width, height, whole)


def _bmp(data: bytes) -> Header:
    offset, size = struct.unpack_from("<II", data, 10)
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        packed = False
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
        packed = compression not in (0, 3)  # run lengths: their end is found by decoding only
    height = abs(height)
    rows = (width * bits + 31) // 32 * 4 * height
    return Header("BMP", width, height, len(data) >= (int.from_bytes(data[2:6], "little") if packed else offset + rows))


def _tiff(data: bytes) -> Header:
    """First directory: tags 256 and 257 are the size; the strips or tiles must lie inside the file."""
    order = "<" if data[:2] == b"II" else ">"
    (version,) = struct.unpack_from(order + "H", data, 2)
    big = version == 43
    at = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
    at += 8 if big else 2
    tags: dict[int, tuple[int, ...]] = {}
    for _ in range(min(count, 1000)):
        tag, values = _tiff_entry(data, at, order, big, known=tags)
        tags.setdefault(tag, values)
        at += 20 if big else 12
    if not tags.get(256) or not tags.get(257):
        raise ValueError("the TIFF header is broken")
    starts, lengths = tags.get(273) or tags.get(324) or (), tags.get(279) or tags.get(325) or ()
    whole = all(start + length <= len(data) for start, length in zip(starts, lengths, strict=True)) and len(starts) > 0
    return Header("TIFF", tags[256][0], tags[257][0], whole)


_TIFF_WANTED = frozenset([256, 257, 273, 279, 324, 325])
_TIFF_STRIPS = 1 << 16  # a strip has 8 KiB as a rule; more of them, a thousand times over, would take minutes
_TIFF_CODES = {3: "H", 4: "I", 16: "Q"}


def _tiff_entry(data: bytes, at: int, order: str, big: bool, known: Collection[int]) -> tuple[int, tuple[int, ...]]:
    """One directory entry: its tag and, for the few wanted tags that are not known yet, its values."""
    tag, kind = struct.unpack_from(order + "HH", data, at)
    (count,) = struct.unpack_from(order + ("Q" if big else "I"), data, at + 4)
    if tag not in _TIFF_WANTED or tag in known or kind not in _TIFF_CODES:
        return tag, ()
    code, inline = _TIFF_CODES[kind], 8 if big else 4
    start = at + 4 + inline
    if struct.calcsize(code) * count > inline:
        (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, start)
    if start + count * struct.calcsize(code) > len(data):
        raise ValueError("the header is cut off")
    if count > _TIFF_STRIPS:
        raise ValueError(f"the TIFF header lists {count} strips; at most {_TIFF_STRIPS} are accepted")
    return tag, struct.unpack_from(f"{order}{count}{code}", data, start)


_SIGNATURES: dict[str, Callable[[bytes], bool]] = {
    "JPEG": lambda data: data[:3] == b"\xff\xd8\xff",
    "PNG": lambda data: data[:8] == b"\x89PNG\r\n\x1a\n",
    "GIF": lambda data: data[:6] in (b"GIF87a", b"GIF89a"),
    "WebP": lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP",
    "BMP": lambda data: data[:2] == b"BM" and not data[15:18].strip(b"\0"),  # not "BMW is a car"
    "TIFF": lambda data: data[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"),
}
_READERS: dict[str, Callable[[bytes], Header]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "GIF": _gif,
    "WebP": _webp,
    "BMP": _bmp,
    "TIFF": _tiff,
}
