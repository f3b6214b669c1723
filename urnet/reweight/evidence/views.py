"""Features seen in part, or as their square roots: array-likes that are read by slices, nothing is copied."""

from __future__ import annotations

from typing import Any

import numpy as np

from urnet.core.blocks import blocks
from urnet.reweight.evidence.folds import BLOCK_CELLS, block_of


class Rows:
    """Some rows of an array-like, as an array-like."""

    def __init__(self, features: Any, rows: np.ndarray) -> None:
        self._features, self._rows, self.shape = features, rows, (len(rows), *features.shape[1:])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: Any) -> Any:
        return self._features[self._rows[rows]]


class Roots:
    """The square roots of an array-like without negative values, as an array-like."""

    def __init__(self, features: Any) -> None:
        self._features, self.shape = features, features.shape

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: Any) -> Any:
        return np.sqrt(np.asarray(self._features[rows], np.float32))


def any_negative(features: Any) -> bool:
    """Whether a value is below 0; read in blocks."""
    size = max(BLOCK_CELLS // features.shape[1], 1)
    return any(bool((block_of(features, rows) < 0).any()) for rows in blocks(features.shape[0], size))
