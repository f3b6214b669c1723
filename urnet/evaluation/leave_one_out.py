"""The accuracies of an ensemble, of its members, and of the ensemble without each of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from urnet.core.top_k import topk
from urnet.evaluation.accuracy import ClassAccuracy
from urnet.evaluation.ensemble import Ensemble, Sums
from urnet.evaluation.label_offset import LabelOffset
from urnet.evaluation.prediction_reader import Predictions

NEAR = 20  # best classes of a row that are looked at first; any number is exact


class LeaveOneOut:
    """Accuracies by labels, counted block by block.

    ``members``, ``without``: a ClassAccuracy for each member; ``together``: the ensemble's; ``offset``: whether other
    labels would fit the members better. Rows without a
    prediction count nowhere. Without a member means: with the other members' weights as they are.
    """

    def __init__(self, ensemble: Ensemble) -> None:
        m, c = len(ensemble.weights), ensemble.n_classes
        self.members, self.without = ([ClassAccuracy(c) for _ in range(m)] for _ in range(2))
        self.together, self.offset = ClassAccuracy(c), LabelOffset()

    def update(self, blocks: Sequence[Predictions], sums: Sums, labels: np.ndarray) -> None:
        """Count a block: the members' rows, their sums, and the labels (B,)."""
        for accuracy, block in zip(self.members, blocks, strict=True):
            block.check_width(min(5, accuracy.n_classes), "for top-5")
            if block.readable.any():
                classes, given = block.classes[block.readable], labels[block.readable]
                accuracy.update(classes, given)
                self.offset.update(classes[:, 0], given)
        near, best = topk(sums.totals, min(NEAR, sums.totals.shape[1]))
        _count(self.together, sums.totals, labels, sums.predicted, near, best[:, -1])
        flat = sums.totals.reshape(-1)
        for accuracy, share in zip(self.without, sums.shares, strict=True):
            kept = flat[share.places]
            flat[share.places] = kept - share.values
            others = sums.mass - share.weight > 1e-9 * share.weight  # not 0 but for rounding
            _count(accuracy, sums.totals, labels, others, near, best[:, -1])
            flat[share.places] = kept  # adding the values again would round


def _count(
    accuracy: ClassAccuracy,
    totals: np.ndarray,
    labels: np.ndarray,
    rows: np.ndarray,
    near: np.ndarray,
    rest: np.ndarray,
) -> None:
    """Count the chosen ``rows`` by how many classes come before the label; equal ones in order of number.

    ``near`` (B, W) are classes; no other has more than ``rest`` (B,), with a member or without, as a member
    adds nothing negative. Where that does not tell whether the label is among the five best, all are looked at.
    """
    own = np.take_along_axis(totals, labels[:, None], axis=1)
    rank = _before(np.take_along_axis(totals, near, axis=1), near, own, labels)
    unsure = np.flatnonzero((rank < 5) & (own[:, 0] <= rest))
    if len(unsure):
        every = np.arange(totals.shape[1])[None]
        rank[unsure] = _before(totals[unsure], every, own[unsure], labels[unsure])
    accuracy.update_hits(labels[rows], rank[rows] < 1, rank[rows] < 5)


def _before(totals: np.ndarray, classes: np.ndarray, own: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many of the ``classes`` come before the label, whose total is ``own`` (B, 1)."""
    return np.count_nonzero((totals > own) | ((totals == own) & (classes < labels[:, None])), axis=1)
