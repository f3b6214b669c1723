"""Counts and means over all rows, block by block: 16 million rows need a block's memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from urnet.core.blocks import ROWS, blocks

OCTAVES = 10  # weights below 2^-10 and above 2^10 are counted in the outermost bins


def class_sums(
    labels: np.ndarray, values: np.ndarray, n_classes: int, *, block: int = ROWS
) -> tuple[np.ndarray, np.ndarray]:
    """Sum of ``values`` in each class, float64 (C,), and how many of them are finite, int64 (C,)."""
    total, known = np.zeros(n_classes), np.zeros(n_classes, np.int64)
    for part in blocks(len(labels), block):
        value = values[part].astype(np.float64)
        good = np.isfinite(value)
        label = labels[part][good]
        total += np.bincount(label, weights=value[good], minlength=n_classes)
        known += np.bincount(label, minlength=n_classes)
    return total, known


def class_means(labels: np.ndarray, values: np.ndarray, n_classes: int, *, block: int = ROWS) -> np.ndarray:
    """Mean of the finite ``values`` in each class, float64 (C,); nan where a class has none."""
    total, known = class_sums(labels, values, n_classes, block=block)
    return np.divide(total, known, out=np.full(n_classes, np.nan), where=known > 0)


def shrunk_means(total: np.ndarray, known: np.ndarray, strength: float = 10.0) -> np.ndarray:
    """Class means drawn towards the mean over all rows q: (Σ_c + m q) / (n_c + m), m = ``strength`` (ours).

    One suspect row in a class of two does not make it the worst class. nan where a class has no row.
    """
    overall = total.sum() / max(known.sum(), 1)
    return np.where(known > 0, (total + strength * overall) / (known + strength), np.nan)


def rows_of(labels: np.ndarray, classes: Sequence[int], n_classes: int, *, block: int = ROWS) -> dict[int, np.ndarray]:
    """The rows (int64, ascending) of each of ``classes``; memory is bounded by these classes' rows."""
    wanted = np.zeros(n_classes, bool)
    wanted[list(classes)] = True
    found = [np.flatnonzero(wanted[labels[part]]) + part.start for part in blocks(len(labels), block)]
    rows = np.concatenate(found) if found else np.zeros(0, np.int64)
    label = labels[rows]
    order = np.argsort(label, kind="stable")
    rows, label = rows[order], label[order]
    ends = {c: np.searchsorted(label, [c, c + 1]) for c in classes}
    return {c: rows[start:end] for c, (start, end) in ends.items()}


def confusion(
    labels: np.ndarray,
    suggested: np.ndarray,
    wrong: np.ndarray,
    classes: Sequence[int],
    n_classes: int,
    *,
    block: int = ROWS,
) -> np.ndarray:
    """Rows of each of ``classes`` by suggested class where ``wrong``, else by their own, int64 (len(classes), C)."""
    place = np.full(n_classes, -1, np.int64)
    place[list(classes)] = np.arange(len(classes))
    counted = np.zeros(len(classes) * n_classes, np.int64)
    for part in blocks(len(labels), block):
        at, to = place[labels[part]], np.where(wrong[part], suggested[part], labels[part])
        good = at >= 0
        counted += np.bincount(at[good] * n_classes + to[good], minlength=len(counted))
    return counted.reshape(len(classes), n_classes)


@dataclass(frozen=True)
class Histogram:
    """Counts of a column's finite values in bins, and what the bins do not show.

    ``edges`` (B + 1,) around ``counts`` (B,); ``log``: the edges grow by a factor. ``zeros`` are values of
    exactly 0 (only apart when ``log``), ``unknown`` those that are not finite.
    """

    edges: np.ndarray
    counts: np.ndarray
    log: bool
    low: float
    high: float
    mean: float
    zeros: int
    unknown: int


def histogram(values: np.ndarray, *, log: bool, block: int = ROWS) -> Histogram:
    """``log``: half octaves around 1, for weights (>= 0); else 20 bins of 0..1, or of low..high."""
    low, high, total, known, zeros = np.inf, -np.inf, 0.0, 0, 0
    for part in blocks(len(values), block):
        value = values[part]
        value = value[np.isfinite(value)]
        if len(value):
            low, high = min(low, float(value.min())), max(high, float(value.max()))
            total, known = total + float(value.sum(dtype=np.float64)), known + len(value)
            zeros += len(value) - int(np.count_nonzero(value))
    mean = total / known if known else float("nan")
    unknown = len(values) - known
    if not known:
        return Histogram(np.array([0.0, 1.0]), np.zeros(1, np.int64), False, mean, mean, mean, 0, unknown)
    if log and low >= 0:
        return Histogram(*_octaves(values, block), True, low, high, mean, zeros, unknown)
    first, last = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
    last = last if last > first else first + 1
    edges = np.linspace(first, last, 21)
    counts = np.zeros(20, np.int64)
    for part in blocks(len(values), block):
        value = values[part]
        counts += np.histogram(value[np.isfinite(value)], edges)[0]
    return Histogram(edges, counts, False, low, high, mean, 0, unknown)


def _octaves(values: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Edges 2^((k - 1/2) / 2), so that 1 is in the middle of a bin, and counts, of the bins in use."""
    most = 2 * OCTAVES
    counts = np.zeros(2 * most + 1, np.int64)
    for part in blocks(len(values), block):
        value = values[part]
        value = value[np.isfinite(value) & (value > 0)].astype(np.float64)
        bins = np.clip(np.floor(2 * np.log2(value) + 0.5), -most, most).astype(np.int64) + most
        counts += np.bincount(bins, minlength=len(counts))
    used = np.flatnonzero(counts)
    first, last = (used[0], used[-1]) if len(used) else (most, most)
    edges = 2.0 ** ((np.arange(first, last + 2) - most - 0.5) / 2)
    return edges, counts[first : last + 1]
