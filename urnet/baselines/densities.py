"""All distances between the rows of a class, by block: a quantile of them, densities, peaks.

Blocks of the upper triangle are float32 products of matrices; they are kept where all of them are small, else
computed again by each pass, by the same products, so that every pass sees the same bits. Threads share the
blocks; what they find is put together in the order of the blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import TypeVar

import numpy as np

from urnet.core.blocks import blocks

KEEP_BYTES = 1 << 28  # blocks of squared distances of up to so many bytes are kept
SAMPLE = 1 << 22  # distances, at most, from which the neighbourhood of a quantile is guessed
HALF = 16  # bits of half a float32

Found = TypeVar("Found")


class SquaredDistances:
    """The blocks on and above the diagonal, for functions to go over as often as needed.

    ``points`` (n, d) float32, near their mean and of a magnitude near 1; ``group`` (n,) integers that do not
    fall: points of one group are the same point, at a distance of exactly 0. |x - y|² is |x|² + |y|² - 2xy
    by one product, off by about 1e-7 (|x|² + |y|²). ``threads`` share the blocks, whose bits are the same;
    blocks of up to ``keep_bytes`` in total are kept, else computed again each time.
    """

    def __init__(
        self, points: np.ndarray, group: np.ndarray, block: int, threads: int = 1, keep_bytes: int = KEEP_BYTES
    ) -> None:
        self.n, self._group, self._threads = len(points), group, threads
        norm = np.einsum("nd,nd->n", points, points, dtype=np.float64).astype(np.float32)[:, None]
        one = np.ones_like(norm)
        self._left, self._right = np.hstack([points, norm, one]), np.hstack([-2 * points, one, norm])
        parts = list(blocks(self.n, block))
        self._places = [(rows, columns) for k, rows in enumerate(parts) for columns in parts[k:]]
        self._keep = 2 * self.n * (self.n + block) <= keep_bytes
        self._kept: dict[int, np.ndarray] = {}

    def map(self, function: Callable[[slice, slice, np.ndarray], Found]) -> Iterator[Found]:
        """``function(rows, columns, squared distances)`` of every block, in order; it changes nothing."""
        window = 4 * self._threads  # so many results wait at most

        def work(number: int) -> Found:
            return function(*self._places[number], self._squares(number))

        with ThreadPoolExecutor(self._threads) as pool:
            for start in range(0, len(self._places), window):
                yield from pool.map(work, range(start, min(start + window, len(self._places))))

    def _squares(self, number: int) -> np.ndarray:
        if number in self._kept:
            return self._kept[number]
        rows, columns = self._places[number]
        squares: np.ndarray = self._left[rows] @ self._right[columns].T
        np.maximum(squares, 0, out=squares)
        if self._group[rows.stop - 1] >= self._group[columns.start]:
            squares[self._group[rows, None] == self._group[None, columns]] = 0
        if self._keep:
            self._kept[number] = squares
        return squares


def squared_quantile(distances: SquaredDistances, quantile: float, sample: int = SAMPLE) -> np.float32:
    """The square of the ceil(quantile n²)-th smallest of all n² distances, from both triangles and diagonal.

    Exact, without sorting: the bits of float32s >= 0 are in the order of the numbers. A pass counts the upper
    halves of some of them, which gives the upper half of the one looked for, a second one the lower halves of
    those that share it, and how many are smaller; where these do not hold the rank, all upper halves are
    counted and then again the lower ones. ``quantile``, in (0, 1], is taken as the decimal it is written as.
    ``sample``: distances that the first pass counts, at most about.
    """
    rank = math.ceil(Fraction(str(float(quantile))) * distances.n**2)
    guessed = _upper_halves(distances, distances.n**2 // sample | 1)  # odd, for blocks have even widths
    high = _place(guessed, math.ceil(Fraction(rank * int(guessed.sum()), distances.n**2)))
    smaller, sharing = _lower_halves(distances, high)
    if not smaller < rank <= smaller + sharing.sum():
        high = _place(_upper_halves(distances, 1), rank)
        smaller, sharing = _lower_halves(distances, high)
    low = _place(sharing, rank - smaller)
    return np.uint32(high << HALF | low).view(np.float32)


def _upper_halves(distances: SquaredDistances, step: int) -> np.ndarray:
    """How many of every ``step``-th number have each upper half; a block off the diagonal counts twice."""

    def count(rows: slice, columns: slice, squares: np.ndarray) -> np.ndarray:
        found = np.bincount(squares.view(np.uint32).ravel()[::step] >> HALF, minlength=1 << HALF)
        return found if rows == columns else 2 * found

    return sum(distances.map(count), np.zeros(1 << HALF, np.int64))


def _lower_halves(distances: SquaredDistances, high: int) -> tuple[int, np.ndarray]:
    """How many numbers have an upper half below ``high``; of those that have it, how many each lower one."""

    def count(rows: slice, columns: slice, squares: np.ndarray) -> tuple[int, np.ndarray]:
        bits = squares.view(np.uint32).ravel()
        found = bits[np.flatnonzero(bits >> HALF == high)] & ((1 << HALF) - 1)
        twice = 1 if rows == columns else 2
        return twice * int(np.count_nonzero(bits < high << HALF)), twice * np.bincount(found, minlength=1 << HALF)

    smaller, counts = 0, np.zeros(1 << HALF, np.int64)
    for below, lower in distances.map(count):
        smaller += below
        counts += lower
    return smaller, counts


def _place(counts: np.ndarray, rank: int) -> int:
    """The place of the ``rank``-th thing counted, from 1."""
    return int(np.searchsorted(np.cumsum(counts), rank))


def count_density(distances: SquaredDistances, square: np.float32) -> np.ndarray:
    """(n,) float64: how many other points are nearer than d_c, ``square`` = d_c²; 0 where d_c is 0."""
    return _sum_over_others(distances, lambda squares: (squares < square).astype(np.float32))


def gaussian_density(distances: SquaredDistances, square: np.float32) -> np.ndarray:
    """(n,) float64: Σ_(j ≠ i) exp(-(D_ij / d_c)²), ``square`` = d_c²; for d_c = 0 its limit."""
    if square > 0:
        return _sum_over_others(distances, lambda squares: np.exp(squares * (-1 / square)))
    return _sum_over_others(distances, lambda squares: (squares == 0).astype(np.float32))


def _sum_over_others(distances: SquaredDistances, weigh: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    def add(rows: slice, columns: slice, squares: np.ndarray) -> tuple[slice, np.ndarray, slice, np.ndarray]:
        weights = weigh(squares)
        if rows == columns:
            np.fill_diagonal(weights, 0)
        of_rows = weights @ np.ones(weights.shape[1], np.float32)
        return rows, of_rows, columns, np.ones(len(weights), np.float32) @ weights

    total = np.zeros(distances.n)
    for rows, of_rows, columns, of_columns in distances.map(add):
        if rows != columns:
            total[columns] += of_columns
        total[rows] += of_rows
    return total


def distances_from(points: np.ndarray, one: int) -> np.ndarray:
    """(n,) float64: the distance of each point from point ``one``."""
    away = points - points[one]
    return np.sqrt(np.einsum("nd,nd->n", away, away, dtype=np.float64))


def nearest_before(distances: SquaredDistances) -> np.ndarray:
    """(n,) float64: each point's distance to the nearest of those before it; inf for the first."""

    def nearest(rows: slice, columns: slice, squares: np.ndarray) -> tuple[slice, np.ndarray]:
        if rows == columns:
            before = np.triu(np.ones(squares.shape, bool), 1)
            squares = np.where(before, squares, np.float32(np.inf))
        return columns, squares.min(axis=0)

    least = np.full(distances.n, np.inf)
    for columns, found in distances.map(nearest):
        least[columns] = np.minimum(least[columns], found)
    return np.sqrt(least)
