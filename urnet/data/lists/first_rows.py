"""The first rows of the first classes: all that a first try reads of lists of any length (``data.limit``)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

CLASSES = 10  # labels 0 to 9


class FirstRows:
    """Chooses of rows, as they come, the first ``limit`` of each of the first classes; without a limit all."""

    def __init__(self, limit: int | None) -> None:
        self._left = None if limit is None else np.full(CLASSES, limit)

    def full(self, n_classes: int) -> bool:
        """Whether no further row of so many classes is wanted."""
        return self._left is not None and not self._left[:n_classes].any()

    def choose(self, labels: np.ndarray, *values: Any) -> tuple[np.ndarray, tuple[Any, ...]]:
        """Of the next rows the labels that are chosen, and theirs of further arrays (NumPy or Arrow) (n,)."""
        if self._left is None:
            return labels, values
        wanted = np.zeros(len(labels), bool)
        for c in np.flatnonzero(self._left):
            rows = np.flatnonzero(labels == c)[: self._left[c]]
            wanted[rows] = True
            self._left[c] -= len(rows)
        mask = pa.array(wanted)
        return labels[wanted], tuple(v[wanted] if isinstance(v, np.ndarray) else v.filter(mask) for v in values)
