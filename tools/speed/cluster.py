"""The speed of the cluster reweighting, and how its time grows with the rows up to WebVision's.

A table of fewer rows is made of fewer classes, not of smaller ones: the sizes of classes keep WebVision's long tail,
as the number of clusters, and with it the work a row, depends on a class's size. One process, one thread, and its
processor time: other programs do not count.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np

from tools.speed.figures import Figure
from tools.speed.table import LARGEST, SMALLEST
from urnet.core.blocks import blocks
from urnet.core.checks import InputError

ROWS, CLASSES = 16_000_000, 5000  # of WebVision 2.0
FEWEST = 10_000  # rows that are measured: of three classes
CLUSTERS, NOISE = 8, 1.5  # clusters of a class; spread of a cluster, where its middle is of spread 1
GROWTH = 1.1  # the largest exponent that is wanted: seconds ∝ rows^GROWTH

Data = tuple[np.ndarray, np.ndarray, np.ndarray, int]  # features, labels, given_prob, number of classes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--sizes``, ``--width``."""
    sizes = [100_000, 200_000, 400_000, 1_000_000]
    parser.add_argument("--sizes", type=int, nargs="+", default=sizes, help="rows, two or more sizes")
    parser.add_argument("--width", type=int, default=64, help="numbers a row (64)")


def seconds_of(data: Data) -> float:
    """Processor seconds of ``cluster``."""
    from urnet.reweight.cluster import cluster

    start = time.process_time()
    cluster(*data)
    return time.process_time() - start


def measure(args: argparse.Namespace, seconds_of: Callable[[Data], float] = seconds_of) -> list[Figure]:
    """Rows a second of each size, the exponent of growth, and the hours of 16 million rows by it."""
    sizes = sorted(set(args.sizes))
    if sizes[0] < FEWEST or len(sizes) < 2 or args.width < 1:
        raise InputError(
            f"--sizes {args.sizes}, --width {args.width}: two sizes of {FEWEST} or more, and 1 or more, are accepted"
        )
    seconds_of(make_data(FEWEST, args.width))  # loads what is to be loaded
    seconds = []
    for size in sizes:
        seconds.append(seconds_of(make_data(size, args.width)))
        print(f"{size:,} rows: {seconds[-1]:.1f} s", file=sys.stderr)
    exponent = growth(sizes, seconds)
    hours = seconds[-1] * (ROWS / sizes[-1]) ** exponent / 3600
    return [
        *(Figure(f"clusters of {n:,} rows", n / taken, "rows/s") for n, taken in zip(sizes, seconds, strict=True)),
        Figure("exponent x of seconds ∝ rows^x", exponent, "", GROWTH, "wanted: at most"),
        Figure(f"so {ROWS:,} rows take, in one process", hours, "hours"),
    ]


def growth(sizes: list[int], seconds: list[float]) -> float:
    """The slope of log seconds over log rows, by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def make_data(n_rows: int, width: int) -> Data:
    """About ``n_rows`` rows of float16 features: classes of WebVision's sizes, of ``CLUSTERS`` clusters each."""
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
