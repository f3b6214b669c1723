"""From a JPEG's bytes to a training view, without decoding more pixels than the view needs.

A JPEG holds blocks of 8 x 8 cosine coefficients. Their inverse transform can be made for 4 x 4, 2 x 2 or one
pixel a block from the low frequencies alone, which is a good low-pass filter and less work. docs/images.md
has the measured difference and speed.
"""

from __future__ import annotations

import numpy as np

from urnet.config.recipe import Transform
from urnet.data.images.decode import MAX_PIXELS, check_header, decode_checked
from urnet.data.images.header import Header
from urnet.data.images.random_box import draw_box, place_box
from urnet.data.images.transforms import augment, resize, train_transform

FINER = 1.25  # the box in the reduced image is at least so many times as large as the view


def train_view(
    data: bytes,
    transform: Transform,
    rng: np.random.Generator,
    *,
    exif: str = "honour",
    max_pixels: int = MAX_PIXELS,
    name: str = "<bytes>",
    reduced: bool = True,
) -> np.ndarray:
    """``train_transform`` of ``decode``, uint8 (size, size, 3), for a large JPEG from a reduced decoding.

    The random box is drawn in the original's coordinates and ``rng`` is asked for the same numbers, whatever
    the reduction. It is the largest of 8, 4, 2 that leaves the box at least FINER x size pixels in both
    directions (ours); where there is none, or with ``reduced`` False, the bytes are those of
    ``train_transform``. In the reduced image the box is rounded to whole pixels. Raises UnreadableImage.
    """
    header, size = check_header(data, max_pixels, name), transform.size
    crops = reduced and header.kind == "JPEG" and transform.train == "random_resized_crop"
    if not crops or min(header.height, header.width) < 2 * FINER * size:
        return train_transform(decode_checked(data, header, exif=exif, name=name), transform, rng)
    draws = draw_box(rng)
    n = choose_reduction(draws, header, transform)
    image = decode_checked(data, header, exif=exif, name=name, reduction=n)
    height, width = image.shape[:2] if n == 1 else _upright(image, header, n)
    rows, columns = place_box(draws, height, width, transform.scale, transform.ratio)
    if n > 1:
        rows, columns = (slice(round(s.start / n), round(s.stop / n)) for s in (rows, columns))
    return augment(resize(image[rows, columns], size, size), transform, rng)


def choose_reduction(draws: list[list[float]], header: Header, transform: Transform) -> int:
    """1, 2, 4 or 8, the same whether or not the EXIF orientation turns the image on its side.

    Only the decoder knows the orientation, and the reduced image's shape tells it. 1 where it would not:
    sides that differ, but not once they are reduced.
    """
    shapes = (header.height, header.width), (header.width, header.height)
    boxes = [place_box(draws, *shape, transform.scale, transform.ratio) for shape in shapes]
    side = min(s.stop - s.start for box in boxes for s in box)
    n = next((n for n in (8, 4, 2) if side >= n * FINER * transform.size), 1)
    told_apart = header.height == header.width or _up(header.height, n) != _up(header.width, n)
    return n if told_apart else 1


def _upright(image: np.ndarray, header: Header, n: int) -> tuple[int, int]:
    """Height and width of the whole image as its orientation shows it, from its reduction."""
    if image.shape[:2] == (_up(header.height, n), _up(header.width, n)):
        return header.height, header.width
    return header.width, header.height


def _up(side: int, n: int) -> int:
    """A side of the image divided by n, rounded up: what the decoder makes of it."""
    return -(-side // n)
