"""K-means of numbers on a line: the best split there is, so neither starts nor a seed decide it."""

from __future__ import annotations

import numpy as np


def kmeans_1d(values: np.ndarray, k: int) -> np.ndarray:
    """(n,) int64: the cluster of each value, 0 the lowest; of min(k, distinct values) clusters none is empty.

    The clusters are those of the least sum of squared distances to their means, found by dynamic programming
    over the sorted distinct values (Fisher 1958; Wang & Song 2011). With cost(i, j) that sum for the values
    i..j - 1 as one cluster, best_1(j) = cost(0, j) and best_m(j) = min_i best_(m-1)(i) + cost(i, j); the
    best i does not fall as j rises, which makes O(k u log u) of u distinct values. Of splits that are equally
    good the lower clusters of one are the smallest. ``values`` (n,), n >= 1, finite.
    """
    point, index, count = np.unique(values.astype(np.float64), return_inverse=True, return_counts=True)
    cost = _Cost(point, count)
    n_points = len(point)
    best = np.r_[np.inf, cost(0, np.arange(1, n_points + 1))]
    starts = []  # of the last cluster of the first j values; one array for each number of clusters above 1
    for m in range(2, min(k, n_points) + 1):
        best, start = _one_more(best, cost, m)
        starts.append(start)
    cluster = np.zeros(n_points, np.int64)
    end = n_points
    for start in reversed(starts):
        end = start[end]
        cluster[end:] += 1
    return cluster[index.ravel()]


class _Cost:
    """Sum of squared distances to their mean of the points i..j - 1, from prefix sums."""

    def __init__(self, point: np.ndarray, count: np.ndarray) -> None:
        middle = point - (count @ point) / count.sum()  # small numbers: less is lost in the difference below
        self._sums = [np.r_[0, np.cumsum(count * middle**power)] for power in (0, 1, 2)]

    def __call__(self, i: np.ndarray | int, j: np.ndarray) -> np.ndarray:
        n, first, second = (sums[j] - sums[i] for sums in self._sums)
        found: np.ndarray = np.maximum(second - first * first / n, 0)
        return found


def _one_more(before: np.ndarray, cost: _Cost, m: int) -> tuple[np.ndarray, np.ndarray]:
    """best_m and the start of the m-th cluster, by j; ``before``: best_(m-1).

    Each round halves the distance between the j that are done: those on both sides of a new j bound where
    its cluster may start, so a round looks at little more than u candidates, all at once.
    """
    top = len(before) - 1
    ends = np.arange(m, top + 1)
    best, start = np.full(top + 1, np.inf), np.zeros(top + 1, np.int64)
    bound = np.r_[m - 1, np.full(len(ends), -1), top - 1]  # a place for each of ``ends``, one more around
    step = 1 << (len(ends).bit_length() - 1)
    while step:
        place = np.arange(step - 1, len(ends), 2 * step)
        j = ends[place]
        low = bound[place + 1 - step]
        high = np.minimum(bound[np.minimum(place + step, len(ends)) + 1], j - 1)
        length = high - low + 1
        first = np.cumsum(length) - length
        i = np.arange(length.sum()) + np.repeat(low - first, length)
        value = before[i] + cost(i, np.repeat(j, length))
        best[j] = np.minimum.reduceat(value, first)
        hits = np.flatnonzero(value == np.repeat(best[j], length))
        bound[place + 1] = start[j] = i[hits[np.searchsorted(hits, first)]]
        step //= 2
    return best, start
