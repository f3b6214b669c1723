"""Clusters, the second reweighting: the better a cluster of a class is recognised, the more often it is drawn.

Every sum and every product here is taken over rows in an order that their values decide, by one thread. So
the bytes depend neither on the order of the rows nor on how many processes share the classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from urnet.core.checks import InputError, check_ranges, check_same_rows
from urnet.reweight.evidence.class_shards import classes_of
from urnet.reweight.evidence.decided import certain_rows
from urnet.reweight.evidence.projection import (
    CONVERT_ROWS,
    Projection,
    byte_order,
    check_features,
    fit_projection,
    project,
    read_rows,
)

KMEANS = 1  # what a random stream is for; the number before the seed
TASK_ROWS = 1 << 14  # small classes go to a process together until they have so many rows
N_INIT, MAX_ITERATIONS = 3, 100


class _Settings(NamedTuple):
    rows_per_cluster: float
    min_clusters: int
    max_clusters: int
    shrink: float
    power: float
    seed: int


def cluster(
    features: Any,
    labels: np.ndarray,
    given_prob: np.ndarray,
    n_classes: int,
    *,
    pca: int = 256,
    rows_per_cluster: float = 50,
    min_clusters: int = 2,
    max_clusters: int = 16,
    shrink: float = 10.0,
    power: float = 1.0,
    seed: int = 0,
    jobs: int = 1,
    decided: np.ndarray | None = None,
    projection: Projection | None = None,
    task_rows: int = TASK_ROWS,
) -> dict[str, np.ndarray]:
    """Sampling weights in proportion to a cluster's quality ("average image quality": URNet).

    Features -> PCA (``fit_projection``; or a ``projection`` fitted before) -> L2 norm -> k-means inside each
    class c of n_c rows, k = clip(round(sqrt(n_c / rows_per_cluster)), min_clusters, max_clusters), fewer
    where the class has fewer distinct rows (ours). Quality q_k of a cluster of n_k rows: the mean of
    p_i(y_i), shrunk toward the class's mean q_c to (n_k q_k + shrink q_c) / (n_k + shrink) (ours: a few rows
    prove little). The weight is ∝ quality^power, with mean 1 inside the class; 1 where all p_i(y_i) are 0.

    Args: ``features`` (N, D) floats, finite, of a magnitude < 1e15: an array or what gives one for a slice or
    an ascending int array; ``labels`` (N,) integers in 0..n_classes - 1; ``given_prob`` (N,) p_i(y_i), in
    0..1. ``decided`` (N,) integers, 1: the label is certain, 0: not; a certain row weighs as a cluster of quality 1
    would, whichever it is in. ``jobs``: processes; ``task_rows``: rows that go to
    one at a time, at least. With one ``projection`` for all, calls of some classes each
    (``class_shards``) give the bytes of one call that does all.

    Returns ``{"cluster": (N,) int16, "cluster_weight": (N,) float32 >= 0}``; clusters are numbered from 0 in
    each class, the best quality first. Memory: ``jobs`` + 2 times the larger
    of the largest class and 32,768 rows of features. Raises InputError for row counts that differ, for a
    setting or a value outside its range, naming the row, or where there are no rows.
    """
    _check(features, labels, given_prob, n_classes)
    certain = certain_rows(decided, labels)
    settings = _Settings(rows_per_cluster, min_clusters, max_clusters, shrink, power, seed)
    _check_settings(settings, jobs)
    if projection is not None and len(projection.mean) != features.shape[1]:
        raise InputError(f"projection is of width {len(projection.mean)} but features of {features.shape[1]}")
    if projection is None:
        projection = fit_projection(features, pca=pca, seed=seed)
    by_class = np.argsort(labels, kind="stable")
    ends = np.cumsum(np.bincount(labels, minlength=n_classes))
    counts = np.diff(ends, prepend=0)
    rows_of = {c: by_class[ends[c] - counts[c] : ends[c]] for c in classes_of(labels, n_classes, 0, 1)}
    cluster_of = np.full(len(labels), -1, np.int16)
    weight_of = np.zeros(len(labels), np.float32)
    jobs = min(jobs, sum(map(len, rows_of.values())) // task_rows + 1)  # no process without a task
    parts = _in_processes(_tasks(features, given_prob, certain, rows_of, task_rows), projection, settings, jobs)
    for rows, (found, weight) in zip(rows_of.values(), parts, strict=True):
        cluster_of[rows], weight_of[rows] = found, weight
    return {"cluster": cluster_of, "cluster_weight": weight_of}


Piece = tuple[int, np.ndarray, np.ndarray, np.ndarray]  # a class, its rows' features, their p_i(y_i), who is certain
Found = tuple[np.ndarray, np.ndarray]  # of one class's rows: cluster int16, weight float32


def _tasks(
    features: Any, given_prob: np.ndarray, certain: np.ndarray | None, rows_of: dict[int, np.ndarray], task_rows: int
) -> Iterator[list[Piece]]:
    """Gathered classes, several to a task where they are small."""
    task: list[Piece] = []
    n_rows = 0
    for c, rows in rows_of.items():
        sure = np.zeros(len(rows), bool) if certain is None else certain[rows]
        task.append((c, read_rows(features, rows), given_prob[rows].astype(np.float64), sure))
        n_rows += len(rows)
        if n_rows >= task_rows:
            yield task
            task, n_rows = [], 0
    if task:
        yield task


def _in_processes(
    tasks: Iterator[list[Piece]], projection: Projection, settings: _Settings, jobs: int
) -> Iterator[Found]:
    """The classes' results in order. Rows are gathered here, one task ahead, so features need no pickling."""
    from joblib import Parallel, delayed

    parallel = Parallel(jobs, batch_size=1, pre_dispatch=jobs + 1, max_nbytes=None)
    for results in parallel(delayed(_cluster_task)(task, projection, settings) for task in tasks):
        yield from results


def _cluster_task(task: list[Piece], projection: Projection, settings: _Settings) -> list[Found]:
    import sklearn.cluster  # noqa: F401  # loaded first, so that its threads are limited as well
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return [_cluster_class(*piece, projection, settings) for piece in task]


def _cluster_class(
    c: int, raw: np.ndarray, given_prob: np.ndarray, certain: np.ndarray, projection: Projection, settings: _Settings
) -> Found:
    """One class's clusters and weights. Equal rows count as one point of their multiplicity."""
    order = byte_order(raw)
    starts = _starts(raw, order)
    point_of = np.empty(len(raw), np.int64)
    point_of[order] = np.cumsum(starts) - 1
    k = np.rint(np.sqrt(len(raw) / settings.rows_per_cluster))
    k = int(np.clip(k, settings.min_clusters, settings.max_clusters))
    distinct, counts = order[starts], np.bincount(point_of)
    if k >= len(distinct):
        cluster_of = np.arange(len(distinct))
    elif k == 1:
        cluster_of = np.zeros(len(distinct), np.int64)
    else:
        cluster_of = _kmeans(project(raw, distinct, projection), counts, k, [KMEANS, settings.seed, c])
    canonical = np.lexsort((certain, given_prob, point_of))
    found, weight = np.empty(len(raw), np.int16), np.empty(len(raw), np.float32)
    found[canonical], weight[canonical] = _weigh(
        cluster_of[point_of[canonical]], given_prob[canonical], certain[canonical], settings.shrink, settings.power
    )
    return found, weight


def _starts(raw: np.ndarray, order: np.ndarray) -> np.ndarray:
    """(n,) bool: where, in ``order``, a row differs from the one before; in blocks, for large classes."""
    bits = raw.view(np.uint16)
    starts = np.ones(len(order), bool)
    for start in range(1, len(order), CONVERT_ROWS):
        here = slice(start, min(start + CONVERT_ROWS, len(order)))
        before = slice(here.start - 1, here.stop - 1)
        starts[here] = (bits[order[here]] != bits[order[before]]).any(axis=1)
    return starts


def _kmeans(points: np.ndarray, counts: np.ndarray, k: int, stream: list[int]) -> np.ndarray:
    import warnings

    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    random_state = int(np.random.SeedSequence(stream).generate_state(1)[0])
    kmeans = KMeans(k, n_init=N_INIT, max_iter=MAX_ITERATIONS, random_state=random_state)
    with warnings.catch_warnings():
        # Rows that differ by roundings only may make fewer clusters than k; _weigh takes what there are.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return kmeans.fit(points, sample_weight=counts.astype(np.float32)).labels_


def _weigh(cluster_of: np.ndarray, given_prob: np.ndarray, certain: np.ndarray, shrink: float, power: float) -> Found:
    """Clusters renumbered by falling quality (then size, then first row), and the weights of the rows."""
    _, first, found, sizes = np.unique(cluster_of, return_index=True, return_inverse=True, return_counts=True)
    sums = np.bincount(found, weights=given_prob)
    quality = (sums + shrink * (sums.sum() / len(found))) / (sizes + shrink)
    best_first = np.lexsort((first, -sizes, -quality))
    number = np.empty(len(first), np.int16)
    number[best_first] = np.arange(len(first))
    best = quality.max()
    relative = (quality / best) ** power if best > 0 else np.ones(len(first))
    if not certain.any():
        weight = relative * (len(found) / (sizes @ relative))
        return number[found], weight.astype(np.float32)[found]
    own = np.where(certain, 1.0, quality[found] ** power)
    return number[found], (own * (len(found) / own.sum())).astype(np.float32)


def _check(features: Any, labels: np.ndarray, given_prob: np.ndarray, n_classes: int) -> None:
    check_features(features, labels, n_classes)
    check_same_rows(labels=labels, given_prob=given_prob)
    if given_prob.ndim != 1:
        raise InputError(f"given_prob: (N,), one probability a row, is accepted; found {given_prob.shape}")
    fair = (given_prob >= 0) & (given_prob <= 1)
    if not fair.all():
        row = int(np.argmin(fair))
        raise InputError(f"given_prob: row {row} has {given_prob[row]}; probabilities in 0..1 are accepted")


def _check_settings(s: _Settings, jobs: int) -> None:
    check_ranges(
        {
            f"rows_per_cluster: found {s.rows_per_cluster}; more than 0": 0 < s.rows_per_cluster < math.inf,
            f"min_clusters: found {s.min_clusters}; 1..max_clusters": 1 <= s.min_clusters <= s.max_clusters,
            f"max_clusters: found {s.max_clusters}; at most 32767": s.max_clusters < 1 << 15,
            f"shrink: found {s.shrink}; 0 or more": 0 <= s.shrink < math.inf,
            f"power: found {s.power}; 0 or more": 0 <= s.power < math.inf,
            f"seed: found {s.seed}; 0 or more": s.seed >= 0,
            f"jobs: found {jobs}; 1 or more": jobs >= 1,
        }
    )
