"""A small multi-label data set in PASCAL VOC's layout, from labelled images: what docs/transfer.md measures on.

A picture is four images in a square, of one to four classes; half of the images of each class serve the split
trainval, the other half test. A tenth of the tiles are blurred away, and their objects marked difficult.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from tests.helpers.voc import Objects, write_layout

DIFFICULT = 0.1  # share of the tiles
SPLITS = ("trainval", "test")
Tile = tuple[int, int, bool]  # number of the image, class, difficult


def write_mosaics(
    root: Path, files: Sequence[Path], labels: np.ndarray, count: int, *, tile: int = 32, seed: int = 0
) -> dict[str, list[Objects]]:
    """``count`` pictures of each split, of tiles of ``tile`` pixels; returns the objects of each split."""
    rng = np.random.default_rng(seed)
    pools = halves(labels, rng)
    drawn = {split: [draw(pool, rng) for _ in range(count)] for split, pool in pools.items()}
    objects = {
        split: [[(f"c{label:04d}", difficult) for _, label, difficult in four] for four in pictures]
        for split, pictures in drawn.items()
    }
    ids = write_layout(root, objects, [f"c{label:04d}" for label in np.unique(labels)])
    for split, pictures in drawn.items():
        for name, four in zip(ids[split], pictures, strict=True):
            parts = [shown(files[i], tile, blurred) for i, _, blurred in four]
            picture = np.vstack([np.hstack(parts[:2]), np.hstack(parts[2:])])
            assert cv2.imwrite(str(root / f"JPEGImages/{name}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
    return objects


def halves(labels: np.ndarray, rng: np.random.Generator) -> dict[str, dict[int, np.ndarray]]:
    """Split -> class -> numbers of images: none is in both."""
    pools: dict[str, dict[int, np.ndarray]] = {split: {} for split in SPLITS}
    for label in np.unique(labels).tolist():
        images = rng.permutation(np.flatnonzero(labels == label))
        for split, half in zip(SPLITS, np.array_split(images, 2), strict=True):
            pools[split][label] = half
    return pools


def draw(pool: dict[int, np.ndarray], rng: np.random.Generator) -> list[Tile]:
    """Four tiles, of 1 to 4 classes (or all there are), each number as often."""
    n = min(int(rng.integers(1, 5)), len(pool))
    classes = rng.choice(list(pool), n, replace=False)
    four = rng.permutation([*classes, *rng.choice(classes, 4 - n)]).tolist()
    return [(int(rng.choice(pool[label])), label, bool(rng.random() < DIFFICULT)) for label in four]


def shown(file: Path, size: int, blurred: bool) -> np.ndarray:
    """The image in BGR; where blurred, two by two patches of one colour are left of it."""
    image = cv2.resize(cv2.imread(str(file)), (size, size))
    if blurred:
        image = cv2.resize(image, (2, 2), interpolation=cv2.INTER_AREA)
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_NEAREST)
    return image
