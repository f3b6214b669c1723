"""The nearest rows of a table by the angle between their vectors, in blocks: never all pairs in memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from urnet.core.blocks import blocks

BLOCK = 1024, 4096  # rows, columns of a block of pairs: 16 MB
_DENSE = 32  # hits a row of a block from which on they are chosen before they are listed


class UnitRows:
    """``vectors`` (N, d), an array or what is read like one by slices and row numbers, as float32 rows of length 1.

    They are made anew whenever they are read: a second copy of all would need as much memory as the first. Rows of
    zeros stay zeros.
    """

    def __init__(self, vectors: Any) -> None:
        self._vectors = vectors

    def __len__(self) -> int:
        return len(self._vectors)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        vectors = np.asarray(self._vectors[rows], np.float32)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)


def second_nearest(a: UnitRows, rows: np.ndarray, block: int = BLOCK[1]) -> np.ndarray:
    """The second largest cosine of a few ``rows`` with any other row, float32; -1 where there is none."""
    best = np.full((len(rows), 2), -1, np.float32)
    few = a[rows]
    for part in blocks(len(a), block):
        cosines = few @ a[part].T
        here = np.flatnonzero((rows >= part.start) & (rows < part.stop))
        cosines[here, rows[here] - part.start] = -1
        best = np.partition(np.concatenate([best, cosines], axis=1), -2, axis=1)[:, -2:]
    return best[:, 0]


def nearest_pairs(
    a: UnitRows, b: UnitRows | None, least: float, k: int, block: tuple[int, int] = BLOCK
) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers (P, 2), int64, and cosines (P,), float32, of each row's ``k`` nearest with ``least`` or more.

    ``a`` (N, d) and ``b`` (M, d); a pair is (row of a, row of b). Without ``b`` the pairs are
    (i, j), i < j, of rows of ``a``, each once, that are among the k nearest of i or of j. Memory: one ``block``
    of cosines and about k pairs a row; work: N M d multiplications (half without ``b``), by BLAS.
    """
    other = a if b is None else b
    found = np.empty((0, 2), np.int64), np.empty(0, np.float32)
    for rows in blocks(len(a), block[0]):
        parts, here = [found], a[rows]
        for columns in blocks(len(other), block[1]):
            if b is None and columns.stop <= rows.start:
                continue
            cosines = here @ other[columns].T
            if b is None:
                cosines[np.arange(rows.start, rows.stop)[:, None] >= np.arange(columns.start, columns.stop)] = -2
            i, j = _hits(cosines, least, k)
            parts.append((np.stack([i + rows.start, j + columns.start], 1), cosines[i, j]))
        found = _best(np.concatenate([p for p, _ in parts]), np.concatenate([c for _, c in parts]), k, b is None)
    return found


def _hits(cosines: np.ndarray, least: float, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Where a block has ``least`` or more; where that is much of it, each row's and each column's k best of them."""
    hit = cosines >= least
    if k < min(cosines.shape) and np.count_nonzero(hit) > _DENSE * len(cosines):
        chosen = np.zeros_like(hit)
        np.put_along_axis(chosen, np.argpartition(cosines, -k, axis=1)[:, -k:], True, axis=1)
        np.put_along_axis(chosen, np.argpartition(cosines, -k, axis=0)[-k:], True, axis=0)
        hit &= chosen
    i, j = np.nonzero(hit)
    return i, j


def _best(pairs: np.ndarray, cosines: np.ndarray, k: int, itself: bool) -> tuple[np.ndarray, np.ndarray]:
    """The pairs that are among the k best of their first row, or, in one table, of their second."""
    first = np.concatenate([pairs[:, 0], pairs[:, 1]]) if itself else pairs[:, 0]
    both = np.concatenate([cosines, cosines]) if itself else cosines
    order = np.lexsort((-both, first))
    start = np.flatnonzero(np.diff(first[order], prepend=-1))
    place = np.arange(len(order)) - np.repeat(start, np.diff(start, append=len(order)))
    kept = np.unique(order[place < k] % max(1, len(pairs)))
    return pairs[kept], cosines[kept]
