"""The pictures of a list as the page gets them: by row, at most of a screen's size, and never from elsewhere.

What was shown is remembered by its SHA-256, so that a decision is about the file that the person saw.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from urnet.core.cpus import usable_cores
from urnet.data.images.decode import MAX_PIXELS, UnreadableImage, check_header, decode_checked, read_bytes
from urnet.report.photos import Photos

SIDES = {"large": 1600, "small": 360}  # pixels of the longer side at most
QUALITY = 86


class Pictures:
    """The pictures of ``photos``. ``also``: folders besides its roots that symbolic links may lead to."""

    def __init__(
        self, photos: Photos, also: Sequence[str | Path] = (), *, exif: str = "honour", max_pixels: int = MAX_PIXELS
    ) -> None:
        self._photos, self._exif, self._max_pixels = photos, exif, max_pixels
        self._allowed = {
            False: [Path(folder).resolve() for folder in (photos.root, *also)],
            True: [Path(folder).resolve() for folder in (photos.val_root, *also) if str(folder)],
        }
        self._shown: dict[int, str] = {}
        self._decoding = threading.BoundedSemaphore(usable_cores())

    def jpeg(self, row: int, size: str) -> bytes:
        """A row's picture, upright, as JPEG; ``size``: of SIDES. Raises UnreadableImage."""
        (path,) = self._photos.paths_of(np.array([row]))
        data = self._bytes(path, of_validation=False)
        self._shown[row] = hashlib.sha256(data).hexdigest()
        return self._encoded(data, path, SIDES[size])

    def of_validation(self, path: str, size: str) -> bytes:
        """The picture of a leak's ``same_as``. Raises UnreadableImage."""
        return self._encoded(self._bytes(path, of_validation=True), path, SIDES[size])

    def sha256(self, row: int) -> str:
        """Of the row's file as it is now. Raises UnreadableImage where it cannot be read."""
        (path,) = self._photos.paths_of(np.array([row]))
        return hashlib.sha256(self._bytes(path, of_validation=False)).hexdigest()

    def shown(self, row: int) -> str | None:
        """The SHA-256 of the row's file when it was last shown, None: it was not."""
        return self._shown.get(row)

    def _bytes(self, path: str, *, of_validation: bool) -> bytes:
        root, allowed = (self._photos.val_root if of_validation else self._photos.root), self._allowed[of_validation]
        if of_validation and not str(root):
            raise UnreadableImage(path, "a validation picture; --val DIR says where they are")
        place = Path(os.path.realpath(Path(root) / path))
        if not any(place.is_relative_to(folder) for folder in allowed):
            raise UnreadableImage(path, f"leads out of {root} to {place}; --also {place.parent} allows it")
        return read_bytes(place, self._max_pixels)

    def _encoded(self, data: bytes, path: str, side: int) -> bytes:
        with self._decoding:
            header = check_header(data, self._max_pixels, path)
            larger = max(header.height, header.width) / side
            reduction = next((n for n in (8, 4, 2) if header.kind == "JPEG" and larger >= n), 1)
            image = decode_checked(data, header, exif=self._exif, name=path, reduction=reduction)
            height, width = image.shape[:2]
            scale = side / max(height, width)
            if scale < 1:
                smaller = max(round(width * scale), 1), max(round(height * scale), 1)
                image = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)
            good, encoded = cv2.imencode(
                ".jpg", np.ascontiguousarray(image[:, :, ::-1]), [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
            )
        if not good:
            raise UnreadableImage(path, "cannot be shown")
        return encoded.tobytes()
