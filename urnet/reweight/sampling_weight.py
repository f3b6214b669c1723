"""From the confidence in each row's label to a sampling weight, mean 1 in each class."""

from __future__ import annotations

import numpy as np

from urnet.core.checks import InputError, check_labels, check_same_rows


def sampling_weight(
    labels: np.ndarray, n_classes: int, *, relevance: np.ndarray, power: float = 2.0, floor: float = 0.02
) -> dict[str, np.ndarray]:
    """Soft sampling weights: instance_weight ∝ max(relevance, floor)^power in each class, mean 1 (ours).

    No row is left out: training on the confident rows only, without weights, lost accuracy (SINet, WebVision
    2019). A class of rows of equal relevance gets ones. ``floor`` keeps rows of no relevance from vanishing,
    so that no class is left without mass.

    Args: ``labels`` (N,); ``relevance`` (N,) in 0..1, how likely the row shows its label's class.
    Returns ``relevance`` and ``instance_weight``, (N,) float32; permuted rows give the same bytes, permuted.
    Raises InputError for another length, a relevance outside 0..1, or settings out of range.
    """
    labels = check_labels(np.asarray(labels), n_classes)
    relevance = np.asarray(relevance)
    check_same_rows(labels=labels, relevance=relevance)
    inside = (relevance >= 0) & (relevance <= 1)  # false for nan
    if not inside.all():
        row = int(np.argmin(inside))
        raise InputError(f"relevance: row {row} has {relevance[row]}; 0..1 is accepted")
    if not (0 <= power < np.inf and 0 < floor <= 1):
        raise InputError(f"power {power}, floor {floor}: power >= 0 and 0 < floor <= 1 are accepted")
    powered = np.maximum(relevance.astype(np.float64), floor) ** power
    order = np.lexsort((powered, labels))  # sums in an order of their own do not depend on the rows' order
    mass = np.bincount(labels[order], powered[order], n_classes)
    mean = mass / np.maximum(np.bincount(labels, minlength=n_classes), 1)
    alike = _alike(powered[order], labels[order], n_classes)
    weight = np.where(alike[labels], 1.0, powered / mean[labels])
    return {"relevance": relevance.astype(np.float32), "instance_weight": weight.astype(np.float32)}


def _alike(values: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """(C,) bool: whether a class's values, sorted inside each class, are all the same."""
    edges = np.searchsorted(labels, np.arange(n_classes + 1))
    first, last = edges[:-1], np.maximum(edges[1:] - 1, 0)
    filled = edges[1:] > edges[:-1]
    return ~filled | (values[np.where(filled, first, 0)] == values[last])
