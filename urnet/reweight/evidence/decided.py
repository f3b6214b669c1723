"""Rows that a person decided about, as evidence has them: their label is certain, or they show none of the classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from urnet.core.checks import InputError, check_same_rows

UNDECIDED, CERTAIN, NONE = 0, 1, 2


def certain_rows(decided: np.ndarray | None, labels: np.ndarray) -> np.ndarray | None:
    """bool (N,): whose label is certain; None where nothing is. ``decided`` (N,) integers 0 or 1, or None.

    Raises InputError for another length or value: rows that show none of the classes (2) have no class to be judged
    by, and are left out before.
    """
    values = checked(decided, labels)
    if values is None:
        return None
    if (values == NONE).any():
        row = int(np.argmax(values == NONE))
        raise InputError(f"decided: row {row} has 2, none of the classes; leave such rows out, 0 and 1 are accepted")
    certain: np.ndarray = values == CERTAIN
    return certain if certain.any() else None


def checked(decided: Any, labels: np.ndarray) -> np.ndarray | None:
    """``decided`` (N,) of 0 (nobody decided), 1 (the label is certain) and 2 (none of the classes), or None."""
    if decided is None:
        return None
    values = np.asarray(decided)
    check_same_rows(labels=labels, decided=values)
    if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
        raise InputError(f"decided: a one-dimensional integer array is needed, found {values.dtype} {values.shape}")
    outside = (values < UNDECIDED) | (values > NONE)
    if outside.any():
        row = int(np.argmax(outside))
        raise InputError(f"decided: row {row} has {values[row]}; 0, 1 (its label is certain) and 2 (none) are accepted")
    return values


def one_hot(labels: np.ndarray, rows: np.ndarray, index: np.ndarray, prob: np.ndarray) -> None:
    """Set the distributions ``index`` and ``prob`` (N, k) of some ``rows`` to their label alone, in place."""
    index[rows], prob[rows] = 0, 0
    index[rows, 0], prob[rows, 0] = labels[rows], 1


class CertainRows:
    """An array-like (n, k) of which some rows are replaced by ``first`` in column 0 and 0 in the others.

    ``certain`` bool (n,); ``first`` (n,), or one number.
    """

    def __init__(self, values: Any, certain: np.ndarray, first: np.ndarray | int) -> None:
        self._values, self._certain, self._first = values, certain, np.broadcast_to(first, certain.shape)
        self.shape, self.dtype = values.shape, values.dtype

    def __len__(self) -> int:
        return len(self._certain)

    def __getitem__(self, key: Any) -> np.ndarray:
        found, certain = np.array(self._values[key]), self._certain[key]
        found[certain] = 0
        found[certain, 0] = self._first[key][certain]
        return found
