"""The k largest scores of each row, with a rule for equal ones."""

from __future__ import annotations

import numpy as np

from urnet.core.checks import InputError


def topk(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best classes of each row: indices (B, k) int64 and their scores (B, k), best first.

    ``scores`` is (B, C) with C >= k; equal scores are ordered by class number, so the answer does not depend
    on how it is computed. Costs O(C) a row. Raises FloatingPointError for a score that is not finite.
    """
    n_rows, n_classes = scores.shape
    if not 1 <= k <= n_classes:
        raise InputError(f"top-{k} of {n_classes} classes: 1..{n_classes} is accepted")
    ordered = np.sort(scores, axis=1)  # a partition is slow where many are equal
    finite = np.isfinite(ordered[:, [0, -1]]).all(axis=1)  # what is not finite comes first or last
    if not finite.all():
        raise FloatingPointError(f"the network's scores of image {np.argmin(finite)} of a batch are not finite")
    border = ordered[:, n_classes - k, None]  # the k-th best
    chosen = scores >= border
    rows = np.flatnonzero(np.count_nonzero(chosen, axis=1) > k)  # more scores equal the border than places are left
    if len(rows):
        better, chosen_there = scores[rows] > border[rows], chosen[rows]
        equal, places = chosen_there & ~better, k - better.sum(axis=1, keepdims=True)
        chosen[rows] = better | (equal & (np.cumsum(equal, axis=1) <= places))  # the first ones
    indices = np.flatnonzero(chosen).reshape(n_rows, k) - n_classes * np.arange(n_rows)[:, None]
    values = np.take_along_axis(scores, indices, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(indices, order, axis=1), np.take_along_axis(values, order, axis=1)
