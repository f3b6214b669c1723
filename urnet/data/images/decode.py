"""From an image file's bytes to an RGB array, by OpenCV; docs/images.md says what becomes of each kind of file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import cv2
import numpy as np

from urnet.core.checks import check_choice
from urnet.core.unicode_forms import other_forms
from urnet.data.images.header import Header, read_header
from urnet.data.images.orientation import read_orientation, turn
from urnet.data.images.stored_pixels import stored_pixels

EXIF_CHOICES = ("honour", "ignore")
MAX_PIXELS = 100_000_000


class UnreadableImage(Exception):
    """An image file that is missing, damaged, of no known kind or too large: its path and the reason."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def decode(data: bytes, *, exif: str = "honour", max_pixels: int = MAX_PIXELS, name: str = "<bytes>") -> np.ndarray:
    """Decode one image file's bytes to RGB, uint8, (height, width, 3), contiguous.

    Grey becomes three equal channels, CMYK is converted, 16 bits keep their high byte, a palette is looked
    up, alpha is dropped (the colour under it stays), of an animation the first picture is taken. ``exif="honour"``
    turns the image as its orientation says, in EXIF, XMP or AVIF's properties. Raises UnreadableImage (with ``name``
    as its path), and nothing else: for an empty or damaged file, one of no accepted kind (``header.ACCEPTED``), a
    file that lacks its end, or a header that claims more than ``max_pixels`` pixels (checked before anything is
    decoded).
    """
    check_choice("exif", exif, EXIF_CHOICES)
    return decode_checked(data, check_header(data, max_pixels, name), exif=exif, name=name)


def check_header(data: bytes, max_pixels: int = MAX_PIXELS, name: str = "<bytes>") -> Header:
    """The header of an image that ``decode`` would try to decode; raises UnreadableImage for any other."""
    try:
        header = read_header(data)
    except ValueError as error:
        raise UnreadableImage(name, str(error)) from None
    if header.width * header.height > max_pixels:
        claim = f"{header.width} x {header.height} pixels"
        raise UnreadableImage(name, f"the header claims {claim}; at most {max_pixels} are accepted")
    if not header.whole:
        raise UnreadableImage(name, f"the {header.kind} file is cut off")
    return header


def decode_checked(
    data: bytes, header: Header, *, exif: str = "honour", name: str = "<bytes>", reduction: int = 1
) -> np.ndarray:
    """``decode`` of bytes whose header ``check_header`` has returned.

    ``reduction`` 2, 4 or 8, for JPEG only: every side is divided by it, rounded up, while decoding (a smaller
    inverse cosine transform of each block), which leaves out most of the work.
    """
    try:
        image = stored_pixels(data, header.kind, reduction)
        return image if exif == "ignore" else turn(image, read_orientation(data, header.kind))
    except (ValueError, cv2.error, MemoryError) as error:
        raise UnreadableImage(name, _reason(error, header.kind)) from None


def _reason(error: Exception, kind: str) -> str:
    if isinstance(error, ValueError):
        return str(error)
    return f"OpenCV cannot decode the {kind} file ({' '.join(str(error).split())[-120:]})"


def read_image(path: str | Path, *, exif: str = "honour", max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """``decode`` of a file. Raises UnreadableImage, too, where the file is missing or cannot be read."""
    return decode(read_bytes(path, max_pixels), exif=exif, max_pixels=max_pixels, name=str(path))


def read_bytes(path: str | Path, max_pixels: int = MAX_PIXELS) -> bytes:
    """An image file's bytes. Raises UnreadableImage where the file is missing or cannot be read.

    A file of more than 8 bytes a pixel of ``max_pixels`` is not an image that would be accepted, and is not read.
    """
    most = 8 * max_pixels + (1 << 20)
    try:
        # (`open`: once an image: Path.open takes twice as long)
        with open(path, "rb", opener=_without_waiting) as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableImage(str(path), "is a pipe or a device, not a file")
            size = status.st_size
            if size > most:
                raise UnreadableImage(str(path), f"the file has {size} bytes; at most {most} are accepted")
            return stream.read()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableImage(str(path), f"cannot be read ({reason}){_other_form(str(path))}") from None


def _other_form(path: str) -> str:
    """Words about a file that looks the same: its name in the other of Unicode's forms; "" where there is none."""
    for form, other in other_forms(path).items():
        if Path(other).is_file():
            return f"; what looks the same on the disk is in Unicode's form {form}"
    return ""


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe that nobody writes to would be waited for for ever."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
