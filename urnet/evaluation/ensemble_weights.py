"""The weights of an ensemble's members, fitted to labelled predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from urnet.core.checks import InputError
from urnet.core.progress import Progress
from urnet.evaluation.ensemble import TINY, missing_probability
from urnet.evaluation.matching import Listed, read_aligned
from urnet.evaluation.prediction_reader import Predictions


def label_probabilities(
    files: Sequence[str | Path], listed: Listed, n_classes: int, progress: Progress | None = None
) -> np.ndarray:
    """What each of M prediction files says of each listed image's label, (n, M) float64, at least 1e-10.

    Images without a prediction in one of the files are left out. 8 n M bytes.
    """
    found, labels_of, widest = [], listed.labels_of(files[0]), -1
    for blocks in read_aligned(files, n_classes, root=listed.root):
        labels = labels_of[blocks[0].first :][: len(blocks[0])]
        each = np.stack([label_probability(block, labels, n_classes) for block in blocks], axis=1)
        found.append(each[np.all([block.readable for block in blocks], axis=0)])
        widest = max(widest, *(int(block.classes.max(initial=-1)) for block in blocks))
        if progress is not None:
            progress.update(len(labels))
    if any(map(len, found)):
        listed.check_range(widest, ", ".join(map(str, files)))
    return np.concatenate(found)


def label_probability(block: Predictions, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """A member's probability of each row's label, (B,) float64, at least 1e-10."""
    hit = block.classes == labels[:, None]
    listed = np.where(hit, block.scores, 0).sum(axis=1, dtype=np.float64)
    return np.maximum(np.where(hit.any(axis=1), listed, missing_probability(block, n_classes)), TINY)


def fit_weights(probability: np.ndarray, *, rounds: int = 5000, gap: float = 1e-5) -> tuple[np.ndarray, float]:
    """Weights (M,) on the simplex that minimise the mean of -log Σ_m w_m p_m(y), and a bound of their excess.

    ``probability`` (n, M): each member's probability of each row's label, > 0. The loss is convex; the iteration
    is EM for mixture weights, w_m <- w_m · mean(p_m / Σ_j w_j p_j), which never raises it. With
    g = max_m mean(p_m / Σ_j w_j p_j) the loss is at most log g above the least one (Cover 1984, on
    portfolios: the same problem). It ends when that is below ``gap``, or after ``rounds``; returns the
    weights and log g.
    """
    n, n_members = probability.shape
    if n == 0:
        raise InputError("there is no row to fit weights to; predictions of labelled images are needed")
    weights = np.full(n_members, 1 / n_members)
    excess = np.inf
    for _ in range(rounds):
        growth = (1 / (probability @ weights)) @ probability / n
        excess = float(np.log(growth.max()))
        if excess < gap:
            break
        weights = weights * growth
        weights /= weights.sum()
    return weights, max(excess, 0.0)


def log_loss(probability: np.ndarray, weights: np.ndarray) -> float:
    """Mean of -log Σ_m w_m p_m(y), in nats."""
    return float(-np.log(probability @ weights).mean())
