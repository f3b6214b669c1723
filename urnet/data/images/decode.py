"""From an image file's bytes to the uint8 RGB array a network is given. OpenCV does the decoding.

Every random choice comes from the ``rng`` handed in. docs/images.md says what becomes of each kind of file.
"""

from __future__ import annotations

import os
import stat
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from urnet.config.recipe import Transform
from urnet.core.checks import check_choice
from urnet.data.images.header import Header, read_header
from urnet.data.images.random_box import random_resized_box

EXIF_CHOICES = ("honour", "ignore")
MAX_PIXELS = 100_000_000
# Beside a colour flag these are the reduced colours.
_REDUCED = {1: 0, **{n: getattr(cv2, f"IMREAD_REDUCED_GRAYSCALE_{n}") for n in (2, 4, 8)}}
_GREY, _IDENTITY = np.array([0.299, 0.587, 0.114]), np.eye(3)
MAX_ASPECT = 16  # `short` evaluation: longer images lose their ends before they are enlarged


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


def train_transform(image: np.ndarray, transform: Transform, rng: np.random.Generator) -> np.ndarray:
    """A random view of ``image`` for training: crop, flip, colour jitter; uint8 (size, size, 3).

    The draws come in a fixed order from ``rng``, so one generator state gives one result.
    """
    if transform.train == "random_resized_crop":
        box = random_resized_box(image.shape[0], image.shape[1], transform.scale, transform.ratio, rng)
        image = resize(image[box], transform.size, transform.size)
    else:
        image = _pad_crop(resize(image, transform.size, transform.size), transform.pad, rng)
    return augment(image, transform, rng)


def augment(image: np.ndarray, transform: Transform, rng: np.random.Generator) -> np.ndarray:
    """What follows the crop in training: flip and colour jitter; contiguous."""
    if transform.flip and rng.random() < 0.5:
        image = cv2.flip(image, 1)
    if transform.jitter > 0:
        image = colour_jitter(image, transform.jitter, rng)
    return np.ascontiguousarray(image)


def eval_transform(image: np.ndarray, transform: Transform) -> np.ndarray:
    """The one view of ``image`` for evaluation; uint8 (size, size, 3).

    ``straight``: resized bilinearly to size x size, aspect not kept (the release's last revision).
    ``short``: the short side to ``resize_short``, the other to int(round(side * resize_short / short)),
    then the centre (the release's earlier revision; the crop's corner is rounded down).
    """
    if transform.eval == "straight":
        return resize(image, transform.size, transform.size)
    image = resize_short(image, transform.resize_short)
    return np.ascontiguousarray(centre(image, transform.size, transform.size))


def resize_short(image: np.ndarray, short_side: int) -> np.ndarray:
    """The short side to ``short_side``, the other to int(round(side * short_side / short)).

    The ends of an image longer than MAX_ASPECT times its short side are cut off first.
    """
    height, width = image.shape[:2]
    short = min(height, width)
    if max(height, width) > MAX_ASPECT * short:  # 1 x 20000 would become 256 x 5,120,000
        image = centre(image, min(height, MAX_ASPECT * short), min(width, MAX_ASPECT * short))
        height, width = image.shape[:2]
    scale = short_side / short
    return resize(image, round(height * scale), round(width * scale))


def _pad_crop(image: np.ndarray, pad: int, rng: np.random.Generator) -> np.ndarray:
    """Mirror ``pad`` pixels around the image and cut a window of the old size at a random place."""
    size = image.shape[0]
    top, left = rng.integers(0, 2 * pad + 1, 2)
    image = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_REFLECT_101)
    return image[top : top + size, left : left + size]


def colour_jitter(image: np.ndarray, jitter: float, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast and saturation in random order, each by a factor f = U(1 - jitter, 1 + jitter).

    With x a pixel's value, g its grey (ITU-R 601) and m the mean grey of the image as it stands then:
    brightness f x, contrast m + f (x - m), saturation g + f (x - g). The three make one affine map
    a x + s g + o, applied in one pass, rounded half up and clipped to 0..255 once (ours: after Szegedy et
    al. 2015's colour distortions as torchvision orders them, without clipping in between). Coefficients are
    rounded to 1/1024, OpenCV's own fixed point, so that the pass is exact.
    """
    order = rng.permutation(3)
    factors = 1 + jitter * (2 * rng.random(3) - 1)
    mean = float(_GREY @ cv2.mean(image)[:3])
    a, s, o = 1.0, 0.0, 0.0
    for step in order.tolist():
        f = float(factors[step])
        if step == 0:
            a, s, o = f * a, f * s, f * o
        elif step == 1:
            a, s, o = f * a, f * s, f * o + (1 - f) * ((a + s) * mean + o)
        else:
            a, s = f * a, f * s + (1 - f) * (a + s)
    matrix = np.empty((3, 4))
    matrix[:, :3] = s * _GREY + a * _IDENTITY
    matrix[:, 3] = o
    return cv2.transform(image, np.rint(1024 * matrix) / 1024)


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear, as cv2.resize's default; an image of that size already is returned as it is."""
    if image.shape[:2] == (height, width):
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


def centre(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The window of that size in the middle of ``image``; its corner is rounded down."""
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


@cache
def _silence_opencv() -> None:
    """OpenCV's own log says on stderr what UnreadableImage says already; once a process, on the first use."""
    set_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel  # OpenCV 4 | 5
    set_level(0)


def _short(error: BaseException) -> str:
    """The error's last words, on one line."""
    return " ".join(str(error).split())[-120:]
