"""Where the classes lie among a network's features, and how near to them an image must be to fit one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from urnet.core.checks import InputError, check_labels, check_same_rows

SHARE = 0.05  # of the held-out images, those that get less than 0.5
MEDIAN_LOGIT = 3.0  # of the held-out images: in_classes 0.95
LEAST_SCALE = 1e-3  # of cosine: closer together, cosines say nothing in float32


@dataclass(frozen=True)
class ClassCentres:
    """in_classes = 1 / (1 + exp((threshold - s) / scale)), s the largest cosine to the ``centres`` (ours).

    ``centres`` (m, d) float32 of length 1, a class each; m is less than the number of classes where some have none.
    ``threshold``: the cosine at which in_classes is 0.5; ``scale`` > 0: the cosine that is one unit of the logit.
    """

    centres: np.ndarray
    threshold: float
    scale: float

    def score(self, features: Any) -> np.ndarray:
        """float32 (N,), 0..1, of features (N, d): below 0.5 for an image that probably fits none of the classes."""
        logit = (nearness(self.centres, features) - self.threshold) / self.scale
        return (1 / (1 + np.exp(-np.clip(logit, -50, 50)))).astype(np.float32)


def fit(features: np.ndarray, labels: np.ndarray, n_classes: int, held_out: np.ndarray) -> ClassCentres:
    """From features (N, d) of training images and those (M, d) of images that were held out of the training.

    A centre is the mean of its class's features, made 1 long. Wrong labels among them do little harm: what they
    bring in points everywhere. The threshold leaves 5 in 100 of the held-out images below 0.5, and their
    median is at 0.95. Those of the training cannot tell that: a network is surer of what it was trained on.
    Raises InputError for labels outside 0..n_classes-1, shapes that differ, and no held-out image.
    """
    check_same_rows(features=features, labels=labels)
    check_labels(labels, n_classes)
    sums = np.zeros((n_classes, features.shape[1]))
    np.add.at(sums, labels, features.astype(np.float64))
    return from_sums(sums, held_out)


def from_sums(sums: np.ndarray, held_out: np.ndarray) -> ClassCentres:
    """As ``fit``, from each class's sum of features (C, d) float64; a class whose sum is 0 gets no centre."""
    if not len(held_out):
        raise InputError("held_out: found no image; one or more that the network was not trained on are needed")
    length = np.linalg.norm(sums, axis=1, keepdims=True)
    there = length[:, 0] > 0
    if not there.any():
        raise InputError("features: all are 0; no class has a centre")
    centres = (sums[there] / length[there]).astype(np.float32)
    threshold, median = np.quantile(nearness(centres, held_out).astype(np.float64), (SHARE, 0.5))
    return ClassCentres(centres, float(threshold), max(float(median - threshold) / MEDIAN_LOGIT, LEAST_SCALE))


def nearness(centres: np.ndarray, features: Any) -> np.ndarray:
    """The largest cosine (N,) float32 of features (N, d) to the centres; 0 for a row of nothing but 0."""
    if features.ndim != 2 or features.shape[1] != centres.shape[1]:
        raise InputError(f"features has shape {tuple(features.shape)}; (rows, {centres.shape[1]}) is accepted")
    rows = features.astype(np.float32)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    found: np.ndarray = (rows / np.maximum(length, np.float32(1e-12)) @ centres.T).max(axis=1)
    return found
