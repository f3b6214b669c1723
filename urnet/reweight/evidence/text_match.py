"""What a row's own text tells of its class: blocks of texts compared with the class texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from scipy import sparse

from urnet.core.checks import InputError, check_labels
from urnet.reweight.evidence.text_vectors import TextSpace

BLOCK_CELLS = 1 << 22  # rows x classes compared at a time: 16 MB of float32, at most


def text_evidence(
    space: TextSpace,
    texts: Iterable[Sequence[str]],
    labels: np.ndarray,
    n_classes: int,
    k: int = 5,
    *,
    temperature: float = 0.1,
    least: float = 0.0,
    block_cells: int = BLOCK_CELLS,
) -> dict[str, np.ndarray]:
    """Compare each row's text with the class texts of ``space``.

    With s_c the cosine of the row's text and class c's text, the text's share for c is (ours)
    p_c ∝ exp(s_c / temperature) - exp(least / temperature) for s_c > ``least``, and 0 otherwise: a softmax in
    which a class that is not mentioned gets nothing, however many classes there are. In an exact TF-IDF space
    ``least=0`` says "shares no word"; word vectors and SVD need more (0.3, say), for there every cosine is
    somewhat above 0.

    ``texts``: blocks of row texts, in row order, N in all (``Table.strings("text", rows)``); ``labels`` (N,).
    ``block_cells``: rows x classes compared at a time.
    Returns ``text_match`` (N,) float32 in [-1, 1], the cosine with the given label's text; ``text_given``
    (N,) float32 in [0, 1], the given label's share; ``text_index`` (N, k) int32 and ``text_prob`` (N, k)
    float16, the k largest shares, best first; ``text_known`` (N,) bool: the text names some class, and the
    given label's class has a text. Where a text names fewer than k classes, others of share 0 fill up.
    Raises InputError when texts and labels differ in number, or classes and class texts do.
    """
    labels = check_labels(np.asarray(labels), n_classes)
    if space.classes.shape[0] != n_classes:
        raise InputError(f"the text space has {space.classes.shape[0]} classes, n_classes is {n_classes}")
    if not 1 <= k <= n_classes:
        raise InputError(f"k: found {k}; 1..{n_classes} is accepted")
    if not (0.005 <= temperature < np.inf and 0 <= least < 1):
        raise InputError(f"temperature {temperature}, least {least}: 0.005 or more and 0 <= least < 1 are accepted")
    n = len(labels)
    out: dict[str, np.ndarray] = {
        "text_match": np.zeros(n, np.float32),
        "text_given": np.zeros(n, np.float32),
        "text_index": np.zeros((n, k), np.int32),
        "text_prob": np.zeros((n, k), np.float16),
        "text_known": np.zeros(n, bool),
    }
    class_known = np.asarray(abs(space.classes).sum(axis=1)).ravel() > 0
    start, size = 0, max(block_cells // n_classes, 1)
    for block in texts:
        if start + len(block) > n:
            raise InputError(f"labels has {n} rows but texts has {start + len(block)} or more")
        for first in range(0, len(block), size):
            part = block[first : first + size]
            rows = slice(start, start + len(part))
            vectors = space.vectors(part)
            out["text_match"][rows] = _own(vectors, space.classes[labels[rows]])
            pairs = _above(vectors @ space.classes.T, least)
            _fill(out, rows, pairs, labels[rows], temperature, least)
            start = rows.stop
    if start != n:
        raise InputError(f"labels has {n} rows but texts has {start}")
    out["text_known"] &= class_known[labels]
    return out


def _own(vectors: Any, classes: Any) -> np.ndarray:
    """(rows,) cosines of vectors with the class vectors in the same rows."""
    if sparse.issparse(vectors):
        product = np.asarray(vectors.multiply(classes).sum(axis=1)).ravel()
    else:
        product = np.einsum("nd,nd->n", vectors, classes)
    return np.clip(product, -1, 1)


def _above(product: Any, least: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, class and cosine of each pair of a row and a class above ``least``, row by row."""
    if sparse.issparse(product):
        product = product.tocoo()
        row, column, cosine = product.row, product.col, product.data
        kept = cosine > least
        row, column, cosine = row[kept], column[kept], cosine[kept]
    else:
        row, column = np.nonzero(product > least)
        cosine = product[row, column]
    return row, column, np.minimum(cosine.astype(np.float64), 1)


def _fill(
    out: dict[str, np.ndarray],
    rows: slice,
    pairs: tuple[np.ndarray, np.ndarray, np.ndarray],
    labels: np.ndarray,
    temperature: float,
    least: float,
) -> None:
    """The shares of a block; work and memory are those of the pairs, few in a sparse space."""
    row, column, cosine = pairs
    # over exp(1 / temperature), so that nothing overflows
    share = np.exp((cosine - 1) / temperature) - np.exp((least - 1) / temperature)
    total = np.bincount(row, share, len(labels))
    out["text_known"][rows] = total > 0
    share /= np.where(total > 0, total, 1)[row]
    own = column == labels[row]
    out["text_given"][rows.start + row[own]] = share[own]
    order = np.lexsort((column, -share, row))
    row, column, share = row[order], column[order], share[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)  # 0 for a row's largest share
    first = place < out["text_index"].shape[1]
    at = rows.start + row[first], place[first]
    out["text_index"][rows] = -1
    out["text_index"][at], out["text_prob"][at] = column[first], share[first]
    _fill_up(out["text_index"][rows])


def _fill_up(index: np.ndarray) -> None:
    """Put classes that a row does not have yet in place of -1, which are last: no class comes twice."""
    short = np.flatnonzero(index[:, -1] < 0)
    part, k = index[short], index.shape[1]
    used = (part[:, :, None] == np.arange(k)).any(axis=1)
    unused = np.argsort(used, axis=1, kind="stable")  # the unused of the classes 0 to k - 1 first
    have = (part >= 0).sum(axis=1, keepdims=True)
    filler = np.take_along_axis(unused, np.maximum(np.arange(k) - have, 0), axis=1)
    index[short] = np.where(part < 0, filler, part)
