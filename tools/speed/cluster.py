"""The speed of the cluster reweighting, and how its time grows with the rows up to WebVision's.

A table of fewer rows is made of fewer classes, not of smaller ones: the sizes of classes keep WebVision's long tail,
as the number of clusters, and with it the work a row, depends on a class's size. One process, one thread, and its
processor time: other programs do not count.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np

from tools.speed.figures import Figure
from tools.speed.table import LARGEST, SMALLEST
from urnet.core.blocks import blocks
from urnet.core.checks import InputError
from urnet.core.cli import number
from urnet.reweight.cluster import cluster

ROWS, CLASSES = 16_000_000, 5000  # of WebVision 2.0
FEWEST = 10_000  # rows that are measured: of three classes
CLUSTERS, NOISE = 8, 1.5  # clusters of a class; spread of a cluster, where its middle is of spread 1
GROWTH = 1.1  # the largest exponent that is wanted: seconds ∝ rows^GROWTH


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--sizes``, ``--width``."""
    sizes = [100_000, 200_000, 400_000, 1_000_000]
    parser.add_argument(
        "--sizes", type=number(int, FEWEST), nargs="+", default=sizes, help="numbers of rows, two or more"
    )
    parser.add_argument("--width", type=number(int, 1), default=64, help="numbers per row (64)")


def measure(args: argparse.Namespace) -> list[Figure]:
    """Rows a second of each size, the exponent of growth, and the hours of 16 million rows by it."""
    sizes = sorted(set(args.sizes))
    if len(sizes) < 2:
        raise InputError(f"--sizes {args.sizes}: two or more sizes are accepted")
    cluster(*make_data(FEWEST, args.width))  # loads what is to be loaded
    seconds = []
    for size in sizes:
        data = make_data(size, args.width)
        start = time.process_time()
        cluster(*data)
        seconds.append(time.process_time() - start)
        print(f"{size:,} rows: {seconds[-1]:.1f} s", file=sys.stderr)
    return figures_of(sizes, seconds)


def figures_of(sizes: list[int], seconds: list[float]) -> list[Figure]:
    """The figures of so many rows in so many seconds; the exponent is the slope of their logarithms."""
    exponent = float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
    hours = seconds[-1] * (ROWS / sizes[-1]) ** exponent / 3600
    return [
        *(Figure(f"clusters of {n:,} rows", n / taken, "rows/s") for n, taken in zip(sizes, seconds, strict=True)),
        Figure("exponent x of seconds ∝ rows^x", exponent, "", GROWTH, "wanted: at most"),
        Figure(f"so {ROWS:,} rows take, in one process", hours, "hours"),
    ]


def make_data(n_rows: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """About ``n_rows`` rows of classes of WebVision's sizes, of ``CLUSTERS`` clusters each: float16 features, labels,
    given probabilities, and the number of classes."""
    n_classes = max(round(CLASSES * n_rows / ROWS), 1)
    sizes = np.geomspace(LARGEST, SMALLEST, n_classes)
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(n_classes), np.maximum(np.round(sizes * n_rows / sizes.sum()), 1).astype(int))
    labels = rng.permutation(labels.astype(np.int32))
    middles = rng.standard_normal((n_classes, CLUSTERS, width), np.float32)
    features = np.empty((len(labels), width), np.float16)
    for part in blocks(len(labels), 1 << 16):
        own = labels[part]
        spread = NOISE * rng.standard_normal((len(own), width), np.float32)
        features[part] = middles[own, rng.integers(0, CLUSTERS, len(own))] + spread
    return features, labels, rng.random(len(labels), np.float32), n_classes
