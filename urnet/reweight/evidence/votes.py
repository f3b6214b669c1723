"""The votes of each row's nearest neighbours on its class: evidence in addition to the head."""

from __future__ import annotations

from typing import Any

import numpy as np

from urnet.core.blocks import blocks, class_sizes
from urnet.reweight.evidence.folds import BLOCK_CELLS
from urnet.reweight.evidence.neighbours import nearest_rows, reference_rows, unit_rows

K = 40  # neighbours that vote
REFERENCE = 8192  # rows at most that are asked, evenly from the classes
ELSEWHERE = 0.01  # of all votes, added to every class


class Neighbours:
    """Each row's ``K`` nearest rows, by the cosine of features less their mean; found once, asked for any weights.

    ``keys`` (N,): equal for rows that show the same picture, which have no vote on each other.
    """

    def __init__(
        self,
        features: Any,
        labels: np.ndarray,
        n_classes: int,
        *,
        keys: np.ndarray,
        centre: np.ndarray,
        block_cells: int = BLOCK_CELLS,
    ) -> None:
        self._asked = reference_rows(keys, labels, REFERENCE)
        reference = unit_rows(np.asarray(features[self._asked], np.float32) - centre)
        self._place, cosine = nearest_rows(
            features, reference, K, centre=centre, keys=(keys, keys[self._asked]), block_cells=block_cells
        )
        self._worth = np.maximum(cosine, 0) ** 2  # what is not alike at all has no vote
        self._labels = labels[self._asked]
        self._even = 1 / np.sqrt(np.maximum(class_sizes(self._labels, n_classes), 1))

    def log_votes(self, classes: np.ndarray, weight: np.ndarray | None = None, *, block: int = 1 << 14) -> np.ndarray:
        """(N, m) float32 log v_i(c) of the asked ``classes`` (N, m), up to a constant in each row.

        v_i(c) ∝ Σ over the neighbours j of label c of weight_j max(cos_ij, 0)² / √n_c, n_c the rows of the class
        among those asked, plus 1 % of what all classes have together. ``weight`` (N,) >= 0, None: ones.
        """
        out = np.empty(classes.shape, np.float32)
        one = np.ones(len(self._asked), np.float32) if weight is None else weight[self._asked].astype(np.float32)
        factor = one * self._even[self._labels]
        for rows in blocks(len(classes), block):
            place = self._place[rows]
            worth, label = self._worth[rows] * factor[place], self._labels[place]
            total = worth.sum(axis=1)
            for column in range(classes.shape[1]):
                votes = np.where(label == classes[rows, column, None], worth, 0).sum(axis=1)
                out[rows, column] = np.log(votes + ELSEWHERE * total + np.finfo(np.float32).tiny)
        return out
