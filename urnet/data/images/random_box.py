"""A random box in an image, of a share of its area and a ratio of its sides: what a crop keeps, what erasing fills."""

from __future__ import annotations

import math

import numpy as np

Box = tuple[slice, slice]  # rows, columns


def random_resized_box(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float], rng: np.random.Generator
) -> Box:
    """Rows and columns of a random box: area share U(scale), width/height exp(U(log ratio)).

    Up to 10 tries for a box that fits, then the largest centred box whose ratio is inside ``ratio``
    (Szegedy et al. 2015, with torchvision's tries and fallback).
    """
    return place_box(draw_box(rng), height, width, scale, ratio)


def draw_box(rng: np.random.Generator) -> list[list[float]]:
    """The random numbers of ``random_resized_box``, 10 x 4, which do not depend on the image."""
    return rng.random((10, 4)).tolist()


def place_box(
    draws: list[list[float]], height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> Box:
    """The box that ``draws`` (of ``draw_box``) give in an image of height x width pixels."""
    log_low, log_high = math.log(ratio[0]), math.log(ratio[1])
    for u_area, u_ratio, u_top, u_left in draws:
        area = height * width * (scale[0] + (scale[1] - scale[0]) * u_area)
        aspect = math.exp(log_low + (log_high - log_low) * u_ratio)
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top, left = int(u_top * (height - h + 1)), int(u_left * (width - w + 1))
            return slice(top, top + h), slice(left, left + w)
    h, w = height, width
    if width < ratio[0] * height:
        h = min(height, max(1, round(width / ratio[0])))
    elif width > ratio[1] * height:
        w = min(width, max(1, round(height * ratio[1])))
    top, left = (height - h) // 2, (width - w) // 2
    return slice(top, top + h), slice(left, left + w)
