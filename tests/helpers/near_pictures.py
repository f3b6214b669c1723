"""Pictures that nobody photographed, and copies of them as the web makes them: cut, smaller, recompressed, mirrored."""

from __future__ import annotations

import cv2
import numpy as np

from urnet.data.images.perceptual_hash import perceptual_hash, thumbnail


def picture(seed: int, height: int = 120, width: int = 160) -> np.ndarray:
    """A random RGB picture with shapes of every size, uint8 (height, width, 3)."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3))
    for cells in (4, 8, 16, 32):
        coarse = rng.normal(0, 1, (cells, cells, 3)).astype(np.float32)
        image += 40 / np.sqrt(cells / 4) * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(image + 128, 0, 255).astype(np.uint8)


def cut(image: np.ndarray, share: float) -> np.ndarray:
    """Without ``share`` of the height and of the width, from the upper left."""
    height, width = image.shape[:2]
    return np.ascontiguousarray(image[round(height * share) :, round(width * share) :])


def smaller(image: np.ndarray, scale: float) -> np.ndarray:
    """Both sides times ``scale``."""
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def recompressed(image: np.ndarray, quality: int) -> np.ndarray:
    """After a JPEG file of this quality."""
    data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def features_of(images: list[np.ndarray], width: int = 48) -> np.ndarray:
    """What a network might say of pictures, and of mirrored ones the same: float32 (N, width), none negative."""
    projection = np.random.default_rng(9).normal(0, 1, (3 * 64, width))
    cells = [cv2.resize(image, (8, 8), interpolation=cv2.INTER_AREA).astype(np.float64) / 255 for image in images]
    halves = np.stack([c + c[:, ::-1] for c in cells]).reshape(len(images), -1) - 1
    return np.maximum(halves @ projection, 0).astype(np.float32)


def witnesses_of(images: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, hashes and thumbnails."""
    thumbnails = np.stack([thumbnail(image) for image in images])
    return features_of(images), np.array([perceptual_hash(t) for t in thumbnails], np.uint64), thumbnails
