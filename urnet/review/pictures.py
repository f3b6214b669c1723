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
        self._shown: dict[int, tuple[str, tuple[int, ...]]] = {}  # SHA-256, and what tells that the file is the same
        self._decoding = threading.BoundedSemaphore(usable_cores())

    def jpeg(self, row: int, size: str) -> bytes:
        """A row's picture, upright, as JPEG; ``size``: of SIDES. Raises UnreadableImage."""
        path, place = self._place(row)
        state = _state(place)
        data = read_bytes(place, self._max_pixels)
        self._shown[row] = hashlib.sha256(data).hexdigest(), state
        return self._encoded(data, path, SIDES[size])

    def of_validation(self, path: str, size: str) -> bytes:
        """The picture of a leak's ``same_as``. Raises UnreadableImage."""
        if not str(self._photos.val_root):
            raise UnreadableImage(path, "a validation picture; give their folder with --val DIR")
        place = self._inside(path, of_validation=True)
        return self._encoded(read_bytes(place, self._max_pixels), path, SIDES[size])

    def sha256(self, row: int) -> str:
        """Of the row's file as it is now. Raises UnreadableImage where it cannot be read."""
        _, place = self._place(row)
        shown = self._shown.get(row)
        if shown is not None and shown[1] and shown[1] == _state(place):
            return shown[0]  # it need not be read again
        return hashlib.sha256(read_bytes(place, self._max_pixels)).hexdigest()

    def shown(self, row: int) -> str | None:
        """The SHA-256 of the row's file when it was last shown, None: it was not."""
        return self._shown[row][0] if row in self._shown else None

    def _place(self, row: int) -> tuple[str, Path]:
        """The path of a row, and where its file is."""
        (path,) = self._photos.paths_of(np.array([row]))
        return path, self._inside(path)

    def _inside(self, path: str, *, of_validation: bool = False) -> Path:
        """Where a file is, links followed. Raises UnreadableImage where that is outside of all folders."""
        root = self._photos.val_root if of_validation else self._photos.root
        place = Path(os.path.realpath(Path(root) / path))
        if not any(place.is_relative_to(folder) for folder in self._allowed[of_validation]):
            raise UnreadableImage(path, f"leads out of {root} to {place}; --also {place.parent} allows it")
        return place

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


def _state(place: Path) -> tuple[int, ...]:
    """What changes when a file is written or replaced; () where it is not there."""
    try:
        found = place.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino
