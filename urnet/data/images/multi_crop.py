"""Several views of one image at test time; ``urnet.core.answers`` takes the means over them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from urnet.config.choices import CROPS
from urnet.data.images.transforms import centre, resize, resize_short


@dataclass(frozen=True)
class MultiCrop:
    """The views of an image: ``multi_crop(image) -> uint8 (n_views, size, size, 3)``, from one decoded image.

    ``scales``: short sides in pixels, each at least ``size``, the aspect kept; none: the whole image is
    resized to size x size (then ``crops`` is 1). ``crops`` at each scale, in this order:

    - 1: the centre. 5: top left, top right, bottom left, bottom right, centre. 10: those five and their
      mirror images (Krizhevsky et al. 2012).
    - 144: at each of four scales the left, middle and right square of the image (of an upright one: the top,
      middle and bottom one); of each square the five crops and the whole square resized to size x size; and
      the mirror images of all (Szegedy et al. 2014).

    ``flip``: the mirror images, too, where they are not among them already.
    """

    size: int
    scales: tuple[int, ...]
    crops: int = 1
    flip: bool = False

    def __post_init__(self) -> None:
        if self.crops not in CROPS:
            raise ValueError(f"crops {self.crops}: one of {CROPS} is accepted")
        if (self.crops == 144 and len(self.scales) != 4) or (self.crops > 1 and not self.scales):
            raise ValueError(f"scales {self.scales}: crops 144 needs four, 5 and 10 at least one")
        if self.scales and min(self.scales) < self.size:
            raise ValueError(f"scales {self.scales}: {self.size} or more is accepted")

    @property
    def n_views(self) -> int:
        """How many views an image has."""
        cuts = {1: 1, 5: 5, 10: 5, 144: 18}[self.crops]
        return max(1, len(self.scales)) * cuts * (2 if self._mirrored else 1)

    @property
    def _mirrored(self) -> bool:
        return self.flip or self.crops in (10, 144)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """uint8 (height, width, 3) -> uint8 (n_views, size, size, 3); the mirror images come last."""
        size, views = self.size, []
        for scale in self.scales:
            views += self._cut(resize_short(image, scale))
        views = views or [resize(image, size, size)]
        out = np.empty((self.n_views, size, size, 3), np.uint8)
        for place, view in enumerate(views):
            out[place] = view
            if self._mirrored:
                cv2.flip(out[place], 1, dst=out[len(views) + place])
        return out

    def _cut(self, image: np.ndarray) -> list[np.ndarray]:
        """The views of one scale, not mirrored."""
        size = self.size
        if self.crops == 1:
            return [centre(image, size, size)]
        if self.crops != 144:
            return _corners_and_centre(image, size)
        views = []
        for square in _squares(image):
            views += [*_corners_and_centre(square, size), resize(square, size, size)]
        return views


def _corners_and_centre(image: np.ndarray, size: int) -> list[np.ndarray]:
    start, end = slice(None, size), slice(-size, None)
    corners = [image[rows, columns] for rows in (start, end) for columns in (start, end)]
    return [*corners, centre(image, size, size)]


def _squares(image: np.ndarray) -> list[np.ndarray]:
    """The squares at the start, in the middle and at the end of the long side."""
    side = min(image.shape[:2])
    return [image[:side, :side], centre(image, side, side), image[-side:, -side:]]
