"""Pictures that fit none of the classes: how far each is from all others, and a threshold found without truth."""

from __future__ import annotations

from typing import Any

import numpy as np

from urnet.core.checks import InputError, check_labels, check_same_rows
from urnet.reweight.evidence.folds import BLOCK_CELLS, hashes_and_mean, joined
from urnet.reweight.evidence.neighbours import OWN, nearest_rows, reference_rows, unit_rows

K = 10  # neighbours that a distance is the mean of
REFERENCE = 8192  # rows at most that every row is compared with
FEW = 20  # of fewer distances nothing can be said
NEAREST = 1e-6  # the least distance, before its logarithm
VALLEY = (1.2, 6.0)  # where the valley is looked for, in robust deviations above the median
RISE = 1.05  # how much higher than the valley the hill behind it must be
PLAIN = 2.33  # the threshold where there is no valley: 1 in 100 of a normal distribution
STEEPNESS = 3.0  # of in_classes, a robust deviation beyond the threshold
LEAST_SCALE = 0.02  # of log distance: closer together, distances say nothing


def off_topic(
    features: Any,
    *,
    labels: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    outside: np.ndarray | None = None,
    seed: int = 0,
    block_cells: int = BLOCK_CELLS,
) -> dict[str, np.ndarray]:
    """How far each picture is from all others, whatever its class, and whether it fits any class (ours).

        distance_i   = 1 - mean cosine of row i to its K = 10 nearest other rows, features as they are
        z_i          = (log distance_i - median) / (1.4826 median absolute deviation)
        in_classes_i = 1 / (1 + exp(3 (z_i - t)))

    A picture of something else has no one like it in the set: its nearest neighbours are far. The threshold t is the
    point between 1.2 and 6 from which the density of z (Gaussian kernel of width 0.9 N^-0.2) rises most, if it rises
    at all: the valley between the classes' pictures and the others. Without a valley t = 2.33: of
    classes without any off-topic picture about 1 in 100 is then below 0.5. No truth and no label is needed.
    What it does not see: pictures of another subject that come in numbers (they are each other's neighbours),
    and pictures of things much like the classes.

    Args: ``features`` (N, d) finite floats, an array or array-like read by slices. ``labels`` (N,) integers >= 0:
    of more than ``REFERENCE`` rows only so many are compared with, evenly from the classes; without labels
    at random. ``groups`` (N,) integers: rows of one group >= 0 show the same picture and are not each other's
    neighbours, nor are equal rows. ``outside`` bool (N,): rows that are known to fit no class are nobody's neighbours,
    but help to find the threshold. ``seed`` chooses those rows; ``block_cells`` bounds the memory.
    Returns ``distance`` float32 (N,) in 0..2, 0 for a row without any other; ``in_classes`` float32 (N,) in
    0..1, 1 everywhere if fewer than 20 rows have a neighbour.
    Raises InputError for shapes that differ and values that are not finite.
    """
    keys = _keys(features, labels, groups, seed)
    rows = reference_rows(keys, labels, REFERENCE)
    if outside is not None and outside.any():
        inner = np.flatnonzero(~np.asarray(outside))
        rows = inner[reference_rows(keys[inner], None if labels is None else labels[inner], REFERENCE)]
    centres = unit_rows(np.asarray(features[rows], np.float32))
    cosine = nearest_rows(features, centres, K, keys=(keys, keys[rows]), block_cells=block_cells)[1]
    distance = _mean_distance(cosine)
    threshold, scale = _threshold(distance[(cosine > OWN).any(axis=1)])
    return {"distance": distance, "in_classes": _in_classes(distance, threshold, scale)}


def _keys(features: Any, labels: np.ndarray | None, groups: np.ndarray | None, seed: int) -> np.ndarray:
    """(N,) uint64, equal for rows that show the same picture, after all checks."""
    if len(features.shape) != 2 or not (features.shape[0] and features.shape[1]):
        raise InputError(f"features has shape {tuple(features.shape)}; (rows, dimensions), neither 0, is accepted")
    if labels is not None:
        check_same_rows(features=range(features.shape[0]), labels=labels)
        check_labels(labels, np.iinfo(np.int64).max)
    hashes, _ = hashes_and_mean(features, seed)
    return joined(hashes, groups)


def _mean_distance(cosine: np.ndarray) -> np.ndarray:
    there = cosine > OWN
    mean = (cosine * there).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    return np.where(there.any(axis=1), np.clip(1 - mean, 0, 2), 0).astype(np.float32)


def _in_classes(distance: np.ndarray, threshold: float, scale: float) -> np.ndarray:
    logit = (np.log(np.maximum(distance, NEAREST)) - threshold) / scale
    return (1 / (1 + np.exp(np.clip(logit, -50, 50)))).astype(np.float32)


def _threshold(distance: np.ndarray) -> tuple[float, float]:
    """The log distance at which in_classes is 0.5, and the scale of its logit."""
    if len(distance) < FEW:
        return float(np.log(2)) + 50, 1.0  # farther than any row can be
    value = np.log(np.maximum(distance.astype(np.float64), NEAREST))
    centre = np.median(value)
    deviation = max(1.4826 * np.median(np.abs(value - centre)), LEAST_SCALE)
    z = (value - centre) / deviation
    return float(centre + deviation * _valley(z)), float(deviation / STEEPNESS)


def _valley(z: np.ndarray, steps: int = 40) -> float:
    """Where the density of z is lowest before its highest hill inside ``VALLEY``; ``PLAIN`` if it falls throughout."""
    grid = np.arange(int(VALLEY[0] * steps), 8 * steps) / steps
    width = 0.9 * len(z) ** -0.2
    counts = np.histogram(z, np.arange(-4 * steps, 12 * steps + 1) / steps)[0]  # binned: any number of rows
    middles = (np.arange(-4 * steps, 12 * steps) + 0.5) / steps
    density = np.exp(-0.5 * ((grid[:, None] - middles) / width) ** 2) @ counts
    beyond = np.maximum.accumulate(density[::-1])[::-1]
    inner = np.flatnonzero(grid[:-1] <= VALLEY[1])[1:]
    low = inner[
        (density[inner] <= density[inner - 1])
        & (density[inner] < density[inner + 1])
        & (beyond[inner] >= RISE * density[inner])
    ]
    return float(grid[low[np.argmax(beyond[low] - density[low])]]) if len(low) else PLAIN
