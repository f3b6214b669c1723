"""The density curriculum of CurriculumNet: each class in subsets, from dense to sparse.

Rows are computed with in an order that their bytes decide, each product of matrices by one thread, so that
the outcome depends neither on the order of the rows nor on how many processes and threads share the work.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from urnet.baselines.densities import (
    SquaredDistances,
    count_density,
    distances_from,
    gaussian_density,
    nearest_before,
    squared_quantile,
)
from urnet.baselines.kmeans_1d import kmeans_1d
from urnet.core.blocks import blocks
from urnet.core.checks import check_choice, check_ranges
from urnet.core.cpus import usable_cores
from urnet.reweight.evidence.class_shards import classes_of
from urnet.reweight.evidence.decided import certain_rows
from urnet.reweight.evidence.projection import CONVERT_ROWS, byte_order, check_features, fit_projection, read_rows

DENSITIES = {"count": count_density, "gaussian": gaussian_density}
SPLITS = ("density", "distance")
ROUNDING = 1e-5  # values whose spread is below this share of the largest are alike
MEAN_BITS = 8  # of the magnitude, kept of the mean that is taken off


class _Settings(NamedTuple):
    quantile: float
    density: str
    split: str
    n_subsets: int
    pca: int
    seed: int
    block: int
    delta: bool
    threads: int


def curriculum(
    features: Any,
    labels: np.ndarray,
    n_classes: int,
    *,
    quantile: float = 0.6,
    density: str = "count",
    split: str = "density",
    n_subsets: int = 3,
    pca: int = 256,
    seed: int = 0,
    jobs: int = 1,
    block: int = 1024,
    delta: bool = False,
    decided: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Which subset of its class's curriculum each row is in (CurriculumNet: Guo et al. 2018).

    In each class of n rows: features -> PCA fitted to the class -> Euclidean distances D; d_c: the
    ceil(quantile n²)-th smallest of all n² of them, the n zeros of the diagonal and both triangles included;

        density "count"     rho_i = #{j ≠ i: D_ij < d_c}                (CurriculumNet)
        density "gaussian"  rho_i = Σ_(j ≠ i) exp(-(D_ij / d_c)²)       (Rodriguez & Laio 2014)

    and k-means with ``n_subsets`` clusters (the best, ``kmeans_1d``; ours, the paper does not say which) on
    the densities (``split`` "density"), subset 0 the densest; or on the distances from the row of the highest
    density ("distance"), subset 0 the nearest. A class of fewer rows than ``n_subsets``, or whose values
    differ by less than 1e-5 of the largest, is subset 0; one of fewer distinct values has as many subsets.
    delta_i: the smallest distance to a denser row; for the densest row of the class the largest distance. Of
    equal densities the row whose features' bytes sort first counts as denser, of equal rows the earlier.

    Args: ``features`` (N, D) floats, finite, of a magnitude < 1e15: an array or what gives one for a slice or
    an ascending int array; ``labels`` (N,) integers in 0..n_classes - 1. ``quantile`` in (0, 1];
    ``n_subsets`` 2..127; ``pca``: components, 0 for none; ``jobs``: processes that share the classes;
    ``block``: rows of a block of distances, which changes roundings only; ``decided`` (N,) integers, 1: a person
    decided the label, so that the row is in subset 0 wherever it lies (ours), 0: not.

    Returns ``{"subset": (N,) int8, "density": (N,) float32}`` and, with ``delta``, ``"delta": (N,) float32``.
    Permuted rows give the same bytes, permuted (delta: but for equal rows, see above). Time O(n²) a class;
    memory for each of ``jobs`` O(n (D + block)) of its class and 256 MiB of distances, 512 with ``delta``.
    Raises InputError for row counts that differ, or for a setting or a feature that is not accepted.
    """
    threads = max(usable_cores() // max(jobs, 1), 1)
    settings = _Settings(quantile, density, split, n_subsets, pca, seed, block, delta, threads)
    _check(features, labels, n_classes, settings, jobs)
    by_class = np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels, minlength=n_classes))[:-1])
    rows_of = [by_class[c] for c in classes_of(labels, n_classes, 0, 1)]
    types = {"subset": np.int8, "density": np.float32, **({"delta": np.float32} if delta else {})}
    out = {name: np.zeros(len(labels), dtype) for name, dtype in types.items()}
    for rows, found in zip(rows_of, _in_processes(features, rows_of, settings, jobs), strict=True):
        for name, column in found.items():
            out[name][rows] = column
    certain = certain_rows(decided, labels)
    if certain is not None:
        out["subset"][certain] = 0
    return out


def _in_processes(
    features: Any, rows_of: list[np.ndarray], settings: _Settings, jobs: int
) -> Iterator[dict[str, np.ndarray]]:
    """The classes' columns, in order. Rows are gathered here, so features need no pickling."""
    from joblib import Parallel, delayed

    parallel = Parallel(jobs, batch_size=1, pre_dispatch=jobs + 1, max_nbytes=None, return_as="generator")
    yield from parallel(delayed(_class_columns)(read_rows(features, rows), settings) for rows in rows_of)


def _class_columns(raw: np.ndarray, settings: _Settings) -> dict[str, np.ndarray]:
    """The columns of one class's rows ``raw`` (n, D)."""
    from threadpoolctl import threadpool_limits

    order = byte_order(raw)
    raw = raw[order]
    keys = raw.view(f"V{raw.shape[1] * raw.itemsize}").ravel()
    starts = np.r_[True, keys[1:] != keys[:-1]]
    group = np.cumsum(starts) - 1
    first = np.flatnonzero(starts)[group]  # equal rows take its values: theirs may round otherwise
    with threadpool_limits(1):
        points, exponent = _points(raw, settings.pca, settings.seed)
        distances = SquaredDistances(points, group, settings.block, settings.threads)
        square = squared_quantile(distances, settings.quantile)
        density = DENSITIES[settings.density](distances, square).astype(np.float32)[first]
        found = {"subset": _subsets(points, density, first, settings), "density": density}
        if settings.delta:
            found["delta"] = np.ldexp(_deltas(points, group, density, settings), exponent)
    back = np.argsort(order)
    return {name: column[back] for name, column in found.items()}


def _points(raw: np.ndarray, pca: int, seed: int) -> tuple[np.ndarray, int]:
    """The rows (n, d) float32 after PCA, times a power of two that makes the largest near 1; its exponent.

    PCA that keeps every dimension would only turn the rows, and is left out. What is taken off is then a
    rounded mean, as it changes no distance, and small integers stay exact.
    """
    n, width = raw.shape
    if 0 < pca < min(n - 1, width):
        mean, components = fit_projection(raw, pca=pca, seed=seed)
        points = np.empty((n, pca), np.float32)
        for rows in blocks(n, CONVERT_ROWS):
            points[rows] = (raw[rows].astype(np.float32) - mean) @ components
    else:
        unit = np.ldexp(1.0, np.frexp(float(max(raw.max(), -raw.min())))[1] - MEAN_BITS)
        mean = np.rint(raw.mean(axis=0, dtype=np.float64) / unit) * unit
        points = np.empty((n, width), np.float32)
        for rows in blocks(n, CONVERT_ROWS):
            points[rows] = raw[rows] - mean
    exponent = int(np.frexp(max(points.max(), -points.min()))[1])
    return np.ldexp(points, -exponent), exponent


def _subsets(points: np.ndarray, density: np.ndarray, first: np.ndarray, settings: _Settings) -> np.ndarray:
    values = density if settings.split == "density" else distances_from(points, int(density.argmax()))[first]
    if len(values) < settings.n_subsets or np.ptp(values) <= ROUNDING * values.max():
        return np.zeros(len(values), np.int8)
    rising = kmeans_1d(values, settings.n_subsets)
    return (rising.max() - rising if settings.split == "density" else rising).astype(np.int8)


def _deltas(points: np.ndarray, group: np.ndarray, density: np.ndarray, settings: _Settings) -> np.ndarray:
    """(n,) float64: distance to the nearest denser point, the largest distance for the densest."""
    falling = np.argsort(-density, kind="stable")
    points = points[falling]
    # In this order equal rows are still side by side, but the numbers of their groups may fall.
    renumbered = np.cumsum(np.r_[0, np.diff(group[falling]) != 0])
    found = np.empty(len(points))
    found[falling] = nearest_before(SquaredDistances(points, renumbered, settings.block, settings.threads))
    found[falling[0]] = distances_from(points, 0).max()
    return found


def _check(features: Any, labels: np.ndarray, n_classes: int, s: _Settings, jobs: int) -> None:
    check_features(features, labels, n_classes)
    check_choice("density", s.density, DENSITIES)
    check_choice("split", s.split, SPLITS)
    check_ranges(
        {
            f"quantile: found {s.quantile}; more than 0, up to 1": 0 < s.quantile <= 1,
            f"n_subsets: found {s.n_subsets}; 2 to 127": 2 <= s.n_subsets <= 127,
            f"pca: found {s.pca}; 0 (none) or more": s.pca >= 0,
            f"seed: found {s.seed}; 0 or more": s.seed >= 0,
            f"jobs: found {jobs}; 1 or more": jobs >= 1,
            f"block: found {s.block}; 1 or more": s.block >= 1,
        }
    )
