"""The nearest rows of every row by the cosine of their features, in blocks: never N x N."""

from __future__ import annotations

from typing import Any

import numpy as np

from urnet.core.blocks import blocks
from urnet.reweight.evidence.folds import BLOCK_CELLS, block_of

OWN = -2.0  # below every cosine: a row itself, and rows that show the same picture


def unit_rows(x: np.ndarray) -> np.ndarray:
    """float32 rows of length 1; a row of zeros stays one."""
    length = np.sqrt(np.einsum("nd,nd->n", x, x, dtype=np.float64))
    return (x / np.where(length > 0, length, 1)[:, None]).astype(np.float32)


def reference_rows(keys: np.ndarray, labels: np.ndarray | None, size: int) -> np.ndarray:
    """At most ``size`` rows to compare with, ascending: all distinct ones if there are no more.

    ``keys`` (N,) are hashes of the features, one row of each is taken. Classes go round, each in hash order,
    so that a small class is there whole before a large one takes the rest; permuted rows give the same.
    """
    order = np.argsort(keys, kind="stable") if labels is None else np.lexsort((labels, keys))
    distinct = order[np.r_[True, keys[order][1:] != keys[order][:-1]]]
    if len(distinct) > size:
        turn = np.arange(len(distinct))
        if labels is not None:
            by_class = np.argsort(labels[distinct], kind="stable")
            ordered = labels[distinct][by_class]
            turn[by_class] = np.arange(len(distinct)) - np.searchsorted(ordered, ordered)
        distinct = distinct[np.argsort(turn, kind="stable")[:size]]
    return np.sort(distinct)


def nearest_rows(
    features: Any,
    reference: np.ndarray,
    k: int,
    *,
    centre: np.ndarray | None = None,
    keys: tuple[np.ndarray, np.ndarray] | None = None,
    block_cells: int = BLOCK_CELLS,
) -> tuple[np.ndarray, np.ndarray]:
    """(N, k) int32 places in ``reference`` of the rows most like each of ``features``, and their cosines, float32.

    ``reference`` (m, d) float32 of length 1, from features less ``centre``; ``keys``: of the features (N,) and
    of the reference (m,); equal ones show the same picture and are not neighbours: their cosine is ``OWN``,
    in the places a row cannot fill. k is cut to m; a row's neighbours come in no order.
    """
    n, m = features.shape[0], len(reference)
    k = min(k, m)
    index, cosine = np.empty((n, k), np.int32), np.empty((n, k), np.float32)
    for rows in blocks(n, max(block_cells // max(m, features.shape[1]), 1)):
        x = block_of(features, rows)
        like = unit_rows(x if centre is None else x - centre) @ reference.T
        if keys is not None:
            like[keys[0][rows, None] == keys[1][None]] = OWN
        best = np.argpartition(like, m - k, axis=1)[:, m - k :]
        index[rows], cosine[rows] = best, np.take_along_axis(like, best, 1)
    return index, cosine
