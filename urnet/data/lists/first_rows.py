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

    def choose(
        self, labels: np.ndarray, *values: Any, wanted: np.ndarray | None = None
    ) -> tuple[np.ndarray, tuple[Any, ...]]:
        """Of the next rows the labels that are chosen, and theirs of further arrays (NumPy or Arrow) (n,).

        ``wanted`` bool (n,): where a limit chooses, only of these.
        """
        if self._left is None:
            return labels, values
        chosen = np.zeros(len(labels), bool)
        for c in np.flatnonzero(self._left):
            of_class = labels == c if wanted is None else (labels == c) & wanted
            rows = np.flatnonzero(of_class)[: self._left[c]]
            chosen[rows] = True
            self._left[c] -= len(rows)
        mask = pa.array(chosen)
        return labels[chosen], tuple(v[chosen] if isinstance(v, np.ndarray) else v.filter(mask) for v in values)
