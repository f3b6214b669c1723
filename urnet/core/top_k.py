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
    check_finite(finite)
    border = ordered[:, n_classes - k, None]  # the k-th best
    chosen = np.flatnonzero(scores >= border)  # k or more per row, by row and class
    if len(chosen) > n_rows * k:
        row = chosen // n_classes
        chosen = chosen[_first_equals(row, scores.reshape(-1)[chosen] == border[row, 0], k)]
    indices = chosen.reshape(n_rows, k) - n_classes * np.arange(n_rows)[:, None]
    values = np.take_along_axis(scores, indices, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(indices, order, axis=1), np.take_along_axis(values, order, axis=1)


def check_finite(finite: np.ndarray) -> None:
    """Raise FloatingPointError unless the scores of every image of a batch are ``finite``, bool (B,)."""
    if not finite.all():
        raise FloatingPointError(f"the network's scores of image {np.argmin(finite)} of a batch are not finite")


def _first_equals(row: np.ndarray, equal: np.ndarray, k: int) -> np.ndarray:
    """Of candidates in order of rows those that are kept, bool: all but ``equal`` ones, and the first of these."""
    starts = np.flatnonzero(np.diff(row, prepend=-1))  # every row has candidates
    before = np.cumsum(equal) - equal
    before -= before[starts][row]
    return ~equal | (before < (k - np.add.reduceat(~equal, starts, dtype=np.int64))[row])
