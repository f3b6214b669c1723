"""What is made of a picture's file in one reading: the network's view, a hash of its bytes, and a small grey copy.

Worker processes hand over one array a picture. So all that is known of a picture travels behind its pixels, in a row
of bytes.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np

from urnet.config.recipe import Transform
from urnet.data.images.decode import UnreadableImage, check_header, decode_checked, read_bytes
from urnet.data.images.header import Header
from urnet.data.images.perceptual_hash import THUMBNAIL, perceptual_hash, thumbnail
from urnet.data.images.transforms import eval_transform

VIEW_VERSION = 1  # of what ``PictureSource`` makes of a file
FINER = 1.5  # a reduced picture's short side is at least so many times what the network's view is made of
ABOUT = np.dtype(
    [("content", np.uint8, 32), ("hash", "<u8"), ("pixels", "<u4"), ("thumbnail", np.uint8, (THUMBNAIL, THUMBNAIL))]
)


class Pictures(NamedTuple):
    """Of n pictures: uint8 (n, size, size, 3), and ``ABOUT`` (n,)."""

    views: np.ndarray
    about: np.ndarray


class PictureSource:
    """Makes a row of bytes of a picture's file, or says why it cannot be read: a ``prefetch.Source``.

    The view is the evaluation's, except that a JPEG far larger than it is decoded at 1/2, 1/4 or 1/8 of its size, as
    training does (ours): of a telephone's 12 megapixels most would be thrown away. ``content`` is the file's SHA-256.
    """

    def __init__(self, paths: object, transform: Transform, *, exif: str, max_pixels: int) -> None:
        """``paths[i]`` is the file of row i."""
        self._paths, self.transform, self.exif, self.max_pixels = paths, transform, exif, max_pixels
        self.shape: tuple[int, ...] = (transform.size * transform.size * 3 + ABOUT.itemsize,)

    def path_of(self, row: int) -> str:
        """The row's file."""
        return self._paths[row]  # type: ignore[index]

    def view(self, path: str, row: int, draw: int) -> tuple[np.ndarray | None, str]:
        """uint8 of ``shape`` and "", or None and the reason."""
        try:
            data = read_bytes(path, self.max_pixels)
            header = check_header(data, self.max_pixels)
            n = reduction(header, self.transform)
            image = decode_checked(data, header, exif=self.exif, reduction=n)
        except UnreadableImage as error:
            return None, error.reason
        about = np.zeros((), ABOUT)
        about["content"] = np.frombuffer(hashlib.sha256(data).digest(), np.uint8)
        about["pixels"] = header.height * header.width
        small = thumbnail(image)
        about["thumbnail"], about["hash"] = small, perceptual_hash(small)
        view = eval_transform(image, self.transform)
        return np.concatenate([view.reshape(-1), np.frombuffer(about.tobytes(), np.uint8)]), ""

    def split(self, rows: np.ndarray) -> Pictures:
        """Rows of bytes (n, *shape) as what they hold."""
        size, at = self.transform.size, self.shape[0] - ABOUT.itemsize
        views = np.ascontiguousarray(rows[:, :at]).reshape(-1, size, size, 3)
        return Pictures(views, np.ascontiguousarray(rows[:, at:]).view(ABOUT).reshape(-1))

    def __getstate__(self) -> dict[str, object]:
        """For a worker process, which gets the paths with each job."""
        return {**vars(self), "_paths": None}


def reduction(header: Header, transform: Transform) -> int:
    """By how much a file is made smaller in decoding: the largest of 8, 4, 2 that leaves enough pixels, or 1."""
    if header.kind != "JPEG":
        return 1
    needed = FINER * (transform.resize_short if transform.eval == "short" else transform.size)
    return next((n for n in (8, 4, 2) if min(header.height, header.width) >= n * needed), 1)
