"""Level 1: all distances between the rows of a class, by block: a quantile of them, densities, peaks.

Blocks of the upper triangle are float32 products of matrices; they are kept where all of them are small, else
computed again by each pass, by the same products, so that every pass sees the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np

KEEP_BYTES = 1 << 28  # blocks of squared distances of up to so many bytes are kept
SAMPLE = (
    1 << 22
)  # distances from which the neighbourhood of a quantile is guessed; all, where there are fewer
HALF = 16  # bits of half a float32

Block = tuple[slice, slice, np.ndarray]  # rows, columns, squared distances float32 >= 0


class SquaredDistances:
    """The blocks (``Block``) on and above the diagonal; iterate as often as needed, change none of them.

    ``points`` (n, d) float32, near their mean and of a magnitude near 1; ``group`` (n,) integers that do not
    fall: points of one group are the same point, at a distance of exactly 0. |x - y|² is |x|² + |y|² - 2xy
    by one product, off by about 1e-7 (|x|² + |y|²).
    """

    def __init__(self, points: np.ndarray, group: np.ndarray, block: int) -> None:
        self.n, self._group, self._block = len(points), group, block
        norm = np.einsum("nd,nd->n", points, points, dtype=np.float64).astype(np.float32)[:, None]
        one = np.ones_like(norm)
        self._left, self._right = np.hstack([points, norm, one]), np.hstack([-2 * points, one, norm])
        self._kept: list[Block] = []

    def __iter__(self) -> Iterator[Block]:
        if self._kept:
            yield from self._kept
            return
        kept = []
        for block in self._blocks():
            if 2 * self.n * (self.n + self._block) <= KEEP_BYTES:
                kept.append(block)
            yield block
        self._kept = kept

    def _blocks(self) -> Iterator[Block]:
        parts = [slice(start, min(start + self._block, self.n)) for start in range(0, self.n, self._block)]
        for number, rows in enumerate(parts):
            for columns in parts[number:]:
                squares = self._left[rows] @ self._right[columns].T
                np.maximum(squares, 0, out=squares)
                if self._group[rows.stop - 1] >= self._group[columns.start]:
                    squares[self._group[rows, None] == self._group[None, columns]] = 0
                yield rows, columns, squares


def squared_quantile(blocks: SquaredDistances, quantile: float) -> np.float32:
    """The square of the ceil(quantile n²)-th smallest of all n² distances, from both triangles and diagonal.

    Exact, without sorting: the bits of float32s >= 0 are in the order of the numbers. A pass counts the upper
    halves of some of them, which tells the upper half of the one looked for, a second one the lower halves of
    those that share it, and how many are smaller; where these do not hold the rank, all upper halves are
    counted and then again the lower ones. ``quantile``, in (0, 1], is taken as the decimal it is written as.
    """
    rank = math.ceil(Fraction(str(float(quantile))) * blocks.n**2)
    sample = _upper_halves(blocks, blocks.n**2 // SAMPLE | 1)  # odd, for blocks have even widths
    high = _place(sample, math.ceil(Fraction(rank * int(sample.sum()), blocks.n**2)))
    smaller, sharing = _lower_halves(blocks, high)
    if not smaller < rank <= smaller + sharing.sum():
        high = _place(_upper_halves(blocks, 1), rank)
        smaller, sharing = _lower_halves(blocks, high)
    low = _place(sharing, rank - smaller)
    return np.uint32(high << HALF | low).view(np.float32)


def _upper_halves(blocks: SquaredDistances, step: int) -> np.ndarray:
    """How many of every ``step``-th number have each upper half; a block off the diagonal counts twice."""
    counts = np.zeros(1 << HALF, np.int64)
    for rows, columns, squares in blocks:
        found = np.bincount(squares.view(np.uint32).ravel()[::step] >> HALF, minlength=len(counts))
        counts += found if rows == columns else 2 * found
    return counts


def _lower_halves(blocks: SquaredDistances, high: int) -> tuple[int, np.ndarray]:
    """How many numbers have an upper half below ``high``; of those that have it, how many each lower one."""
    smaller, counts = 0, np.zeros(1 << HALF, np.int64)
    for rows, columns, squares in blocks:
        bits = squares.view(np.uint32).ravel()
        found = bits[np.flatnonzero(bits >> HALF == high)] & ((1 << HALF) - 1)
        twice = 1 if rows == columns else 2
        smaller += twice * int(np.count_nonzero(bits < high << HALF))
        counts += twice * np.bincount(found, minlength=len(counts))
    return smaller, counts


def _place(counts: np.ndarray, rank: int) -> int:
    """The place of the ``rank``-th thing counted, from 1."""
    return int(np.searchsorted(np.cumsum(counts), rank))


def count_density(blocks: SquaredDistances, square: np.float32) -> np.ndarray:
    """(n,) float64: how many other points are nearer than d_c, ``square`` = d_c²; 0 where d_c is 0."""
    return _sum_over_others(blocks, lambda squares: (squares < square).astype(np.float32))


def gaussian_density(blocks: SquaredDistances, square: np.float32) -> np.ndarray:
    """(n,) float64: Σ_(j ≠ i) exp(-(D_ij / d_c)²), ``square`` = d_c²; for d_c = 0 its limit."""
    if square > 0:
        return _sum_over_others(blocks, lambda squares: np.exp(squares * (-1 / square)))
    return _sum_over_others(blocks, lambda squares: (squares == 0).astype(np.float32))


def _sum_over_others(blocks: SquaredDistances, weigh: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    total = np.zeros(blocks.n)
    for rows, columns, squares in blocks:
        weights = weigh(squares)
        if rows == columns:
            np.fill_diagonal(weights, 0)
        else:
            total[columns] += np.ones(len(weights), np.float32) @ weights
        total[rows] += weights @ np.ones(weights.shape[1], np.float32)
    return total


def distances_from(points: np.ndarray, one: int) -> np.ndarray:
    """(n,) float64: the distance of each point from point ``one``."""
    away = points - points[one]
    return np.sqrt(np.einsum("nd,nd->n", away, away, dtype=np.float64))


def nearest_before(blocks: SquaredDistances) -> np.ndarray:
    """(n,) float64: each point's distance to the nearest of those before it; inf for the first."""
    least = np.full(blocks.n, np.inf)
    for rows, columns, squares in blocks:
        if rows == columns:
            before = np.triu(np.ones(squares.shape, bool), 1)
            squares = np.where(before, squares, np.float32(np.inf))
        least[columns] = np.minimum(least[columns], squares.min(axis=0))
    return np.sqrt(least)
