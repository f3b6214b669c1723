"""The speed of the table: lists and metadata to base.arrow, opening, reading, writing, multiplying, sampling, report.

Lists and metadata of WebVision's shape (long tail, two engines, 2.5 queries per class) are made in a temporary folder.
The limits are the disk itself, the same files read and the same bytes written; or the most that is wanted of 16 million
rows, whatever number is measured. Each step runs in a process of its own, as its memory counts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tools.speed.figures import Figure
from tools.speed.timing import in_process, memory, timed
from urnet.config.duration import Duration
from urnet.config.recipe import Data
from urnet.config.stage import Stage
from urnet.core.cli import number
from urnet.data.lists.build_table import build_table
from urnet.data.table.table import Table

MOST = "wanted: at most, for 16 million rows"
QUERIES_PER_CLASS = 2.5
RANK, PROCESSES, ROWS_EACH = (3, 64, 32)  # the process whose part of an epoch is measured, of how many; rows per batch
SMALLEST, LARGEST = 98, 53_647  # images per class in WebVision 2.0
WRONG, CANDIDATES = 0.3, 10  # share of rows suggested to be of another class; classes kept a row
TITLE = "A page about things, seen in the city on the way to the old market"
DESCRIPTION = "Photograph number {}, taken with a small camera; more of them on the following pages of this site."
TAGS = "nikon square city market travel"
SAMPLING = Stage("bench", Duration(1, "epochs"), sampling_weight=("cluster_weight", "instance_weight"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--rows``, ``--classes``, ``--folder``."""
    parser.add_argument("--rows", type=number(int, 1), default=1_000_000, help="rows of the table (1000000)")
    parser.add_argument("--classes", type=number(int, 1), default=5000, help="classes (5000)")
    parser.add_argument("--folder", help="folder for temporary files (default: the system's)")


def measure(args: argparse.Namespace) -> list[Figure]:
    """All figures of the table, each compared with its limit."""
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        return measure_in(Path(name), args.rows, args.classes)


def measure_in(root: Path, rows: int, n_classes: int) -> list[Figure]:
    """All figures of about ``rows`` rows, the table in ROOT/table; each step in a process of its own."""
    make_lists(root, rows, n_classes)
    return [
        *in_process(building, root, n_classes),
        *in_process(stage_columns, root / "table", n_classes),
        *in_process(opening, root / "table"),
        *in_process(sampling, root / "table"),
        *in_process(reporting, root),
    ]


def make_lists(root: Path, rows: int, n_classes: int) -> int:
    """Write info/ and the metadata of about ``rows`` rows; the exact number is returned."""
    sizes = np.geomspace(LARGEST, SMALLEST, n_classes)
    n_queries = round(QUERIES_PER_CLASS * n_classes)
    label = np.arange(n_queries) * n_classes // n_queries
    per_query = sizes[label] / np.bincount(label, minlength=n_classes)[label]
    per_query = np.maximum(np.round(per_query * rows / per_query.sum() / 2), 1).astype(int)  # and engine
    (root / "info").mkdir()
    lines = [f"{query + 1} {label[query]}\n" for query in range(n_queries)]
    (root / "info" / "queries_synsets_map.txt").write_text("".join(lines))
    for engine in ("google", "flickr"):
        (root / engine).mkdir()
        tags = {"tags": TAGS} if engine == "flickr" else {}
        files = (root / f"info/train_filelist_{engine}.txt", root / f"info/train_meta_list_{engine}.txt")
        with files[0].open("w") as listed, files[1].open("w") as where:
            for query, n in enumerate(per_query.tolist()):
                ids, file = [f"{query << 20 | i:x}{engine}" for i in range(n)], f"{engine}/q{query + 1:05d}.json"
                folder = f"{engine}_images_resized/q{query + 1:05d}"
                listed.writelines(f"{folder}/{name}.jpg {label[query]}\n" for name in ids)
                where.writelines(f"{file} {i + 1}\n" for i in range(n))
                texts = ({"title": TITLE, "description": DESCRIPTION.format(i)} for i in range(n))
                pages = [{"id": name, **text, **tags} for name, text in zip(ids, texts, strict=True)]
                (root / file).write_text(json.dumps(pages))
    return 2 * int(per_query.sum())


def building(root: Path, n_classes: int) -> list[Figure]:
    """From lists and metadata below ROOT to ROOT/table."""
    seconds = timed(build_table, Data(root=str(root), n_classes=n_classes), root / "table")()
    peak, n_rows = memory("VmHWM"), Table.open(root / "table").n_rows
    files = [path for name in ("info", "google", "flickr") for path in sorted((root / name).iterdir())]
    raw, name = timed(read_and_copy, files, root / "table/base.arrow")(), "lists and metadata to base.arrow"
    return [
        Figure(name, n_rows / seconds, "rows/s", n_rows / raw, "reading and writing the same bytes"),
        Figure(name, seconds, "s", 90, MOST),
        Figure("peak memory of that", peak, "MB", 3000, MOST),
    ]


def read_and_copy(files: Sequence[Path], result: Path) -> None:
    """Read the files, and write what they became once more."""
    for file in files:
        file.read_bytes()
    with result.open("rb") as source, result.with_name("copy").open("wb") as copy:
        shutil.copyfileobj(source, copy)
        copy.flush()
        os.fsync(copy.fileno())
    result.with_name("copy").unlink()


def stage_columns(folder: Path, n_classes: int) -> list[Figure]:
    """Class sizes, four columns written and read again, weights multiplied; the table has four stages' columns then."""
    from urnet.pipeline.row_weights import product
    from urnet.reweight.class_size import class_size

    table, rng = Table.open(folder), np.random.default_rng(0)
    labels, n = table.column("label"), table.n_rows
    one, other = (rng.gamma(2, 0.5, n).astype(np.float32) for _ in range(2))
    cluster, class_weight = rng.integers(0, 16, n).astype(np.int16), class_size(labels, n_classes)

    def write_all() -> None:
        write(table, "class", **class_weight)
        write(table, "cluster", cluster=cluster, cluster_weight=one)
        write(table, "instance_weight", instance_weight=other)

    def read_all() -> None:
        for name in ("class_weight", "cluster", "cluster_weight", "instance_weight"):
            table.column(name).sum()

    seconds = {
        "class sizes and their weights": timed(class_size, labels, n_classes)(),
        "writing 4 columns": timed(write_all)(),
        "reading them": timed(read_all)(),
        "multiplying sampling weights": timed(product, SAMPLING, "sampling_weight", table)(),
    }
    (folder / "instance_weight.arrow").unlink()
    write_evidence(Table.open(folder), n_classes)
    return [
        *(Figure(name, taken, "s") for name, taken in seconds.items()),
        Figure("these four together", sum(seconds.values()), "s", 10, MOST),
    ]


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


def opening(folder: Path) -> list[Figure]:
    """Open the table and look at its columns' types."""
    before, start = memory("RssAnon"), time.perf_counter()
    table = Table.open(folder)
    for name in ("class_weight", "cluster_weight"):
        _ = table.column(name).dtype
    seconds = time.perf_counter() - start
    return [
        Figure("opening the table with all columns", seconds, "s", 1, MOST),
        Figure("memory of its own that a process has from it", memory("RssAnon") - before, "MB", 100, MOST),
    ]


def sampling(folder: Path) -> list[Figure]:
    """The first batch of one rank's weighted, balanced epoch, from mapped columns; then one from its middle.

    The memory is what it has held above that of a process that opened the table, mapped files' pages apart.
    """
    from urnet.data.sampling.epoch_sampler import EpochSampler
    from urnet.pipeline.row_weights import product

    table, batch_size = Table.open(folder), PROCESSES * ROWS_EACH
    table.column("class_weight")  # Arrow loads what it needs for a first column
    opened = memory("RssAnon")
    labels, weight = table.column("label"), product(SAMPLING, "sampling_weight", table)

    def part(start: int) -> Iterator[np.ndarray]:
        sampler = EpochSampler(labels, sampling_weight=weight, balance=1.0, seed=0, stage="bench")
        return sampler.batches(1, batch_size, start, rank=RANK, world_size=PROCESSES)

    first = timed(lambda: next(part(0)))()
    peak = memory("VmHWM") - memory("RssFile") - opened
    middle = timed(lambda: next(part(table.n_rows // batch_size // 2)))()
    return [
        Figure("a rank's first weighted, balanced batch", first, "s", 5, MOST),
        Figure("the same from the middle of an epoch", middle, "s", 5, MOST),
        Figure("peak memory of that", peak, "MB", 300, MOST),
    ]


def reporting(root: Path) -> list[Figure]:
    """The page and the whole list of suspects of ROOT/table, as tools/report.py writes them."""
    from tools import report

    (root / "run").mkdir()
    listed = root / "suspects.csv"
    arguments = ["--run", root / "run", "--table", root / "table", "--out", root / "report.html", "--suspects", listed]
    with contextlib.redirect_stdout(sys.stderr):
        seconds = timed(report.main, [str(argument) for argument in arguments])()
    with listed.open("rb") as stream:
        suspects = sum(1 for _ in stream) - 1
    return [
        Figure(f"report and list of {suspects / 1e6:.2f} M suspects", seconds, "s", 60, MOST),
        Figure("peak memory of that", memory("VmHWM"), "MB", 2000, MOST),
    ]
