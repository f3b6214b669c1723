"""Which views of a training image are measured: one is a noisy witness, the mean over a few a better one (ours)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

SHIFT = 16  # a shifted view is moved by the image's side over this, a pixel at least
STRAIGHT = ((0, 0), (1, 1), (-1, -1), (1, -1), (-1, 1))  # down and right, of views that are not mirrored
MIRRORED = ((0, 0), (1, -1), (-1, 1), (1, 1), (-1, -1))
MOST = {True: len(STRAIGHT) + len(MIRRORED), False: len(STRAIGHT)}  # views there are, by ``transform.flip``


class View(NamedTuple):
    """The evaluation's view, ``mirrored`` or not, moved by so many pixels; what comes in repeats the border."""

    mirrored: bool = False
    up: int = 0
    left: int = 0

    def of(self, images: np.ndarray) -> np.ndarray:
        """The view of ``images`` (B, height, width, 3), of the same shape and type."""
        shown = images[:, :, ::-1] if self.mirrored else images
        if self.up or self.left:
            height, width = images.shape[1:3]
            rows = np.clip(np.arange(height) + self.up, 0, height - 1)
            columns = np.clip(np.arange(width) + self.left, 0, width - 1)
            shown = shown[:, rows[:, None], columns]
        return np.ascontiguousarray(shown)


def views_of(n: int, size: int, flip: bool) -> list[View]:
    """The first ``n`` views of images of ``size`` pixels a side, at most ``MOST[flip]``.

    They are the evaluation's, its mirror image where ``flip``, then those moved by size / 16 toward the corners, every
    second one mirrored.
    """
    by = max(round(size / SHIFT), 1)
    straight = [View(False, up * by, left * by) for up, left in STRAIGHT]
    mirrored = [View(True, up * by, left * by) for up, left in MIRRORED]
    both = [view for pair in zip(straight, mirrored, strict=True) for view in pair]
    return (both if flip else straight)[:n]
