"""The density curriculum of one class: rows a second of both densities, and a process's peak memory.

Both get the same rows and take turns. One runs in a process of its own as well, for its memory.
"""

from __future__ import annotations

import argparse

import numpy as np

from tools.speed.figures import Figure
from tools.speed.timing import in_process, memory, per_second, take_turns, timed
from urnet.baselines.curriculumnet import curriculum
from urnet.core.cli import number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Size of the measurement."""
    text = "rows of the class [8000]; WebVision's largest has 53647"
    parser.add_argument("--rows", type=number(int, 10), default=8000, help=text)  # fewer may not make three subsets
    parser.add_argument("--width", type=number(int, 1), default=256, help="features per row [256]")
    parser.add_argument("--rounds", type=number(int, 1), default=3, help="turns of each density; medians count [3]")


def measure(args: argparse.Namespace) -> list[Figure]:
    """Rows a second of both densities; seconds and memory of a process."""
    features = make_features(args.rows, args.width)
    seconds = take_turns({kind: timed(run, features, kind) for kind in ("count", "gaussian")}, args.rounds)
    own_seconds, peak = in_process(run_apart, args.rows, args.width)
    return [
        *(
            Figure(f"density: {kind}, {args.rows:,} x {args.width}", per_second(args.rows, taken), "rows/s")
            for kind, taken in seconds.items()
        ),
        Figure("density: count, its own process", own_seconds, "s"),
        Figure("density: peak memory of that process", peak * 1e6 / 2**20, "MiB"),
    ]


def make_features(n: int, width: int) -> np.ndarray:
    """(n, width) float32: a dense middle and looser rows around it, as one class of web images."""
    rng = np.random.default_rng(0)
    spread = rng.uniform(0.5, 2.0, (n, 1)).astype(np.float32)
    return spread * rng.standard_normal((n, width), np.float32)


def run(features: np.ndarray, density: str) -> None:
    """The curriculum of one class with these rows."""
    curriculum(features, np.zeros(len(features), np.int64), 1, density=density, pca=0)


def run_apart(rows: int, width: int) -> tuple[float, float]:
    """Seconds of one class, and the peak memory of this process in MB."""
    return timed(run, make_features(rows, width), "count")(), memory("VmHWM")
