"""From a decoded image to the view a network is given: crops, resizing, flips, colours.

Every random choice comes from the ``rng`` handed in.
"""

from __future__ import annotations

import cv2
import numpy as np

from urnet.config.recipe import Transform
from urnet.data.images.erasing import erase
from urnet.data.images.random_box import random_resized_box
from urnet.data.images.trivial_augment import trivial_augment

MAX_ASPECT = 16  # `short` evaluation: longer images lose their ends before they are enlarged
_GREY, _IDENTITY = np.array([0.299, 0.587, 0.114]), np.eye(3)


def train_transform(image: np.ndarray, transform: Transform, rng: np.random.Generator) -> np.ndarray:
    """A random view of ``image`` for training: crop, then ``augment``; uint8 (size, size, 3).

    The draws come in a fixed order from ``rng``, so one generator state gives one result.
    """
    if transform.train == "random_resized_crop":
        box = random_resized_box(image.shape[0], image.shape[1], transform.scale, transform.ratio, rng)
        image = resize(image[box], transform.size, transform.size)
    else:
        image = _pad_crop(resize(image, transform.size, transform.size), transform.pad, rng)
    return augment(image, transform, rng)


def augment(image: np.ndarray, transform: Transform, rng: np.random.Generator) -> np.ndarray:
    """What follows the crop in training: flip, TrivialAugment, colour jitter, random erasing; contiguous.

    What is off takes no number from ``rng``.
    """
    if draw_flip(transform, rng):
        image = cv2.flip(image, 1)
    if transform.trivial_augment:
        image = trivial_augment(image, rng)
    if transform.jitter > 0:
        image = colour_jitter(image, transform.jitter, rng)
    if transform.erasing > 0 and rng.random() < transform.erasing:
        image = erase(image, transform.mean, rng)
    return np.ascontiguousarray(image)


def draw_flip(transform: Transform, rng: np.random.Generator) -> bool:
    """Whether a training view is mirrored; no number is taken where none ever is."""
    return transform.flip and bool(rng.random() < 0.5)


def eval_transform(image: np.ndarray, transform: Transform) -> np.ndarray:
    """The one view of ``image`` for evaluation; uint8 (size, size, 3).

    ``straight``: resized bilinearly to size x size, aspect not kept (the 2018 release's last revision).
    ``short``: the short side to ``resize_short``, the other to int(round(side * resize_short / short)),
    then the centre (the 2018 release's earlier revision; the crop's corner is rounded down).
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

    With x a pixel's value, g its grey (ITU-R 601) and m the mean grey of the image at that moment:
    brightness f x, contrast m + f (x - m), saturation g + f (x - g). The three make one affine map
    a x + s g + o, applied in one pass, rounded half up and clipped to 0..255 once (ours: after Szegedy et
    al. 2015's colour distortions as torchvision orders them, without clipping in between). Coefficients are
    rounded to 1/1024, OpenCV's own fixed point, so that the pass is exact.
    """
    a, s, o = jitter_map(*draw_jitter(jitter, rng), float(_GREY @ cv2.mean(image)[:3]))
    matrix = np.empty((3, 4))
    matrix[:, :3] = s * _GREY + a * _IDENTITY
    matrix[:, 3] = o
    return cv2.transform(image, np.rint(1024 * matrix) / 1024)


def draw_jitter(jitter: float, rng: np.random.Generator) -> tuple[list[int], np.ndarray]:
    """What ``colour_jitter`` draws: the order of brightness 0, contrast 1 and saturation 2, and each one's factor."""
    order = rng.permutation(3)
    return order.tolist(), 1 + jitter * (2 * rng.random(3) - 1)


def jitter_map(order: list[int], factors: np.ndarray, mean: float) -> tuple[float, float, float]:
    """a, s, o of ``colour_jitter``'s map for an image of that mean grey, before rounding; o is proportional to it."""
    a, s, o = 1.0, 0.0, 0.0
    for step in order:
        f = float(factors[step])
        if step == 0:
            a, s, o = f * a, f * s, f * o
        elif step == 1:
            a, s, o = f * a, f * s, f * o + (1 - f) * ((a + s) * mean + o)
        else:
            a, s = f * a, f * s + (1 - f) * (a + s)
    return a, s, o


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear, as cv2.resize's default; an image of that size already is returned as it is."""
    if image.shape[:2] == (height, width):
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


def centre(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The window of that size in the middle of ``image``; its corner is rounded down."""
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]
