"""What is made of a picture's file in one reading: a view for the network, a hash of its bytes, and a small grey copy.

Worker processes hand over one array a picture. So all that is known of a picture travels behind its pixels, in a row
of bytes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np

from urnet.config.recipe import Transform
from urnet.data.images.decode import UnreadableImage, check_header, decode_checked, read_bytes
from urnet.data.images.header import Header
from urnet.data.images.perceptual_hash import THUMBNAIL, perceptual_hash, thumbnail
from urnet.data.images.reduced_decode import train_view
from urnet.data.images.transforms import eval_transform

STREAM = 4  # of random numbers, see urnet.core.seeds
VIEW_VERSION = 1  # of what ``PictureSource`` makes of a file
FINER = 1.5  # a reduced picture's short side is at least so many times what the network's view is made of
ABOUT = np.dtype(
    [("content", np.uint8, 32), ("hash", "<u8"), ("pixels", "<u4"), ("thumbnail", np.uint8, (THUMBNAIL, THUMBNAIL))]
)


@dataclass(frozen=True)
class View:
    """Which view of a picture: the evaluation's, ``mirrored`` or not, or random training view number ``draw``.

    A random view depends on ``seed``, ``draw`` and the picture's bytes alone, so it is the same in whatever list, and
    under whatever name, the picture stands.
    """

    mirrored: bool = False
    draw: int | None = None
    seed: int = 0

    def identity(self, t: Transform) -> dict[str, Any]:
        """What tells this view from the evaluation's: JSON values, by name."""
        if self.draw is None:
            return {"mirrored": True} if self.mirrored else {}
        crop = ["random_resized_crop", *t.scale, *t.ratio, t.reduced_decode]
        return {
            "draw": [self.seed, self.draw],
            "random": [*(crop if t.train == crop[0] else [t.train, t.pad]), t.flip, t.jitter],
            **({"trivial_augment": True} if t.trivial_augment else {}),
            **({"erasing": [t.erasing, *t.mean]} if t.erasing else {}),
        }

    def rng(self, content: bytes) -> np.random.Generator:
        """The random numbers of the picture with this SHA-256."""
        return np.random.default_rng([STREAM, self.seed, self.draw or 0, int.from_bytes(content[:8], "little")])


EVALUATION = View()


def views_of(n: int, transform: Transform, seed: int) -> list[View]:
    """``n`` views of a picture: the evaluation's, its mirror image where ``flip`` allows it, then random ones."""
    fixed = [EVALUATION, *([View(mirrored=True)] if transform.flip else [])][:n]
    return fixed + [View(draw=number, seed=seed) for number in range(n - len(fixed))]


class Pictures(NamedTuple):
    """Of n pictures: uint8 (n, size, size, 3), and ``ABOUT`` (n,)."""

    views: np.ndarray
    about: np.ndarray


class PictureSource:
    """Makes a row of bytes of a picture's file, or says why it cannot be read: a ``prefetch.Source``.

    ``shown``: which view. The evaluation's is that of ``eval_transform``, except that a JPEG far larger than it is
    decoded at 1/2, 1/4 or 1/8 of its size, as training does (ours): of a telephone's 12 megapixels most would be thrown
    away. ``content`` is the file's SHA-256; next to a random view nothing else is told.
    """

    def __init__(
        self, paths: object, transform: Transform, *, exif: str, max_pixels: int, shown: View = EVALUATION
    ) -> None:
        """``paths[i]`` is the file of row i."""
        self._paths, self.transform, self.exif, self.max_pixels = paths, transform, exif, max_pixels
        self.shown = shown
        self.shape: tuple[int, ...] = (transform.size * transform.size * 3 + ABOUT.itemsize,)

    def path_of(self, row: int) -> str:
        """The row's file."""
        return self._paths[row]  # type: ignore[index]

    def view(self, path: str, row: int, draw: int) -> tuple[np.ndarray | None, str]:
        """uint8 of ``shape`` and "", or None and the reason."""
        try:
            data = read_bytes(path, self.max_pixels)
            about = np.zeros((), ABOUT)
            content = hashlib.sha256(data).digest()
            about["content"] = np.frombuffer(content, np.uint8)
            made = self._random(data, content) if self.shown.draw is not None else self._plain(data, about)
        except UnreadableImage as error:
            return None, error.reason
        return np.concatenate([made.reshape(-1), np.frombuffer(about.tobytes(), np.uint8)]), ""

    def _plain(self, data: bytes, about: np.ndarray) -> np.ndarray:
        header = check_header(data, self.max_pixels)
        image = decode_checked(data, header, exif=self.exif, reduction=reduction(header, self.transform))
        about["pixels"] = header.height * header.width
        small = thumbnail(image)
        about["thumbnail"], about["hash"] = small, perceptual_hash(small)
        view = eval_transform(image, self.transform)
        return cv2.flip(view, 1) if self.shown.mirrored else view

    def _random(self, data: bytes, content: bytes) -> np.ndarray:
        t, rng = self.transform, self.shown.rng(content)
        reduced = t.reduced_decode == "auto"
        return train_view(data, t, rng, exif=self.exif, max_pixels=self.max_pixels, reduced=reduced)

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
