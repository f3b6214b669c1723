"""What is measured of a table in a process of its own, as its memory counts: each function returns what it found.

Seconds (as ``stopwatch`` notes them), and memory in MB as Linux counts it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Barrier

import numpy as np

from tools.speed.memory import held, mapped, peak
from tools.speed.timing import stopwatch
from urnet.config.duration import Duration
from urnet.config.recipe import Data
from urnet.config.stage import Stage
from urnet.data.lists.build_table import build_table
from urnet.data.table.table import Table

WRONG, CANDIDATES = 0.3, 10  # share of rows suggested to be of another class; classes kept a row
WEIGHTS = ("cluster_weight", "instance_weight")  # multiplied into the sampling weight

Found = dict[str, float]


def build(root: Path, n_classes: int) -> Found:
    """Lists and metadata below ROOT become ROOT/table."""
    found: Found = {}
    with stopwatch(found, "seconds"):
        build_table(Data(root=str(root), n_classes=n_classes), root / "table")
    return {**found, "peak": peak()}


def columns(folder: Path, n_classes: int) -> Found:
    """Class sizes, weights written, read again and multiplied; timed. Then the report's other columns."""
    from urnet.pipeline.row_weights import product
    from urnet.reweight.class_size import class_size

    table, rng = Table.open(folder), np.random.default_rng(0)
    labels, n = table.column("label"), table.n_rows
    weights = {name: rng.gamma(2, 0.5, n).astype(np.float32) for name in WEIGHTS}
    cluster = rng.integers(0, 16, n).astype(np.int16)
    found: Found = {}
    with stopwatch(found, "class_sizes"):
        class_weight = class_size(labels, n_classes)
    with stopwatch(found, "write"):
        write(table, "class", **class_weight)
        write(table, "cluster", cluster=cluster, cluster_weight=weights["cluster_weight"])
        write(table, "instance_weight", instance_weight=weights["instance_weight"])
    del class_weight, cluster, weights
    with stopwatch(found, "read"):
        for name in ("class_weight", "cluster", *WEIGHTS):
            table.column(name).sum()
    with stopwatch(found, "product"):
        product(sampling_stage(), "sampling_weight", table)
    (folder / "instance_weight.arrow").unlink()
    write_evidence(Table.open(folder), n_classes)
    return found


def write_evidence(table: Table, n_classes: int) -> None:
    """The columns of an instance and of a label stage, as the report reads them."""
    labels, n, rng = table.column("label"), table.n_rows, np.random.default_rng(1)
    suggested = np.where(rng.random(n, np.float32) < WRONG, rng.integers(0, n_classes, n, np.int32), labels)
    prob, confidence, relevance, weight = (rng.random(n, np.float32) for _ in range(4))
    rows = {"relevance": relevance, "instance_weight": weight, "confidence": confidence}
    write(table, "instance", **rows, suggested=suggested, suggested_prob=prob)
    index, share = np.empty((n, CANDIDATES), np.int32), np.empty((n, CANDIDATES), np.float16)
    for k in range(CANDIDATES):
        index[:, k] = (suggested + k) % n_classes
        share[:, k] = prob / 2**k
    write(table, "label", topk_index=index, topk_prob=share, keep=confidence, label_weight=weight)


def write(table: Table, file: str, **values: np.ndarray) -> None:
    """A file of columns, made by nothing."""
    table.write(file, values, stage="bench", recipe_hash="", checkpoint="")


def sampling_stage() -> Stage:
    """A stage that samples by ``WEIGHTS``."""
    return Stage(name="bench", duration=Duration(1, "epochs"), sampling_weight=WEIGHTS)


def opening(folder: Path, together: Barrier) -> Found:
    """Open the table and look at its columns' types, then read them; ``together`` waits for the other processes.

    ``private``: what this process has for itself once the table is open. ``resident`` and ``shared_out``: the mapped
    files' pages in memory, and this process's part of them where each page is divided among those that map it (Rss
    and Pss of /proc/PID/smaps).
    """
    found: Found = {}
    private, names = ("Private_Clean", "Private_Dirty"), ("class_weight", "cluster_weight")
    before = held(*private)
    with stopwatch(found, "seconds"):
        table = Table.open(folder)
        for name in names:
            _ = table.column(name).dtype
    found["private"] = held(*private) - before
    for name in names:
        table.column(name).sum()
    together.wait()
    found["resident"], found["shared_out"] = mapped(folder, "Rss"), mapped(folder, "Pss")
    together.wait()
    return found


def sampling(folder: Path, bag: int, rank: int, n_processes: int, batch_size: int) -> Found:
    """The first batch of one rank's weighted, balanced epoch, from mapped columns; then one from its middle.

    In bags of ``bag`` rows; 0: rows. ``batch_size``: of all processes. ``peak`` and ``kept`` are above what a process
    has that opened the table, and without the mapped files' pages: labels, weights and the rows' order.
    """
    from urnet.data.sampling.bag_sampler import BagSampler
    from urnet.data.sampling.epoch_sampler import EpochSampler
    from urnet.pipeline.row_weights import product

    found: Found = {}
    table = Table.open(folder)
    table.column("class_weight")  # Arrow loads what it needs for a first column
    opened = held("Rss") - mapped(folder, "Rss")
    with stopwatch(found, "columns"):
        labels, weight = table.column("label"), product(sampling_stage(), "sampling_weight", table)

    def sampler() -> BagSampler | EpochSampler:
        if bag:
            return BagSampler(labels, size=bag, sampling_weight=weight, balance=1.0, seed=0, stage="bench")
        return EpochSampler(labels, sampling_weight=weight, balance=1.0, seed=0, stage="bench")

    def part(start: int) -> Iterator[np.ndarray]:
        return sampler().batches(1, batch_size, start, rank=rank, world_size=n_processes)

    with stopwatch(found, "first"):
        batches = part(0)
        next(batches)
    found["peak"] = peak() - mapped(folder, "Rss") - opened
    found["kept"] = held("Rss") - mapped(folder, "Rss") - opened
    middle = sampler().steps_per_epoch(batch_size) // 2
    del batches
    with stopwatch(found, "middle"):
        next(part(middle))
    return found


def report(run: Path, table: Path, folder: Path) -> Found:
    """The page and the whole list of suspects, as tools/report.py writes them into FOLDER."""
    from tools import report as tool

    found: Found = {}
    page, listed = folder / "report.html", folder / "suspects.csv"
    arguments = ["--run", run, "--table", table, "--out", page, "--suspects", listed]
    with contextlib.redirect_stdout(sys.stderr), stopwatch(found, "seconds"):
        tool.main([str(argument) for argument in arguments])
    with listed.open("rb") as stream:
        found["suspects"] = sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b"")) - 1
    return {**found, "peak": peak()}
