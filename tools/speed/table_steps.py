"""The steps of bench.py table whose memory counts, each in a process of its own.

    python -m tools.speed.table_steps STEP ARGUMENTS

prints what it took as one JSON object: seconds, and memory in MB (10^6 bytes) as Linux counts it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tools.speed.table import peak_mib
from urnet.config.recipe import Data
from urnet.config.stage import Stage
from urnet.data.lists.build_table import build_table
from urnet.data.table.table import Table

MB = 1e6
RANK, WORLD, A_RANK = 3, 64, 32  # the process measured, of how many, rows of a batch each
WRONG, CANDIDATES = 0.3, 10  # share of rows suggested to be of another class; classes kept a row
COLUMNS = ("cluster_weight", "instance_weight")  # multiplied into the sampling weight

Told = dict[str, float]


def build(root: str, n_classes: str) -> Told:
    """Lists and metadata below ROOT become ROOT/table."""
    told: Told = {}
    with _timed(told, "seconds"):
        build_table(Data(root=root, n_classes=int(n_classes)), Path(root) / "table")
    return {**told, "peak": peak()}


def columns(folder: str, n_classes: str) -> Told:
    """Class sizes, weights written, read again and multiplied; timed. Then the report's other columns."""
    from urnet.pipeline.row_weights import product
    from urnet.reweight.class_size import class_size

    table, rng, c = Table.open(folder), np.random.default_rng(0), int(n_classes)
    labels, n = table.column("label"), table.n_rows
    weights = {name: rng.gamma(2, 0.5, n).astype(np.float32) for name in COLUMNS}
    told, cluster = {}, rng.integers(0, 16, n).astype(np.int16)
    with _timed(told, "class_sizes"):
        sized = class_size(labels, c)
    with _timed(told, "write"):
        _write(table, "class", **sized)
        _write(table, "cluster", cluster=cluster, cluster_weight=weights["cluster_weight"])
        _write(table, "instance_weight", instance_weight=weights["instance_weight"])
    del sized, cluster, weights
    with _timed(told, "read"):
        sum(float(table.column(name).sum()) for name in ("class_weight", "cluster", *COLUMNS))
    with _timed(told, "product"):
        product(_stage(), "sampling_weight", table)
    (Path(folder) / "instance_weight.arrow").unlink()
    _write_evidence(Table.open(folder), labels, rng, c)
    return told


def _write_evidence(table: Table, labels: np.ndarray, rng: np.random.Generator, n_classes: int) -> None:
    """The columns of an instance and of a label stage, as the report reads them."""
    n = len(labels)
    suggested = np.where(rng.random(n, np.float32) < WRONG, rng.integers(0, n_classes, n, np.int32), labels)
    prob, confidence, relevance, weight = (rng.random(n, np.float32) for _ in range(4))
    _write(
        table,
        "instance",
        relevance=relevance,
        instance_weight=weight,
        confidence=confidence,
        suggested=suggested,
        suggested_prob=prob,
    )
    index, share = np.empty((n, CANDIDATES), np.int32), np.empty((n, CANDIDATES), np.float16)
    for k in range(CANDIDATES):
        index[:, k] = (suggested + k) % n_classes
        share[:, k] = prob / 2**k
    _write(table, "label", topk_index=index, topk_prob=share, keep=confidence, label_weight=weight)


def _write(table: Table, file: str, **values: np.ndarray) -> None:
    table.write(file, values, stage="bench", recipe_hash="", checkpoint="")


def _stage() -> Stage:
    from urnet.config.duration import Duration

    return Stage(name="bench", duration=Duration(1, "epochs"), sampling_weight=COLUMNS)


def opening(folder: str) -> Told:
    """Open the table and look at its columns' types, then read one column; wait for a line on stdin.

    ``private``: what this process has for itself once the table is open. ``resident`` and ``shared_out``: the
    mapped files' pages in memory, and this process's part of them where each page is divided among those that
    map it (Rss and Pss of /proc/PID/smaps).
    """
    before, told = _memory("self", "Private_Clean", "Private_Dirty"), {}
    with _timed(told, "seconds"):
        table = Table.open(folder)
        types = {name: table.column(name).dtype for name in ("class_weight", "cluster_weight")}
    told["private"] = _memory("self", "Private_Clean", "Private_Dirty") - before
    for name in types:
        table.column(name).sum()
    print("ready", flush=True)
    sys.stdin.readline()
    told["resident"], told["shared_out"] = mapped(folder, "Rss"), mapped(folder, "Pss")
    return told


def order(folder: str, bag: str) -> Told:
    """The first batch of one rank's weighted, balanced epoch, from mapped columns; then from the middle.

    In bags of BAG rows; 0: rows. ``peak`` and ``kept`` are above what a process has that opened the table,
    and without the mapped files' pages: labels, weights and order.
    """
    from urnet.data.sampling.bag_sampler import BagSampler
    from urnet.data.sampling.epoch_sampler import EpochSampler
    from urnet.pipeline.row_weights import product

    told: Told = {}
    table, size = Table.open(folder), WORLD * A_RANK
    table.column("class_weight")  # Arrow loads what it needs for a first column
    opened = _memory("self", "Rss") - mapped(folder, "Rss")
    with _timed(told, "columns"):
        labels, weight = table.column("label"), product(_stage(), "sampling_weight", table)

    def part(start: int) -> Iterator[np.ndarray]:
        settings: dict[str, Any] = {"sampling_weight": weight, "balance": 1.0, "seed": 0, "stage": "bench"}
        made = BagSampler(labels, size=int(bag), **settings) if int(bag) else EpochSampler(labels, **settings)
        return made.batches(1, size, start, rank=RANK, world_size=WORLD)

    with _timed(told, "first"):
        batches = part(0)
        first = next(batches)
    told["peak"] = peak() - mapped(folder, "Rss") - opened
    told["kept"] = _memory("self", "Rss") - mapped(folder, "Rss") - opened
    whole = [first, *batches]
    middle = len(whole) // 2
    with _timed(told, "middle"):
        batches = part(middle)
        first = next(batches)
    rest = [first, *batches]
    if len(rest) != len(whole) - middle or any((a != b).any() for a, b in zip(rest, whole[middle:], strict=True)):
        raise AssertionError(f"batches from number {middle} on differ from those of a whole epoch")
    return told


def report(run: str, table: str, folder: str) -> Told:
    """The page and the whole list of suspects, as tools/report.py writes them into FOLDER."""
    from tools import report as tool

    told: Told = {}
    arguments = ["--run", run, "--table", table, "--out", f"{folder}/report.html"]
    with contextlib.redirect_stdout(sys.stderr), _timed(told, "seconds"):
        tool.main([*arguments, "--suspects", f"{folder}/suspects.csv"])
    with Path(folder, "suspects.csv").open("rb") as stream:
        told["suspects"] = sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b"")) - 1
    return {**told, "peak": peak()}


@contextlib.contextmanager
def _timed(told: Told, name: str) -> Iterator[None]:
    """Tells the seconds as NAME and the processor's, which other programs change little, as NAME_cpu."""
    start, start_cpu = time.perf_counter(), time.process_time()
    yield
    told[name], told[f"{name}_cpu"] = time.perf_counter() - start, time.process_time() - start_cpu


def peak() -> float:
    """The largest memory this process has held, MB; pages of mapped files count."""
    return peak_mib() * 2**20 / MB


def _memory(process: int | str, *keys: str) -> float:
    """The sum of these lines of smaps_rollup, MB."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.split(":")[0] in keys) * 1024 / MB


def mapped(folder: str, key: str) -> float:
    """``key`` (Rss, Pss) of the files below ``folder`` that this process has mapped, MB."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        word = line.split(maxsplit=1)[0]
        if not word.endswith(":"):  # a mapping's first line ends with its file
            inside = f"{os.path.realpath(folder)}/" in line
        elif inside and word == f"{key}:":
            total += int(line.split()[1])
    return total * 1024 / MB


STEPS: dict[str, Callable[..., Told]] = {
    "build": build,
    "columns": columns,
    "opening": opening,
    "order": order,
    "report": report,
}

if __name__ == "__main__":
    print(json.dumps(STEPS[sys.argv[1]](*sys.argv[2:])))
