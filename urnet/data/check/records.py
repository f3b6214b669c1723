"""What is noted about every file of a data set while it is decoded: 64 bytes per picture, by worker processes."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from urnet.core.progress import Progress
from urnet.data.images.decode import MAX_PIXELS, UnreadableImage, check_header, decode_checked, read_bytes, read_image
from urnet.data.images.perceptual_hash import THUMBNAIL, perceptual_hash, thumbnail
from urnet.data.loading.prefetch import decode_here
from urnet.data.loading.worker_pool import WorkerPool

KINDS = ("", "JPEG", "PNG", "GIF", "WebP", "BMP", "TIFF", "AVIF", "JPEG 2000", "PNM")
GREY, ALPHA, CMYK, SEVERAL = 1, 2, 4, 8  # bits of a record's modes
RECORD = np.dtype(
    [("sha256", "<u8", 4), ("hash", "<u8"), ("width", "<u4"), ("height", "<u4"), ("kind", "u1"), ("modes", "u1")],
    align=True,
)
_BATCH = 256
_KEPT = 20_000  # thumbnails, 4 KB each
PathOf = Callable[[int], str]


class RecordSource:
    """Makes the record of a row's file, as the loader's sources make images (``prefetch.Source``): RECORD as bytes."""

    def __init__(self, path_of: PathOf, *, exif: str = "honour", max_pixels: int = MAX_PIXELS) -> None:
        self.path_of, self.exif, self.max_pixels = path_of, exif, max_pixels
        self.shape: tuple[int, ...] = (RECORD.itemsize,)

    def view(self, path: str, row: int, draw: int) -> tuple[np.ndarray | None, str]:
        """The record and "", or None and the reason why the file is unreadable: the one that training gives."""
        try:
            data = read_bytes(path, self.max_pixels)
            header = check_header(data, self.max_pixels, path)
            image = decode_checked(data, header, exif=self.exif, name=path)
        except UnreadableImage as error:
            return None, error.reason
        record = np.zeros(1, RECORD)
        record["sha256"] = np.frombuffer(hashlib.sha256(data).digest(), "<u8")
        record["hash"] = perceptual_hash(image)
        record["height"], record["width"] = image.shape[:2]
        record["kind"] = KINDS.index(header.kind)
        record["modes"] = _modes(data)
        return record.view(np.uint8), ""

    def __getstate__(self) -> dict[str, Any]:
        """For a worker process, which gets the paths with each job."""
        return {**vars(self), "path_of": None}


def read_records(
    source: RecordSource, n_rows: int, *, workers: int, title: str = "check"
) -> tuple[np.ndarray, dict[int, str]]:
    """RECORD (n_rows,), zeros where a file is unreadable, and why, by row. ``workers`` 0: in this process."""
    records, bad = np.zeros(n_rows, RECORD), dict[int, str]()
    jobs = ((0, np.arange(at, min(at + _BATCH, n_rows))) for at in range(0, n_rows, _BATCH))
    pool = WorkerPool(source, workers) if workers and n_rows else None
    try:
        with Progress(title, n_rows) as display:
            for rows, images, unreadable in pool.run(jobs) if pool else decode_here(source, jobs):
                records[rows] = images.view(RECORD)[:, 0]
                bad.update((int(rows[position]), reason) for position, reason in unreadable)
                display.update(len(rows))
    finally:
        if pool:
            pool.close()
    return records, bad


class FileThumbnails:
    """The thumbnail of a row's file, read when it is asked for; the last 20,000 are kept."""

    def __init__(self, source: RecordSource) -> None:
        self._source = source
        self._read = lru_cache(_KEPT)(self._thumbnail)

    def __getitem__(self, row: int) -> np.ndarray:
        return self._read(int(row))

    def _thumbnail(self, row: int) -> np.ndarray:
        try:
            of = self._source
            return thumbnail(read_image(of.path_of(row), exif=of.exif, max_pixels=of.max_pixels))
        except UnreadableImage:  # it was there a moment ago
            return np.zeros((THUMBNAIL, THUMBNAIL), np.uint8)


def _modes(data: bytes) -> int:
    """GREY, ALPHA, CMYK, SEVERAL (pictures: an animation, pages) as Pillow reads the file's head; 0 where it cannot."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about many pixels: max_pixels has judged that
            image = Image.open(io.BytesIO(data))
            alpha = image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info
            grey = image.mode in ("1", "L", "LA", "La") or image.mode.startswith(("I", "F"))
            preview = image.format == "MPO"  # a camera's JPEG with a second, small one behind
            several = not preview and getattr(image, "is_animated", False)
    except Exception:  # Pillow raises whatever its readers do; the picture was decoded, so only its mode is unknown
        return 0
    return GREY * grey + ALPHA * alpha + CMYK * (image.mode == "CMYK") + SEVERAL * bool(several)
