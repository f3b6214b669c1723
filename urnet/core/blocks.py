"""Going over millions of rows a block at a time, so that memory is a block's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

ROWS = 1 << 20  # rows of a block


def blocks(n_rows: int, size: int = ROWS) -> Iterator[slice]:
    """Slices of ``size`` rows that cover ``n_rows``."""
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def class_sizes(labels: np.ndarray, n_classes: int, *, block: int = ROWS) -> np.ndarray:
    """Rows of each class, int64 (C,)."""
    sizes = np.zeros(n_classes, np.int64)
    for part in blocks(len(labels), block):
        sizes += np.bincount(labels[part], minlength=n_classes)
    return sizes
