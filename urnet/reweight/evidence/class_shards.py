"""Whole classes of rows, dealt out among processes, and what came of them joined again.

For methods whose result for a class depends on that class's rows only: clusters, density curricula.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from urnet.core.checks import InputError


def classes_of(labels: np.ndarray, n_classes: int, rank: int, world_size: int) -> np.ndarray:
    """The classes of process ``rank``: those with rows are dealt out in turn, the largest first."""
    counts = np.bincount(labels, minlength=n_classes)
    largest_first = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    return largest_first[rank::world_size]


def rows_of(labels: np.ndarray, n_classes: int, rank: int, world_size: int) -> np.ndarray:
    """(n,) int64, ascending: the rows of process ``rank``'s classes."""
    mine = np.zeros(n_classes, bool)
    mine[classes_of(labels, n_classes, rank, world_size)] = True
    return np.flatnonzero(mine[labels])


def join(parts: Sequence[dict[str, np.ndarray]], labels: np.ndarray, n_classes: int) -> dict[str, np.ndarray]:
    """The columns of all rows from those of each process's ``rows_of``, in the order of the ranks.

    Raises InputError for a part that is not of as many rows as its process had.
    """
    columns = {name: np.empty((len(labels), *values.shape[1:]), values.dtype) for name, values in parts[0].items()}
    for rank, part in enumerate(parts):
        rows = rows_of(labels, n_classes, rank, len(parts))
        found = len(next(iter(part.values()), ()))
        if found != len(rows):
            raise InputError(f"process {rank} made {found} rows of columns; {len(rows)} were its share")
        for name, values in part.items():
            columns[name][rows] = values
    return columns
