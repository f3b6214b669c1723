"""TrivialAugment (Müller and Hutter, ICCV 2021), its wide space: one operation an image, at one random strength.

The operations, their 31 strengths and their pixels are those of torchvision's TrivialAugmentWide on Pillow images:
geometry takes the nearest pixel and fills with black. Brightness, contrast, colour,
sharpness and autocontrast may differ by a grey level here and there. Translation at strength 15 is by 16 pixels as in
the paper, where torchvision's float32 makes it 15.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

STRENGTHS = 31  # numbered from 0, the mildest
SMALL = 64 * 64  # pixels; of images up to here the places that pixels come from are kept, 16 kB each
_VALUES = np.arange(256)
_UNIT = 1 << 16  # of fixed-point coordinates
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13
_DOWN = -0.499  # beside rounding to the nearest: down, but not below a whole number that is met inexactly


class Operation(NamedTuple):
    """``apply(image, amount)``: uint8 (H, W, 3) to the same. ``amount(strength)``; ``signed``: or its negative."""

    apply: Callable[[np.ndarray, float], np.ndarray]
    amount: Callable[[int], float]
    signed: bool


def trivial_augment(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``image``, uint8 (H, W, 3), after one operation of OPERATIONS, drawn evenly, and so its strength and sign.

    One number is drawn. The result may be ``image`` itself, which is never changed.
    """
    number, rest = divmod(int(rng.integers(len(OPERATIONS) * STRENGTHS * 2)), STRENGTHS * 2)
    return operate(image, tuple(OPERATIONS)[number], rest // 2, negative=bool(rest % 2))


def operate(image: np.ndarray, name: str, strength: int, *, negative: bool = False) -> np.ndarray:
    """``image`` after the operation of that name at ``strength``, 0 to 30; ``negative`` matters to signed ones."""
    operation = OPERATIONS[name]
    amount = operation.amount(strength)
    return operation.apply(image, -amount if negative and operation.signed else amount)


def _affine(image: np.ndarray, xx: float, xy: float, yx: float, yy: float, centre: tuple[float, float]) -> np.ndarray:
    """The pixel at (x, y), from ``centre`` on, is the nearest to (xx x + xy y, yx x + yy y) of ``image``, or black."""
    height, width = image.shape[:2]
    u, v = centre
    make = _kept_places if height * width <= SMALL else _places
    source = make(height, width, (xx, xy, u - xx * u - xy * v), (yx, yy, v - yx * u - yy * v))
    none = np.empty(0, np.float32)
    return cv2.remap(image, source, none, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=(0, 0, 0))


def _places(height: int, width: int, *rows: tuple[float, float, float]) -> np.ndarray:
    """Where each pixel comes from, int16 (height, width, 2), x and y; in Pillow's fixed point, so that none differs."""
    x, y = np.arange(width, dtype=np.int32), np.arange(height, dtype=np.int32)
    source = np.empty((height, width, 2), np.int16)
    for axis, (by_x, by_y, offset) in enumerate(rows):
        along = y * _fixed(by_y) + _fixed(offset + 0.5 * by_x + 0.5 * by_y)
        np.right_shift(np.add.outer(along, x * _fixed(by_x)), 16, out=source[..., axis], casting="unsafe")
    return source


_kept_places = lru_cache(maxsize=3 * 2 * STRENGTHS)(_places)  # all there are for one size


def _fixed(number: float) -> np.int32:
    return np.int32(math.floor(number * _UNIT + 0.5))


def _shear_x(image: np.ndarray, amount: float) -> np.ndarray:
    return _affine(image, 1, amount, 0, 1, (0, 0))


def _shear_y(image: np.ndarray, amount: float) -> np.ndarray:
    return _affine(image, 1, 0, amount, 1, (0, 0))


def _rotate(image: np.ndarray, degrees: float) -> np.ndarray:
    sine, cosine = (round(f(math.radians(degrees)), 15) for f in (math.sin, math.cos))
    return _affine(image, cosine, -sine, sine, cosine, (image.shape[1] / 2, image.shape[0] / 2))


def _translate_x(image: np.ndarray, pixels: float) -> np.ndarray:
    return _translate(image.swapaxes(0, 1), int(pixels)).swapaxes(0, 1)


def _translate_y(image: np.ndarray, pixels: float) -> np.ndarray:
    return _translate(image, int(pixels))


def _translate(image: np.ndarray, down: int) -> np.ndarray:
    """Moved along the first axis, black where nothing is left."""
    moved, rest = np.zeros_like(image), max(0, len(image) - abs(down))
    if down >= 0:
        moved[len(image) - rest :] = image[:rest]
    else:
        moved[:rest] = image[len(image) - rest :]
    return moved


def _brightness(image: np.ndarray, amount: float) -> np.ndarray:
    return _stretch(image, 0, 1 + amount)


def _contrast(image: np.ndarray, amount: float) -> np.ndarray:
    mean = int(cv2.mean(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[0] + 0.5)
    return _stretch(image, -mean * amount, 1 + amount)


def _stretch(image: np.ndarray, zero: float, factor: float) -> np.ndarray:
    """``zero`` + ``factor`` times the image, cut to 0..255 and rounded down."""
    return cv2.addWeighted(image, factor, image, 0, zero + _DOWN)


def _colour(image: np.ndarray, amount: float) -> np.ndarray:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return _blend(image, cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), amount)


def _sharpness(image: np.ndarray, amount: float) -> np.ndarray:
    smooth, sharp, inner = cv2.filter2D(image, -1, _SMOOTH), image.copy(), np.s_[1:-1, 1:-1]
    sharp[inner] = _blend(image[inner], smooth[inner], amount)
    return sharp


def _blend(image: np.ndarray, anchor: np.ndarray, amount: float) -> np.ndarray:
    """The distance from ``anchor`` times 1 + ``amount``, cut to 0..255 and rounded down."""
    return cv2.addWeighted(image, 1 + amount, anchor, -amount, _DOWN)


def _posterize(image: np.ndarray, bits: float) -> np.ndarray:
    return cv2.LUT(image, (_VALUES & -(1 << 8 - int(bits))).astype(np.uint8))


def _solarize(image: np.ndarray, threshold: float) -> np.ndarray:
    return cv2.LUT(image, np.where(threshold > _VALUES, _VALUES, 255 - _VALUES).astype(np.uint8))


def _autocontrast(image: np.ndarray, _: float) -> np.ndarray:
    """Of each channel the least value there is to 0, the largest to 255, evenly between, rounded down."""
    channels = list(cv2.split(image))
    for c, channel in enumerate(channels):
        low, high = cv2.minMaxLoc(channel)[:2]
        if high > low:
            scale = 255 / (high - low)
            channels[c] = _stretch(channel, -low * scale, scale)
    return cv2.merge(channels)


def _equalize(image: np.ndarray, _: float) -> np.ndarray:
    """Each channel's values by how many pixels lie below them, in 255ths of all but those of the largest value."""
    counts = np.array([cv2.calcHist([image], [c], None, [256], [0, 256]) for c in range(3)]).reshape(3, 256)
    below = (counts.cumsum(axis=1) - counts).astype(np.int64)
    step = (below * (counts > 0)).max(axis=1, keepdims=True) // 255
    table = np.minimum((step // 2 + below) // np.maximum(step, 1), 255)
    if not step.all():
        table = np.where(step > 0, table, _VALUES)
    return cv2.LUT(image, table.T.astype(np.uint8, order="C").reshape(1, 256, 3))


def _up_to(most: float) -> Callable[[int], float]:
    return lambda strength: most * strength / (STRENGTHS - 1)


def _nothing(_: int) -> float:
    return 0.0


OPERATIONS = {
    "identity": Operation(lambda image, _: image, _nothing, False),
    "shear_x": Operation(_shear_x, _up_to(0.99), True),
    "shear_y": Operation(_shear_y, _up_to(0.99), True),
    "translate_x": Operation(_translate_x, _up_to(32), True),
    "translate_y": Operation(_translate_y, _up_to(32), True),
    "rotate": Operation(_rotate, _up_to(135), True),
    "brightness": Operation(_brightness, _up_to(0.99), True),
    "colour": Operation(_colour, _up_to(0.99), True),
    "contrast": Operation(_contrast, _up_to(0.99), True),
    "sharpness": Operation(_sharpness, _up_to(0.99), True),
    "posterize": Operation(_posterize, lambda strength: 8 - round(strength / 5), False),
    "solarize": Operation(_solarize, lambda strength: 255 - 8.5 * strength, False),
    "autocontrast": Operation(_autocontrast, _nothing, False),
    "equalize": Operation(_equalize, _nothing, False),
}
