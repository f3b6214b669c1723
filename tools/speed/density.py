"""The density curriculum of one class, beside its definition taken literally: all n² distances sorted.

Both get the same rows and take turns. The literal version keeps the whole matrix, here in float32, in which it is
faster than in float64, and is left out above 20,000 rows, where it would need several matrices of gigabytes. The
curriculum runs in a process of its own as well, for its peak memory.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from tools.speed import memory
from tools.speed.figures import Figure, Times, rate
from tools.speed.timing import in_process, stopwatch, take_turns, timed
from urnet.core.checks import InputError

LEAST_ROWS = 10  # fewer are not split into three subsets for certain
LITERAL_ROWS = 20_000  # above it the literal version is not run
KINDS = ("count", "gaussian")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Size of the measurement."""
    add = parser.add_argument
    add("--rows", type=int, default=8000, help="rows of the class [8000]; WebVision's largest has 53647")
    add("--width", type=int, default=256, help="features a row [256]")
    add("--rounds", type=int, default=3, help="turns of each version; medians count [3]")


def measure(args: argparse.Namespace, literal_rows: int = LITERAL_ROWS) -> list[Figure]:
    """Rows a second of both densities, up to ``literal_rows`` beside the literal version's; a process's memory."""
    if args.rows < LEAST_ROWS or min(args.width, args.rounds) < 1:
        raise InputError(
            f"--rows {args.rows}, --width {args.width}, --rounds {args.rounds}: {LEAST_ROWS} or more rows, "
            "1 or more of the others"
        )
    from urnet.baselines.kmeans_1d import kmeans_1d  # both split the densities with it: what differs is the rest

    features, with_literal = make_features(args.rows, args.width), args.rows <= literal_rows
    works = {}
    for kind in KINDS:
        works[kind] = timed(run, features, kind)
        if with_literal:
            literally = partial(literal, features, kmeans_1d, density=kind, dtype=np.float32)
            works[f"literal {kind}"] = timed(literally)
    seconds = take_turns(works, args.rounds if with_literal else 1)
    figures = []
    for kind in KINDS:
        limit = Times(args.rows, seconds[f"literal {kind}"]) if with_literal else None
        name, limit_name = f"density: {kind}, {args.rows:,} x {args.width}", "literally: n² distances sorted"
        figures.append(rate(name, "rows/s", Times(args.rows, seconds[kind]), limit, limit_name if limit else ""))
    apart = in_process(run_apart, args.rows, args.width)
    return [
        *figures,
        Figure("density: count, its own process", apart["seconds"], "s"),
        Figure("density: peak memory of that process", apart["peak"] * memory.MB / 2**20, "MiB"),
    ]


def make_features(n: int, width: int) -> np.ndarray:
    """(n, width) float32: a dense middle and looser rows around it, as one class of web images."""
    rng = np.random.default_rng(0)
    spread = rng.uniform(0.5, 2.0, (n, 1)).astype(np.float32)
    return spread * rng.standard_normal((n, width), np.float32)


def run(features: np.ndarray, density: str) -> dict[str, np.ndarray]:
    """The curriculum of one class with these rows."""
    from urnet.baselines.curriculumnet import curriculum

    return curriculum(features, np.zeros(len(features), np.int64), 1, density=density, pca=0)


def run_apart(rows: int, width: int) -> dict[str, float]:
    """Seconds and peak memory of one class, to be called in a process of its own."""
    found: dict[str, float] = {}
    features = make_features(rows, width)
    with stopwatch(found, "seconds"):
        run(features, "count")
    return {**found, "peak": memory.peak()}


def literal(
    features: np.ndarray,
    kmeans: Callable[[np.ndarray, int], np.ndarray],
    *,
    quantile: float = 0.6,
    density: str = "count",
    split: str = "density",
    n_subsets: int = 3,
    dtype: type = np.float64,
) -> dict[str, Any]:
    """The definition word by word, for one class without PCA: the whole matrix, its n² numbers sorted.

    ``subset`` (n,) int, ``density`` (n,), ``cutoff`` d_c and ``distances`` (n, n), computed in ``dtype``.
    ``kmeans(values, k)`` gives each value's cluster. The class must have ``n_subsets`` distinct densities, or
    distances, or more.
    """
    x: np.ndarray = features.astype(dtype)
    norm = (x * x).sum(axis=1)
    distances = np.sqrt(np.maximum(norm[:, None] + norm - 2 * (x @ x.T), 0))
    np.fill_diagonal(distances, 0)
    rank = math.ceil(Fraction(str(quantile)) * distances.size)
    cutoff = np.sort(distances, axis=None)[rank - 1]
    if density == "count":
        rho = (distances < cutoff).sum(axis=1) - 1
    else:
        rho = np.exp(-((distances / cutoff) ** 2)).sum(axis=1) - 1
    values = rho if split == "density" else distances[rho.argmax()]
    found = kmeans(values.astype(np.float64), n_subsets)
    mean = np.array([values[found == cluster].mean() for cluster in range(n_subsets)])
    best_first = np.argsort(-mean if split == "density" else mean)
    return {"subset": np.argsort(best_first)[found], "density": rho, "cutoff": cutoff, "distances": distances}
