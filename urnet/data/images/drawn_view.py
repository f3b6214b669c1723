"""What is drawn for a training view before anything is decoded, so that a card may do the rest.

The random numbers, and so box, flip and colours, are those of ``train_view``. Of other files than common JPEGs, which
every decoder turns into the same pixels, nothing is said: they are for our own decoder.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

from urnet.config.recipe import Transform
from urnet.data.images.decode import MAX_PIXELS, check_header
from urnet.data.images.orientation import read_orientation
from urnet.data.images.random_box import draw_box, place_box
from urnet.data.images.reduced_decode import FINER, choose_reduction
from urnet.data.images.transforms import draw_flip, draw_jitter, jitter_map

SAME_COLOURS = (1.0, 0.0, 0.0)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_HUFFMAN = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive
_LUMA = ((1, 1), (2, 1), (2, 2), (1, 2), (4, 1), (4, 2))  # samples of Y beside one of Cb and Cr that nvJPEG lists


class DrawnView(NamedTuple):
    """A JPEG file's bytes and what is to be made of them: crop, resize, flip, then the colours."""

    data: bytes
    box: tuple[int, int, int, int]  # top, left, height, width, of the image as stored
    low_pass: bool  # far larger than its view: what train_view decodes at 1/2 or less of its size
    flip: bool
    colours: tuple[float, float, float]  # a, s, k: a x + s g + k m, with g a pixel's grey and m the mean of g


def drawn_view(
    data: bytes,
    transform: Transform,
    rng: np.random.Generator,
    *,
    exif: str = "honour",
    max_pixels: int = MAX_PIXELS,
    reduced: bool = True,
) -> DrawnView | None:
    """What ``train_view`` would draw; None for a file that our own decoder is for.

    ``transform`` is of random_resized_crop, without what comes behind the colours. Raises UnreadableImage.
    """
    header = check_header(data, max_pixels)
    if header.kind != "JPEG" or not _common(data) or (exif == "honour" and read_orientation(data, "JPEG") != 1):
        return None
    draws = draw_box(rng)
    rows, columns = place_box(draws, header.height, header.width, transform.scale, transform.ratio)
    large = min(header.height, header.width) >= 2 * FINER * transform.size
    flip = draw_flip(transform, rng)
    colours = jitter_map(*draw_jitter(transform.jitter, rng), 1.0) if transform.jitter > 0 else SAME_COLOURS
    return DrawnView(
        data,
        (rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start),
        reduced and large and choose_reduction(draws, header, transform) > 1,
        flip,
        colours,
    )


def _common(data: bytes) -> bool:
    """Whether a JPEG, whose header was read already, has 8 bits, Y, Cb and Cr, and Huffman's codes."""
    at, adobe = 2, b""
    while True:
        while data[at + 1] == 0xFF:
            at += 1
        marker = data[at + 1]
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # without a length
            at += 2
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        body = data[at + 4 : at + 2 + length]
        if marker == 0xEE and body[:5] == b"Adobe":
            adobe = body
        if marker in _FRAMES:
            if marker not in _HUFFMAN or len(body) != 15 or body[0] != 8 or body[5] != 3:
                return False
            samples = [(body[i] >> 4, body[i] & 15) for i in (7, 10, 13)]
            stored_as_rgb = adobe[11:12] == b"\0" or bytes(body[i] for i in (6, 9, 12)) == b"RGB"
            return samples[0] in _LUMA and samples[1:] == [(1, 1), (1, 1)] and not stored_as_rgb
        if marker == 0xDA:
            return False
        at += 2 + length
