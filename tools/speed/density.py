"""The density curriculum of one class, beside its definition taken literally: all n² distances sorted.

Both get the same rows and take turns. The literal version keeps the whole matrix, here in float32, in which
it is faster than in float64, and is left out above 20,000 rows, where it would need several matrices of
gigabytes. The curriculum runs in a process of its own as well, so that its peak memory can be told.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from tools.speed.figures import Figure
from urnet.core.checks import InputError

LEAST_ROWS = 10  # fewer are not split into three subsets for certain
LITERAL_ROWS = 20_000  # above it the literal version is not run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Size of the measurement."""
    add = parser.add_argument
    add("--rows", type=int, default=8000, help="rows of the class [8000]; WebVision's largest has 53647")
    add("--width", type=int, default=256, help="features a row [256]")
    add("--rounds", type=int, default=3, help="turns of each version; medians count [3]")


def measure(args: argparse.Namespace) -> list[Figure]:
    """Rows a second of both densities beside the literal version's, and the peak memory of a process."""
    if args.rows < LEAST_ROWS or min(args.width, args.rounds) < 1:
        raise InputError(
            f"--rows {args.rows}, --width {args.width}, --rounds {args.rounds}: {LEAST_ROWS} or more rows, "
            "1 or more of the others"
        )
    from urnet.baselines.kmeans_1d import kmeans_1d  # both split the line with it: what differs is the rest

    features = make_features(args.rows, args.width)
    versions: dict[str, Callable[[], object]] = {}
    for density in ("count", "gaussian"):
        versions[density] = lambda density=density: run(features, density)
        if args.rows <= LITERAL_ROWS:
            versions[f"literal {density}"] = lambda density=density: literal(
                features, kmeans_1d, density=density, dtype=np.float32
            )
    seconds = take_turns(versions, args.rounds if args.rows <= LITERAL_ROWS else 1)
    figures = []
    for density in ("count", "gaussian"):
        name, limit = f"density: {density}, {args.rows:,} x {args.width}", seconds.get(f"literal {density}")
        rate, literal_rate = args.rows / seconds[density], limit and args.rows / limit
        figures.append(Figure(name, rate, "rows/s", literal_rate, "literally: n² distances sorted" if limit else ""))
    told = _own_process(args.rows, args.width)
    figures.append(Figure("density: count, its own process", told["seconds"], "s"))
    return [*figures, Figure("density: peak memory of that process", told["peak_mib"], "MiB")]


def make_features(n: int, width: int) -> np.ndarray:
    """(n, width) float32: a dense middle and looser rows around it, as one class of web images."""
    rng = np.random.default_rng(0)
    spread = rng.uniform(0.5, 2.0, (n, 1)).astype(np.float32)
    return spread * rng.standard_normal((n, width), np.float32)


def run(features: np.ndarray, density: str) -> dict[str, np.ndarray]:
    """The curriculum of one class with these rows."""
    from urnet.baselines.curriculumnet import curriculum

    return curriculum(features, np.zeros(len(features), np.int64), 1, density=density, pca=0)


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
    x = features.astype(dtype)
    norm = (x * x).sum(axis=1)
    distances = norm[:, None] + norm - 2 * (x @ x.T)
    distances = np.sqrt(np.maximum(distances, 0))
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


def take_turns(versions: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each version, run in turns so that a slow moment of the machine hits all."""
    seconds: dict[str, list[float]] = {name: [] for name in versions}
    for _ in range(rounds):
        for name, version in versions.items():
            start = time.perf_counter()
            version()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _own_process(rows: int, width: int) -> dict[str, float]:
    command = [sys.executable, "-m", "tools.speed.density", str(rows), str(width)]
    root = Path(__file__).resolve().parents[2]
    return dict(json.loads(subprocess.run(command, cwd=root, check=True, capture_output=True).stdout))


def run_and_tell(rows: str, width: str) -> None:
    """The measured process: print the seconds and the peak memory of one class as JSON."""
    from tools.speed.table import peak_mib

    features = make_features(int(rows), int(width))
    start = time.perf_counter()
    run(features, "count")
    print(json.dumps({"seconds": time.perf_counter() - start, "peak_mib": peak_mib()}))


if __name__ == "__main__":
    run_and_tell(*sys.argv[1:])
