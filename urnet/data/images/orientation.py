"""Which way up a picture is: the EXIF orientation 1 to 8, wherever a file may have it, and turning by it.

EXIF's own tag comes first (JPEG's APP1, PNG's eXIf and ImageMagick's raw profiles, WebP's EXIF, TIFF's tag 274), then
XMP's tiff:Orientation; AVIF has properties of its own, which its standard puts before both and Pillow in EXIF's place.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np

from urnet.data.images import png, tiff
from urnet.data.images.avif import avif_xmp, read_avif

_MOST_TEXT = 1 << 20  # bytes of an unpacked text; XMP has some kilobytes
_PROFILES = frozenset([b"Raw profile type exif", b"Raw profile type APP1", b"Raw profile type xmp"])
_XMP = re.compile(rb"tiff:Orientation\s*(?:=\s*[\"']|>)\s*([0-9])")


def read_orientation(data: bytes, kind: str) -> int:
    """The orientation, 1 to 8, of the image in a file of this kind; 1 where it says none or none that there is."""
    if kind == "AVIF":
        return _avif(data)
    exif: int | None = None
    xmp: int | None = None
    try:
        for name, body in _METADATA[kind](data) if kind in _METADATA else ():
            if name != "xmp" and exif is None:
                exif = _from_exif(body) if name == "exif" else int.from_bytes(body, "big")
            elif name == "xmp" and xmp is None:
                xmp = _from_xmp(body)
    except (struct.error, IndexError, OverflowError):  # metadata behind the picture, cut off
        pass
    found = exif if exif is not None else xmp
    return found if found in _TURNS else 1


def turn(image: np.ndarray, orientation: int) -> np.ndarray:
    """The image as its orientation shows it; contiguous."""
    turned: np.ndarray = _TURNS[orientation](image)
    return turned


_TURNS: dict[int, Callable[[Any], Any]] = {
    1: lambda image: image,
    2: lambda image: cv2.flip(image, 1),
    3: lambda image: cv2.flip(image, -1),
    4: lambda image: cv2.flip(image, 0),
    5: cv2.transpose,
    6: lambda image: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE),
    7: lambda image: cv2.flip(cv2.transpose(image), -1),
    8: lambda image: cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE),
}


def _from_exif(data: bytes) -> int | None:
    """Tag 274 of EXIF data, which is a TIFF directory, with or without the words before it."""
    while data.startswith(b"Exif\0\0"):
        data = data[6:]
    if data[:4] not in (b"II*\0", b"MM\0*"):
        return None
    order = "<" if data[:2] == b"II" else ">"
    try:
        (at,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(order + "HH", data, entry)
            code = {1: "B", 3: "H", 4: "I"}.get(kind)
            if tag == 274 and code is not None:
                value: int = struct.unpack_from(order + code, data, entry + 8)[0]
                return value
    except struct.error:
        pass
    return None


def _from_xmp(data: bytes) -> int | None:
    found = _XMP.search(data)
    return int(found[1]) if found else None


def _avif(data: bytes) -> int:
    """The picture's properties; where there are none, and no EXIF, which they stand for, XMP."""
    found = read_avif(data).orientation
    if found is None and b"tiff:Orientation" in data:
        found = _from_xmp(avif_xmp(data))
    return found if found in _TURNS else 1


def _tiff(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The file is EXIF data itself, but may be of 64 bits."""
    directory = tiff.Directory(data)
    if tiff.ORIENTATION in directory:
        number = directory.first(tiff.ORIENTATION, 1)
        yield "number", number.to_bytes(8, "big")
    yield "xmp", directory.text(tiff.XMP)


def _jpeg(data: bytes) -> Iterator[tuple[str, bytes]]:
    at = 2
    while data[at] == 0xFF and data[at + 1] != 0xDA:
        marker = data[at + 1]
        if marker == 0xFF or 0xD0 <= marker <= 0xD8 or marker == 1:  # a fill byte, or a marker without a length
            at += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        if marker == 0xE1:
            body = data[at + 4 : at + 2 + length]
            if body.startswith(b"Exif\0\0"):
                yield "exif", body
            elif body.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
                yield "xmp", body
        at += 2 + length


def _png(data: bytes) -> Iterator[tuple[str, bytes]]:
    profiles = []
    for name, start, end in png.chunks(data):
        if name == b"eXIf":
            yield "exif", data[start:end]
        elif name in (b"tEXt", b"zTXt", b"iTXt"):
            key, _, rest = data[start:end].partition(b"\0")
            if key == b"XML:com.adobe.xmp":
                yield "xmp", _png_text(name, rest)
            elif key in _PROFILES:
                profiles.append(_raw_profile(_png_text(name, rest)))
    for body in profiles:  # eXIf comes first, wherever it lies
        yield ("exif" if body[:4] in (b"Exif", b"II*\0", b"MM\0*") else "xmp"), body


def _png_text(name: bytes, body: bytes) -> bytes:
    """The text of a chunk, unpacked, behind its keyword."""
    packed = name == b"zTXt"
    if name == b"zTXt":
        body = body[1:]
    elif name == b"iTXt":
        packed = body[:1] == b"\1"
        body = body[2:].partition(b"\0")[2].partition(b"\0")[2]  # language, keyword in it
    if packed:
        try:
            body = zlib.decompressobj().decompress(body, _MOST_TEXT)
        except zlib.error:
            return b""
    return body


def _raw_profile(text: bytes) -> bytes:
    """ImageMagick's form: a line with the kind, one with the number of bytes, then these in hexadecimal digits."""
    lines = text.strip().split(b"\n", 2)
    try:
        return bytes.fromhex(lines[2].decode("ascii")) if len(lines) == 3 else b""
    except ValueError:
        return b""


def _webp(data: bytes) -> Iterator[tuple[str, bytes]]:
    at = 12
    while at + 8 <= len(data):
        (length,) = struct.unpack_from("<I", data, at + 4)
        name = {b"EXIF": "exif", b"XMP ": "xmp"}.get(data[at : at + 4])
        if name:
            yield name, data[at + 8 : at + 8 + length]
        at += 8 + length + (length & 1)


_METADATA: dict[str, Callable[[bytes], Iterator[tuple[str, bytes]]]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "WebP": _webp,
    "TIFF": _tiff,
}
