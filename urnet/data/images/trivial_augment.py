"""TrivialAugment (Müller and Hutter, ICCV 2021), its wide space: one operation an image, at one random strength.

The operations, their 31 strengths and their pixels are those of torchvision's TrivialAugmentWide on Pillow images:
geometry takes the nearest pixel and fills with black. Brightness, contrast, colour and sharpness may differ by a grey
level. Translation at strength 15 is by 16 pixels as in the paper's code, where torchvision's float32 makes it 15.
OpenCV does the work; a look-up table of 256 values wherever a new value depends on the old one alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

STRENGTHS = 31  # numbered from 0, the mildest
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
    """The pixel at (x, y), from ``centre`` on, is the nearest to (xx x + xy y, yx x + yy y) of ``image``, or black.

    In Pillow's fixed point, so that the same pixels are taken.
    """
    height, width = image.shape[:2]
    u, v = centre
    x, y = np.arange(width, dtype=np.int32), np.arange(height, dtype=np.int32)
    source = np.empty((height, width, 2), np.int16)
    rows = ((xx, xy, u - xx * u - xy * v), (yx, yy, v - yx * u - yy * v))
    for axis, (by_x, by_y, offset) in enumerate(rows):
        along = y * _fixed(by_y) + _fixed(offset + 0.5 * by_x + 0.5 * by_y)
        places = np.add.outer(along, x * _fixed(by_x))
        np.right_shift(places, 16, out=source[..., axis], casting="unsafe")
    none = np.empty(0, np.float32)
    return cv2.remap(image, source, none, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=(0, 0, 0))


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
    return cv2.LUT(image, _towards(0, amount))


def _contrast(image: np.ndarray, amount: float) -> np.ndarray:
    mean = int(cv2.mean(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[0] + 0.5)
    return cv2.LUT(image, _towards(mean, amount))


def _towards(anchor: int, amount: float) -> np.ndarray:
    """A table: the distance from ``anchor`` times 1 + ``amount``, cut to 0..255 and rounded down."""
    table = anchor + np.float32(1 + amount) * (_VALUES - anchor).astype(np.float32)
    return table.clip(0, 255).astype(np.uint8)


def _colour(image: np.ndarray, amount: float) -> np.ndarray:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return _blend(image, cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), amount)


def _sharpness(image: np.ndarray, amount: float) -> np.ndarray:
    smooth = cv2.filter2D(image, -1, _SMOOTH)
    for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        smooth[edge] = image[edge]
    return _blend(image, smooth, amount)


def _blend(image: np.ndarray, anchor: np.ndarray, amount: float) -> np.ndarray:
    """The distance from ``anchor`` times 1 + ``amount``, cut to 0..255 and rounded down."""
    return cv2.addWeighted(image, 1 + amount, anchor, -amount, _DOWN)


def _posterize(image: np.ndarray, bits: float) -> np.ndarray:
    return cv2.LUT(image, (_VALUES & -(1 << 8 - int(bits))).astype(np.uint8))


def _solarize(image: np.ndarray, threshold: float) -> np.ndarray:
    return cv2.LUT(image, np.where(threshold > _VALUES, _VALUES, 255 - _VALUES).astype(np.uint8))


def _autocontrast(image: np.ndarray, _: float) -> np.ndarray:
    """Of each channel the least value there is to 0, the largest to 255, evenly between, rounded down."""
    low, high = _extremes(image)
    scale = 255 / np.maximum(high - low, 1)
    table = np.trunc(_VALUES[:, None] * scale - low * scale)
    return _through(image, table, changed=high > low)


def _equalize(image: np.ndarray, _: float) -> np.ndarray:
    """Each channel's values by how many pixels lie below them, in 255ths of all but those of the largest value."""
    counts = np.empty((256, 3), np.int64)
    for c in range(3):
        counts[:, c] = cv2.calcHist([image], [c], None, [256], [0, 256]).reshape(256)  # OpenCV 4: (256, 1)
    below = counts.cumsum(axis=0) - counts
    step = below[_extremes(image)[1], range(3)] // 255
    return _through(image, (step // 2 + below) // np.maximum(step, 1), changed=step > 0)


def _extremes(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest value of each channel, int64 (3,)."""
    found = np.array([cv2.minMaxLoc(channel)[:2] for channel in cv2.split(image)], np.int64)
    return found[:, 0], found[:, 1]


def _through(image: np.ndarray, table: np.ndarray, *, changed: np.ndarray) -> np.ndarray:
    """Every channel through its column of ``table`` (256, 3), cut to 0..255; as it is where not ``changed`` (3,)."""
    table = np.where(changed, table.clip(0, 255), _VALUES[:, None])
    return cv2.LUT(image, table.astype(np.uint8).reshape(1, 256, 3))


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
