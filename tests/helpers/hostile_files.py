"""A folder of images as the web has them: odd but good ones, and every kind of file that is none."""

from __future__ import annotations

import os
import resource
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.helpers.picture_files import claims, encode, gif, kinds, picture, png_chunk, with_orientation
from urnet.core.checks import InputError

GIF_IS_READ = tuple(map(int, cv2.__version__.split(".")[:2])) >= (4, 11)
NAMES = (
    "with blank.jpg",
    "two  blanks 7.jpg",
    "quote'.jpg",
    'double".jpg',
    "$(touch x);`id`&|.jpg",
    "tab\there.jpg",
    "back\\slash.jpg",
    "<script>alert(1)<.jpg",
    "grün 图像 é.jpg",
    "-n.jpg",
    "%s{0}.jpg",
    "a..dots...jpg",
    "line\u2028separator.jpg",
    "x" * 200 + ".jpg",
)
UNLISTABLE = ("new\nline.jpg", "carriage\r\nreturn.jpg")  # a list is a text of lines


def odd_but_good() -> dict[str, bytes]:
    """Name -> bytes that are read: all kinds, named otherwise or oddly, EXIF orientations, odd shapes."""
    rgb, jpeg = picture(), kinds()["jpeg"]
    files = {f"{kind} named.jpg": data for kind, data in kinds().items()}
    files["cmyk.jpg"] = cmyk()
    if GIF_IS_READ:
        files["gif named.jpg"] = gif(rgb)[0]
    files.update({f"exif {n}.jpg": with_orientation(jpeg, n) for n in range(1, 9)})
    shapes = ((1, 1), (1, 20000), (20000, 1))
    files.update({f"{h} x {w}.png": encode(".png", picture(h, w)) for h, w in shapes})
    files.update({name: encode(".jpg", picture(seed=i)) for i, name in enumerate(NAMES + UNLISTABLE)})
    return files


def not_images() -> dict[str, bytes]:
    """Name -> bytes that are not an image: cut off at many places, empty, text, headers that claim too much."""
    files = {"empty.jpg": b"", "text.jpg": b"no picture\n", "page.jpg": b"<html>404", "nul.png": bytes(999)}
    for kind, data in kinds().items():
        for share in (0.02, 0.5, 0.97):
            files[f"{kind} cut {share}.jpg"] = data[: int(share * len(data))]
    files.update({f"claim {kind}.png": data for kind, data in claims(60000, 60000).items()})
    files["chunk claim.png"] = chunk_claim(0xFFFFFFF0)
    files["scans.jpg"] = scan_bomb(5000)
    files["strips.tiff"] = strip_bomb()
    files["offset.tiff"] = b"II+\0\x08\0\0\0" + b"\xff" * 24
    return files


def write(folder: Path, files: dict[str, bytes]) -> None:
    """Put the files there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def write_what_has_no_bytes(folder: Path) -> dict[str, str]:
    """Links to nothing and in a circle, and a name that is not UTF-8: name as listed -> the reason."""
    reasons = {"gone.jpg": "No such file", "circle.jpg": "Too many levels"}
    (folder / "gone.jpg").symlink_to("nothing")
    (folder / "circle.jpg").symlink_to("circle.jpg")
    try:
        with open(os.fsencode(folder) + b"/caf\xe9.jpg", "wb") as stream:  # noqa: PTH123
            stream.write(kinds()["jpeg"])
    except OSError:  # a file system that takes UTF-8 only
        return reasons
    return {**reasons, "caf\\xe9.jpg": "No such file"}


def cmyk() -> bytes:
    """A four-channel JPEG: the header and tables of a grey one, its one component made four by hand."""
    data = encode(".jpg", np.full((16, 16), 90, np.uint8))
    at = data.index(b"\xff\xc0")
    frame = struct.pack(">HBHHB", 8 + 12, 8, 16, 16, 4) + b"".join(bytes([n, 0x11, 0]) for n in range(1, 5))
    scan = data.index(b"\xff\xda")
    body = data[scan + 10 : -2]
    (length,) = struct.unpack_from(">H", data, at + 2)
    head = data[:at] + b"\xff\xc0" + frame + data[at + 2 + length : scan]
    scans = b"".join(b"\xff\xda" + struct.pack(">HBBB", 8, 1, n, 0) + b"\0\x3f\0" + body for n in range(1, 5))
    return head + scans + b"\xff\xd9"


def chunk_claim(length: int) -> bytes:
    """A PNG of 100 bytes with a text chunk that claims ``length`` bytes."""
    head = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    rest = png_chunk(b"IDAT", zlib.compress(b"\0\x09")) + png_chunk(b"IEND", b"")
    return head + struct.pack(">I", length) + b"tEXtab" + rest


def scan_bomb(n: int, side: int = 16) -> bytes:
    """A progressive JPEG of side x side whose ``n`` scans, 33 bytes each, all say the same."""
    tables = b"\xff\xdb" + struct.pack(">H", 67) + b"\0" + b"\1" * 64
    tables += b"\xff\xc2" + struct.pack(">HBHHB", 11, 8, side, side, 1) + b"\1\x11\0"
    code = bytes([1] + [0] * 15)  # one code, of one bit
    tables += b"\xff\xc4" + struct.pack(">H", 20) + b"\0" + code + b"\0"
    tables += b"\xff\xc4" + struct.pack(">H", 20) + b"\x10" + code + b"\xe0"  # empty blocks, their number in 14 bits
    first = b"\xff\xda" + struct.pack(">H", 8) + b"\1\1\0\0\0\0" + bytes((side // 8) ** 2 // 8 + 1)
    again = b"\xff\xda" + struct.pack(">H", 8) + b"\1\1\0\1\x3f\1" + b"\x7f\xff\0"
    return b"\xff\xd8" + tables + first + again * n + b"\xff\xd9"


def strip_bomb(entries: int = 1000, count: int = 40_000) -> bytes:
    """A TIFF of 100 KiB that lists its strips ``entries`` times, ``count`` each time."""
    start = 10 + 12 * entries + 4
    body = struct.pack("<HHII", 273, 3, count, start) * entries
    return b"II*\0" + struct.pack("<IH", 8, entries) + body + bytes(4) + bytes(2 * count)


def refused(read, words: str, *, mib: float = 64) -> str:
    """The message, one line in which ``words`` (an expression) are found, of the error that ``read()`` raises.

    What it read must not take more than ``mib`` MiB on the way.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=words) as caught:
        read()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < mib * 1024
    message = str(caught.value)
    assert "\n" not in message and len(message) < 2000
    return message
