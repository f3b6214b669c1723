"""Small JPEG pictures of image files, as data: addresses inside a page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from urnet.data.images.decode import MAX_PIXELS, UnreadableImage, read_image
from urnet.report.gallery import SMALL, NoPicture, Thumbnails

QUALITY = 72


def thumbnail(path: str, *, size: int, exif: str, max_pixels: int) -> str | NoPicture:
    """The whole image, its longer side at most ``size`` pixels, as a data: address."""
    try:
        image = read_image(path, exif=exif, max_pixels=max_pixels)
    except UnreadableImage as error:
        return NoPicture(error.reason)
    height, width = image.shape[:2]
    scale = size / max(height, width)
    if scale < 1:
        small = max(round(width * scale), 1), max(round(height * scale), 1)
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    bgr = np.ascontiguousarray(image[:, :, ::-1])
    good, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not good:
        raise RuntimeError(f"{path}: OpenCV could not encode its small picture")
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")


def thumbnailer(*, exif: str = "honour", max_pixels: int = MAX_PIXELS, threads: int = 2) -> Thumbnails:
    """A function from files to small pictures in the same order, decoded in ``threads`` threads."""

    def thumbnails(files: Sequence[str], size: int = SMALL) -> list[str | NoPicture]:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda path: thumbnail(path, size=size, exif=exif, max_pixels=max_pixels), files))

    return thumbnails
