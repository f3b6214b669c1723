"""From an image file's bytes to an RGB array, by OpenCV; docs/images.md says what becomes of each kind of file."""

from __future__ import annotations

import os
import stat
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from urnet.core.checks import check_choice
from urnet.data.images.header import Header, read_header

EXIF_CHOICES = ("honour", "ignore")
MAX_PIXELS = 100_000_000
# Beside a colour flag these are the reduced colours.
_REDUCED = {1: 0, **{n: getattr(cv2, f"IMREAD_REDUCED_GRAYSCALE_{n}") for n in (2, 4, 8)}}


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
    up, alpha is dropped, of an animation the first frame is taken. ``exif="honour"`` turns the image as its
    EXIF orientation says. Raises UnreadableImage (with ``name`` as its path), and nothing else: for an empty
    or damaged file, a kind other than JPEG, PNG, GIF, WebP, BMP, TIFF, a file that lacks its end, or a
    header that claims more than ``max_pixels`` pixels (checked before anything is decoded).
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
    _silence_opencv()
    rgb = getattr(cv2, "IMREAD_COLOR_RGB", None)  # since OpenCV 4.11; saves a pass over the image
    flags = (cv2.IMREAD_COLOR if rgb is None else rgb) | _REDUCED[reduction]
    if exif == "ignore":
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except (cv2.error, MemoryError) as error:
        raise UnreadableImage(name, f"OpenCV cannot decode the {header.kind} file ({_short(error)})") from None
    if image is None or image.dtype != np.uint8 or image.ndim != 3:
        raise UnreadableImage(name, f"OpenCV cannot decode the {header.kind} file")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if rgb is None else image


def read_image(path: str | Path, *, exif: str = "honour", max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """``decode`` of a file. Raises UnreadableImage, too, where the file is missing or cannot be read."""
    return decode(read_bytes(path, max_pixels), exif=exif, max_pixels=max_pixels, name=str(path))


def read_bytes(path: str | Path, max_pixels: int = MAX_PIXELS) -> bytes:
    """An image file's bytes. Raises UnreadableImage where the file is missing or cannot be read.

    A file of more than 8 bytes a pixel of ``max_pixels`` is no image that would be accepted, and is not read.
    """
    most = 8 * max_pixels + (1 << 20)
    try:
        # (`open`: once an image: Path.open takes twice as long)
        with open(path, "rb", opener=_without_waiting) as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableImage(str(path), "is a pipe or a device, no file")
            size = status.st_size
            if size > most:
                raise UnreadableImage(str(path), f"the file has {size} bytes; at most {most} are accepted")
            return stream.read()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableImage(str(path), f"cannot be read ({reason})") from None


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe that nobody writes to would be waited for for ever."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


@cache
def _silence_opencv() -> None:
    """OpenCV's own log says on stderr what UnreadableImage says already; once a process, on the first use."""
    set_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel  # OpenCV 4 | 5
    set_level(0)


def _short(error: BaseException) -> str:
    """The error's last words, on one line."""
    return " ".join(str(error).split())[-120:]
