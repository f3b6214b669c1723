"""What an image file's bytes say before anything is decoded: kind, width, height, whole or not.

Only sizes are looked at, so a small file that claims a huge image (a decompression bomb) costs nothing. ``whole``
means that the end the format prescribes is there: decoders fill what is missing with grey in silence, and half an
image must not be taken for a row's.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import NamedTuple

from urnet.data.images import jpeg2000
from urnet.data.images.avif import is_avif, read_avif
from urnet.data.images.gif import read_gif
from urnet.data.images.netpbm import is_netpbm, read_netpbm
from urnet.data.images.other_kinds import other_kind
from urnet.data.images.png import read_png
from urnet.data.images.tiff import read_tiff

ACCEPTED = "JPEG, PNG, GIF, WebP, BMP, TIFF, AVIF, JPEG 2000 or PNM"


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
        width, height, whole = _READERS[kind](data)
    except (struct.error, IndexError, OverflowError):  # the last for BigTIFF's 64-bit offsets
        raise ValueError("the header is cut off") from None
    if width < 1 or height < 1:
        raise ValueError(f"the {kind} header claims {width} x {height} pixels")
    return Header(kind, width, height, whole)


def kind_of(data: bytes) -> str | None:
    """The kind of picture that a file begins like (its first 512 bytes are enough); None for any other file."""
    return next((kind for kind, matches in _SIGNATURES.items() if matches(data)), None)


def what_it_is(data: bytes) -> str:
    """What a file is whose ``kind_of`` is None, in words, by its first bytes, and what to do about it."""
    other = other_kind(data)
    if other is None:
        return f"not a {ACCEPTED} file"
    if other.picture:
        return f"{other.name}, which cannot be read; convert it to JPEG"
    return f"{other.name}, not a picture; {other.remedy or 'accepted: ' + ACCEPTED}"


# A marker inside entropy-coded data: 0xFF, then neither a stuffed zero, a fill byte nor a restart marker.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0..SOF15 without DHT, JPG, DAC
_BARE = frozenset([0x01, *range(0xD0, 0xD9)])  # markers without a length
MAX_SCANS = 500  # a progressive file has about ten; each costs a pass over all pixels, and 40 bytes make one


def _jpeg(data: bytes) -> tuple[int, int, bool]:
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
            scans = data.count(b"\xda")  # of one byte: ten times as fast, and enough for most files
            if scans > MAX_SCANS and (scans := data.count(b"\xff\xda")) > MAX_SCANS:
                raise ValueError(f"the JPEG file has {scans} scans; at most {MAX_SCANS} are accepted")
            return size[1], size[0], _jpeg_ends(data, at)


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


def _netpbm(data: bytes) -> tuple[int, int, bool]:
    head = read_netpbm(data)
    return head.width, head.height, head.ends(data)


def _webp(data: bytes) -> tuple[int, int, bool]:
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
    return width, height, whole


def _bmp(data: bytes) -> tuple[int, int, bool]:
    offset, size = struct.unpack_from("<II", data, 10)
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        packed = False
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
        packed = compression not in (0, 3)  # run lengths: their end is found by decoding only
    height = abs(height)
    rows = (width * bits + 31) // 32 * 4 * height
    return width, height, len(data) >= (int.from_bytes(data[2:6], "little") if packed else offset + rows)


_SIGNATURES: dict[str, Callable[[bytes], bool]] = {
    "JPEG": lambda data: data[:3] == b"\xff\xd8\xff",
    "PNG": lambda data: data[:8] == b"\x89PNG\r\n\x1a\n",
    "GIF": lambda data: data[:6] in (b"GIF87a", b"GIF89a"),
    "WebP": lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP",
    "BMP": lambda data: data[:2] == b"BM" and not data[15:18].strip(b"\0"),  # not "BMW is a car"
    "TIFF": lambda data: data[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"),
    "AVIF": is_avif,
    "JPEG 2000": lambda data: data.startswith((jpeg2000.JP2, jpeg2000.CODESTREAM)),
    "PNM": is_netpbm,
}
_READERS: dict[str, Callable[[bytes], tuple[int, int, bool]]] = {
    "JPEG": _jpeg,
    "PNG": read_png,
    "GIF": read_gif,
    "WebP": _webp,
    "BMP": _bmp,
    "TIFF": read_tiff,
    "AVIF": lambda data: read_avif(data)[:3],
    "JPEG 2000": jpeg2000.read_jpeg2000,
    "PNM": _netpbm,
}
