"""Labelled pictures with planted faults, and weights of a small network that tells their classes apart."""

import csv
from pathlib import Path

import cv2
import numpy as np
import paddle

import models
from tests.helpers.predict import recipe_of, save_checkpoint
from urnet.config.recipe import Transform

NETWORK, SIZE = "ResNet8_small32", 32
COLOURS = {"blue": (40, 60, 200), "green": (50, 190, 60), "red": (210, 50, 40)}  # class -> RGB


def save_weights(folder: Path, names: str = "xyz") -> Path:
    """A checkpoint with random weights, whose features hold colours well enough; ``names``: of its classes."""
    paddle.seed(1)
    transform = Transform(size=SIZE, eval="short", resize_short=36)
    recipe = recipe_of(NETWORK, transform, n_classes=len(names))
    return save_checkpoint(folder, models.build(NETWORK, len(names)), recipe, list(names))


def picture(name: str, seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    """uint8 RGB (height, width, 3): the colour of class ``name`` under a pattern of its own."""
    rng = np.random.default_rng([seed, *name.encode()])
    pattern = cv2.resize(rng.normal(0, 30, (6, 8)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(np.array(COLOURS[name]) + pattern[..., None], 0, 255).astype(np.uint8)


def write(path: Path, image: np.ndarray) -> Path:
    """Write RGB, RGBA or grey as what the name's ending says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = image if image.ndim == 2 else image[:, :, [2, 1, 0, *range(3, image.shape[2])]]
    assert cv2.imwrite(str(path), np.ascontiguousarray(stored))
    return path


def write_tree(root: Path, each: int = 12, ending: str = "png") -> Path:
    """``root``/CLASS/NN.``ending``, ``each`` pictures per class."""
    for name in COLOURS:
        for i in range(each):
            write(root / name / f"{i:02d}.{ending}", picture(name, i))
    return root


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a list of suspects."""
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))
