"""The pixels that a file stores, by OpenCV: its first picture, not turned, alpha dropped, in every kind alike.

OpenCV multiplies a TIFF's colours by alpha, shows a GIF's background for what is transparent, swaps red and blue of
an AVIF with alpha, and takes chroma for something else in JPEG 2000. What it is given here has no occasion for that.
"""

from __future__ import annotations

import re
from functools import cache

import cv2
import numpy as np

from urnet.data.images import avif, gif, jpeg2000, netpbm, png, tiff

# Beside a colour flag these are the reduced colours.
_REDUCED = {1: 0, **{n: getattr(cv2, f"IMREAD_REDUCED_GRAYSCALE_{n}") for n in (2, 4, 8)}}
_RGB = getattr(cv2, "IMREAD_COLOR_RGB", None)  # since OpenCV 4.11; saves a pass over the image


def stored_pixels(data: bytes, kind: str, reduction: int = 1) -> np.ndarray:
    """RGB, uint8 (height, width, 3), contiguous; for JPEG at 1/``reduction`` of its size.

    Raises ValueError with the reason where the file cannot be decoded, and cv2.error or MemoryError.
    """
    if kind == "PNM":
        return netpbm.decode(data)
    if kind == "TIFF":
        data, multiplied = tiff.as_stored(data)
        if multiplied:
            return _divided(_decoded(data, kind, cv2.IMREAD_UNCHANGED))
    if kind == "JPEG 2000":
        data, luma_chroma = jpeg2000.as_srgb(data)
        if luma_chroma:
            luma_first = cv2.cvtColor(_decoded(data, kind, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
            return cv2.cvtColor(np.ascontiguousarray(luma_first[..., [0, 2, 1]]), cv2.COLOR_YCrCb2RGB)
        if jpeg2000.is_grey_codestream(data):  # which OpenCV does not turn into colours
            return cv2.cvtColor(_decoded(data, kind, cv2.IMREAD_GRAYSCALE), cv2.COLOR_GRAY2RGB)
    if kind == "AVIF":
        return _avif(data)
    if kind == "GIF":
        data = gif.only_first_frame(data)
    if kind == "PNG":
        data = png.still(data)
    if _RGB is None:
        return cv2.cvtColor(_decoded(data, kind, cv2.IMREAD_COLOR | _REDUCED[reduction]), cv2.COLOR_BGR2RGB)
    return _decoded(data, kind, _RGB | _REDUCED[reduction])


def _avif(data: bytes) -> np.ndarray:
    head = avif.read_avif(data)
    data = avif.without_grey_alpha(data, head) if head.grey_alpha else data
    image = cv2.cvtColor(_decoded(data, "AVIF", cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    if head.limited_grey:
        image = cv2.convertScaleAbs(np.maximum(image, 16), alpha=255 / 219, beta=-16 * 255 / 219)
    return image


def _decoded(data: bytes, kind: str, flags: int) -> np.ndarray:
    """What OpenCV makes of the bytes: three channels of 8 bits, or with IMREAD_UNCHANGED four of 8 or 16."""
    _silence_opencv()
    unchanged = flags == cv2.IMREAD_UNCHANGED
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags if unchanged else flags | cv2.IMREAD_IGNORE_ORIENTATION)
    if unchanged and image is not None and image.ndim == 2:  # grey, whose alpha OpenCV drops
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    n_axes = 2 if flags == cv2.IMREAD_GRAYSCALE else 3
    if (
        image is None
        or image.ndim != n_axes
        or image.dtype not in ((np.uint8, np.uint16) if unchanged else (np.uint8,))
    ):
        raise ValueError(_cannot(kind))
    return image


def _divided(image: np.ndarray) -> np.ndarray:
    """The colours of a BGRA image that are stored multiplied by alpha; under no alpha they stay as they are."""
    colours = image[..., 2::-1]
    if image.shape[2] == 4:
        most, alpha = np.iinfo(image.dtype).max, image[..., 3:].astype(np.uint32)
        divided = np.minimum((colours * np.uint32(most) + alpha // 2) // np.maximum(alpha, 1), most)
        colours = np.where(alpha == 0, colours, divided)
    return np.ascontiguousarray(colours >> (8 if image.dtype == np.uint16 else 0), np.uint8)


def _cannot(kind: str) -> str:
    """Why: OpenCV may be without the library for a kind."""
    lacking = re.search(rf"^ +{kind}: +(?!NO\b)", cv2.getBuildInformation(), re.MULTILINE) is None
    if kind in ("AVIF", "JPEG 2000", "GIF") and lacking:
        return f"OpenCV {cv2.__version__} cannot read {kind}; install a newer opencv-python-headless"
    return f"OpenCV cannot decode the {kind} file"


@cache
def _silence_opencv() -> None:
    """OpenCV's own log says on stderr what UnreadableImage says already; once a process, on the first use."""
    set_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel  # OpenCV 4 | 5
    set_level(0)
