"""Which classes are alike: from what a network confuses and from what their texts say."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from urnet.core.blocks import blocks
from urnet.core.checks import InputError, check_labels, check_same_rows

BALANCED = 1e-9  # row sums are brought this near to 1
ROUNDS = 10_000


def class_similarity(confusion: Any, text: Any = None, *, text_share: float = 0.5, k: int = 50) -> sparse.csr_matrix:
    """S (C, C): symmetric, >= 0, rows sum to 1 within 1e-9; sparse, for thousands of classes.

    ``confusion`` (C, C) >= 0, numpy or scipy.sparse: in row y, column c, how often (or with how much
    probability) rows of label y were taken for c by a network not trained on them (``confusion_counts``).
    ``text`` (C, C) such as cosines between the classes' texts; what is below 0 counts as 0. With R(M) the
    matrix M scaled to row sums of 1, I the identity:

        A = (1 - text_share) R(confusion + I) + text_share R(text + I); A = (A + A') / 2
        S = D A D with the diagonal D > 0 for which S has row sums of 1

    Of A only entries among the ``k`` largest of their row or column are kept, and the diagonal. D: Sinkhorn's
    scaling of a symmetric matrix, d <- sqrt(d / (A d)) (Knight, Ruiz & Ucar 2014); it exists as the diagonal
    is positive. I is one row taken rightly, so a class without rows is like none but itself (mixing and
    cutting: ours). Data whose classes are never confused, without text, give S = I.

    Raises InputError for shapes that differ, or confusion that is negative or not finite.
    """
    parts = [(1.0 if text is None else 1 - text_share, _counts(confusion, "confusion"))]
    if text is not None:
        parts.append((text_share, _counts(text, "text").maximum(0)))
    n = parts[0][1].shape[0]
    if any(part.shape != (n, n) for _, part in parts):
        shapes = " and ".join(str(part.shape) for _, part in parts)
        raise InputError(f"class_similarity: square matrices of one size are needed, found {shapes}")
    mixed = sum(share * _rows_to_one(part + sparse.identity(n, format="csr")) for share, part in parts)
    alike = sparse.csr_matrix(mixed + mixed.T) / 2
    return _doubly_stochastic(_cut(alike, k))


def confusion_counts(
    labels: np.ndarray, n_classes: int, index: Any, prob: Any, *, block: int = 1 << 18
) -> sparse.csr_matrix:
    """(C, C) float64: Σ over the rows of label y of p(c), a network's top-k ``index`` and ``prob`` (N, k)."""
    check_labels(labels, n_classes)
    check_same_rows(labels=labels, index=index, prob=prob)
    total = sparse.csr_matrix((n_classes, n_classes))
    for rows in blocks(len(labels), block):
        classes = np.asarray(index[rows])
        given = np.repeat(labels[rows], classes.shape[1])
        values = np.asarray(prob[rows]).astype(np.float64).ravel()
        total += sparse.csr_matrix((values, (given, classes.ravel())), shape=total.shape)
    return total


def top_of_rows(matrix: Any, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k largest entries of each row of a (C, C) matrix >= 0: columns (C, k) int64, values scaled to 1.

    Places that are not needed hold column 0 and value 0.
    """
    row, column, value, rank = _ranked(sparse.csr_matrix(matrix))
    row, column, value, rank = (part[rank < k] for part in (row, column, value, rank))
    n = matrix.shape[0]
    index, top = np.zeros((n, k), np.int64), np.zeros((n, k))
    index[row, rank], top[row, rank] = column, value
    return index, top / top.sum(1, keepdims=True)


def _counts(matrix: Any, name: str) -> sparse.csr_matrix:
    counts = sparse.csr_matrix(matrix, dtype=np.float64)
    low = -np.inf if name == "text" else 0
    if not (np.isfinite(counts.data).all() and (counts.data >= low).all()):
        raise InputError(f"class_similarity: {name} holds numbers that are not finite, or below {low}")
    return counts


def _rows_to_one(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    return sparse.diags(1 / np.asarray(matrix.sum(1)).ravel()) @ matrix


def _ranked(matrix: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Row, column, value and rank in its row (0: largest) of every entry, by row and rank."""
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    order = np.lexsort((matrix.indices, -matrix.data, row))
    rank = np.arange(len(row)) - matrix.indptr[row]  # row is sorted already
    return row, matrix.indices[order], matrix.data[order], rank


def _cut(matrix: sparse.csr_matrix, k: int) -> sparse.csr_matrix:
    """Keep of a symmetric matrix the k largest entries of each row and of each column, and the diagonal."""
    row, column, _, rank = _ranked(matrix)
    large = rank < k
    kept = sparse.csr_matrix((np.ones(large.sum()), (row[large], column[large])), shape=matrix.shape)
    kept = kept + kept.T + sparse.identity(matrix.shape[0])
    return sparse.csr_matrix(matrix.multiply(kept > 0))


def _doubly_stochastic(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    scale = 1 / np.sqrt(np.asarray(matrix.sum(1)).ravel())
    for _ in range(ROUNDS):
        sums = scale * (matrix @ scale)
        if np.abs(sums - 1).max() < BALANCED:
            break
        scale = scale / np.sqrt(sums)
    scaling = sparse.diags(scale)
    return sparse.csr_matrix(scaling @ matrix @ scaling)
