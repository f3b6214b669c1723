"""Reading features in blocks, and which fold a row belongs to, whatever the order of the rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from urnet.core.blocks import blocks
from urnet.core.checks import InputError, check_same_rows

BLOCK_CELLS = 1 << 24  # rows x (classes or features) at a time: 64 MB of float32


def check_features(features: Any, labels: np.ndarray) -> None:
    """Raise InputError unless ``features`` is (N, d) with the labels' N >= 1 and d >= 1."""
    if len(features.shape) != 2 or not features.shape[1]:
        raise InputError(f"features has shape {tuple(features.shape)}; (rows, dimensions) is accepted")
    check_same_rows(labels=labels, features=range(features.shape[0]))
    if not len(labels):
        raise InputError("features: found no rows; at least one is needed")


def block_of(features: Any, rows: Any) -> np.ndarray:
    """The asked rows as float32."""
    return np.asarray(features[rows], np.float32)


def hashes_and_mean(features: Any, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(N,) uint64, equal for rows that are equal in float16, and the (d,) float32 mean; one pass in blocks.

    Raises InputError for a value that is not finite.
    """
    n, d = features.shape
    factors = np.random.default_rng(seed).integers(1 << 63, size=d, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    hashes, total = np.empty(n, np.uint64), np.zeros(d)
    size = max(BLOCK_CELLS // (4 * d), 1)
    for rows in blocks(n, size):
        block = block_of(features, rows)
        if not np.isfinite(block).all():
            row = rows.start + int(np.argmin(np.isfinite(block).all(axis=1)))
            raise InputError(f"features: row {row} has a value that is not finite")
        with np.errstate(over="ignore"):  # float16's largest is 65,504; infinities still hash
            bits = (block.astype(np.float16) + np.float16(0)).view(np.uint16)  # + 0: no two zeros
        mixed = bits.astype(np.uint64) @ factors
        hashes[rows] = mixed ^ (mixed >> np.uint64(31))
        total += block.sum(axis=0, dtype=np.float64)
    return hashes, (total / n).astype(np.float32)


def joined(hashes: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """(N,) uint64, equal for rows that show the same picture: of equal hash, or of one group >= 0, or both in a chain.

    It is the smallest hash of them all, so that permuted rows and renamed groups keep theirs. ``groups`` (N,)
    integers, -1 for a row without one. Raises InputError for others.
    """
    if groups is None:
        return hashes
    groups = np.asarray(groups)
    check_same_rows(features=hashes, groups=groups)
    if groups.ndim != 1 or not np.issubdtype(groups.dtype, np.integer):
        raise InputError(f"groups: a one-dimensional integer array is needed, found {groups.dtype} {groups.shape}")
    rows = np.flatnonzero(groups >= 0)
    if not len(rows):
        return hashes
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    _, equal = np.unique(hashes, return_inverse=True)
    named, group = np.unique(groups[rows], return_inverse=True)
    n = int(equal.max()) + 1
    size = n + len(named)
    links = coo_matrix((np.ones(len(rows), np.int8), (equal[rows], n + group)), (size, size))
    part = connected_components(links, directed=False)[1][equal]
    least = np.full(size, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(least, part, hashes)
    smallest: np.ndarray = least[part]
    return smallest


def fold_of_rows(hashes: np.ndarray, labels: np.ndarray, folds: int) -> np.ndarray:
    """(N,) int16 fold of each row, a function of (its hash, the set of rows): permuted rows keep theirs.

    Rows of equal hash (the same image twice, under whatever labels) share a fold. The distinct rows of a
    class go round the folds in hash order: each fold has the same share of every class, give or take a row.
    """
    order = np.lexsort((labels, hashes))
    first = np.flatnonzero(np.r_[True, hashes[order][1:] != hashes[order][:-1]])
    owner = labels[order][first].astype(np.int64)  # a group counts for its smallest label
    by_class = np.argsort(owner, kind="stable")
    starts = np.searchsorted(owner[by_class], owner[by_class])
    fold = np.empty(len(first), np.int16)
    fold[by_class] = (np.arange(len(first)) - starts + owner[by_class]) % folds
    out = np.empty(len(labels), np.int16)
    out[order] = np.repeat(fold, np.diff(np.r_[first, len(labels)]))
    return out
