"""The speed of the table: lists and metadata to base.arrow, opening, reading, writing, multiplying, sampling, report.

Lists and metadata of WebVision's shape (long tail, two engines, 2.5 queries a class) are made in a temporary folder.
The limits are the disk and the memory themselves: the same files read, the same bytes written, and no work on them;
or the most that is wanted of 16 million rows, whatever number is measured. What memory is measured of runs in
processes of their own (tools/speed/table_steps.py).
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from tools.speed import table_steps
from tools.speed.figures import Figure
from tools.speed.table_steps import Found
from tools.speed.timing import in_process, in_processes, timed
from urnet.core.checks import InputError
from urnet.core.progress import Progress
from urnet.data.table.table import Table

MOST = "wanted: at most, for 16 million rows"
QUERIES_PER_CLASS = 2.5
TOP = 8  # numbers a row in the column that is written
BAG = 4  # rows of a bag
RANK, PROCESSES, ROWS_EACH = 3, 64, 32  # the process whose part of an epoch is measured, of how many; its rows a batch
SMALLEST, LARGEST = 98, 53_647  # images a class in WebVision 2.0
TITLE = "A page about things, seen in the city on the way to the old market"
DESCRIPTION = "Photograph number {}, taken with a small camera; more of them on the following pages of this site."
TAGS = "nikon square city market travel"
COLUMNS = {
    "class_sizes": "class sizes and their weights",
    "write": "writing 4 columns",
    "read": "reading them",
    "product": "multiplying sampling weights",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--rows``, ``--classes``, ``--folder``."""
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the table (1000000)")
    parser.add_argument("--classes", type=int, default=5000, help="classes (5000)")
    parser.add_argument("--folder", help="where the temporary files go; default the system's place for them")


def measure(args: argparse.Namespace) -> list[Figure]:
    """All figures of the table, each beside its limit."""
    if min(args.rows, args.classes) < 1:
        raise InputError(f"--rows {args.rows}, --classes {args.classes}: 1 or more each is accepted")
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        return measure_in(Path(name), args.rows, args.classes)


def measure_in(root: Path, rows: int, n_classes: int) -> list[Figure]:
    """All figures of about ``rows`` rows, the table in ROOT/table."""
    n_rows, table = make_lists(root, rows, n_classes), root / "table"
    return [
        *building(root, n_rows, n_classes),
        *single_operations(table, n_rows),
        *stage_columns(table, n_classes),
        *opening(table),
        *sampling(table),
        *reporting(root),
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
    with Progress("making lists", 2 * n_queries, "queries") as display:
        for engine in ("google", "flickr"):
            (root / engine).mkdir()
            files = (root / f"info/train_filelist_{engine}.txt", root / f"info/train_meta_list_{engine}.txt")
            with files[0].open("w") as listed, files[1].open("w") as where:
                for query, n in enumerate(per_query.tolist()):
                    ids = [f"{query << 20 | i:x}{engine}" for i in range(n)]
                    folder = f"{engine}_images_resized/q{query + 1:05d}"
                    listed.write("".join([f"{folder}/{name}.jpg {label[query]}\n" for name in ids]))
                    where.write("".join([f"{engine}/q{query + 1:05d}.json {i + 1}\n" for i in range(n)]))
                    write_metadata(root / engine / f"q{query + 1:05d}.json", ids, engine)
                    display.update()
    return 2 * int(per_query.sum())


def write_metadata(path: Path, ids: Sequence[str], engine: str) -> None:
    """One query's JSON list."""
    tags = f', "tags": "{TAGS}"' if engine == "flickr" else ""
    entries = [
        f'{{"id": "{name}", "title": "{TITLE}", "description": "{DESCRIPTION.format(i)}"{tags}}}'
        for i, name in enumerate(ids)
    ]
    path.write_text("[" + ", ".join(entries) + "]")


def building(root: Path, n_rows: int, n_classes: int) -> list[Figure]:
    """From lists and metadata to base.arrow, beside reading and writing the same bytes."""
    found = in_process(table_steps.build, root, n_classes)
    files = [path for name in ("info", "google", "flickr") for path in sorted((root / name).iterdir())]
    raw = timed(read_raw, files)() + timed(write_raw, root / "raw", (root / "table/base.arrow").stat().st_size)()
    name, limit_name = "lists and metadata to base.arrow", "reading and writing the same bytes"
    return [
        Figure(name, n_rows / found["seconds"], "rows/s", n_rows / raw, limit_name),
        Figure(name, found["seconds"], "s", 90, MOST),
        *cost(found, "seconds", 3000),
    ]


def single_operations(folder: Path, n_rows: int) -> list[Figure]:
    """One operation each on mapped columns, beside the same on arrays in memory or on a plain file."""
    rng = np.random.default_rng(0)
    one, other = (rng.random(n_rows, np.float32) for _ in range(2))
    top = np.repeat(one[:, None], TOP, axis=1)  # as a stage that keeps the best classes of each row
    opened = timed(Table.open, folder)()
    table = Table.open(folder)
    table_steps.write(table, "weights", one=one, other=other)
    written = timed(lambda: table_steps.write(table, "top", top=top))()
    raw = timed(write_raw, folder.parent / "raw", top.nbytes)()
    read, copied = timed(table.column, "label")(), timed(one.copy)()
    product = timed(lambda: table.column("one") * table.column("other"))()
    in_memory = timed(lambda: one * other)()
    rows = rng.integers(n_rows, size=256)
    table.paths(rows)  # the pages are in memory afterwards
    paths, mib, million = timed(table.paths, rows)(), one.nbytes / 2**20, n_rows / 1e6
    name = f"writing a column of {TOP} numbers a row"
    return [
        Figure("opening a table", 1e3 * opened, "ms"),
        Figure(name, TOP * mib / written, "MiB/s", TOP * mib / raw, "writing the same bytes"),
        Figure("reading column label", mib / read, "MiB/s", mib / copied, "copying it in memory"),
        Figure(
            "multiplying two weight columns", million / product, "M rows/s", million / in_memory, "the same in memory"
        ),
        Figure("paths of 256 random rows", 1e3 * paths, "ms"),
    ]


def stage_columns(table: Path, n_classes: int) -> list[Figure]:
    """The columns of four stages, which the table has afterwards."""
    found = in_process(table_steps.columns, table, n_classes)
    together = sum(found[name] for name in COLUMNS)
    figures = [Figure(words, found[name], "s") for name, words in COLUMNS.items()]
    return [*figures, Figure("these four together", together, "s", 10, MOST)]


def opening(table: Path) -> list[Figure]:
    """Two processes open the table and read the same columns; both are there when memory is counted."""
    with get_context("spawn").Manager() as manager:
        found, _ = in_processes(2, table_steps.opening, table, manager.Barrier(2))
    half, limit_name = found["resident"] / 2, "half of the pages that are in memory"
    return [
        Figure("opening the table with all columns", found["seconds"], "s", 1, MOST),
        *cost(found, "seconds"),
        Figure("memory of its own that a process has from it", found["private"], "MB", 100, MOST),
        Figure("a process's part of the mapped files, two processes", found["shared_out"], "MB", half, limit_name),
    ]


def sampling(table: Path) -> list[Figure]:
    """A rank's part of a weighted, balanced epoch, in rows and in bags."""
    part = (RANK, PROCESSES, PROCESSES * ROWS_EACH)
    rows, bags = (in_process(table_steps.sampling, table, bag, *part) for bag in (0, BAG))
    return [
        Figure("a rank's labels and weights read", rows["columns"], "s"),
        Figure("a rank's first weighted, balanced batch", rows["first"], "s", 5, MOST),
        *cost(rows, "first"),
        Figure("the same from the middle of an epoch", rows["middle"], "s", 5, MOST),
        Figure("peak memory of that", rows["peak"], "MB", 300, MOST),
        Figure("memory while batches are drawn", rows["kept"], "MB", 300, MOST),
        Figure(f"a rank's first batch of bags of {BAG}", bags["first"], "s"),
        *cost(bags, "first", 300),
    ]


def reporting(root: Path) -> list[Figure]:
    """The report and the list of suspects of ROOT/table."""
    (root / "run").mkdir()
    found = in_process(table_steps.report, root / "run", root / "table", root)
    name = f"report and list of {found['suspects'] / 1e6:.2f} M suspects"
    return [Figure(name, found["seconds"], "s", 60, MOST), *cost(found, "seconds", 2000)]


def cost(found: Found, name: str, most_memory: float | None = None) -> list[Figure]:
    """The processor's time of what took ``name`` seconds and, with the most that is wanted, its memory."""
    figures = [Figure("processor time of that", found[f"{name}_cpu"], "s")]
    if most_memory is not None:
        figures.append(Figure("peak memory of that", found["peak"], "MB", most_memory, MOST))
    return figures


def read_raw(files: Sequence[Path]) -> None:
    """Read all of the files and do nothing with them."""
    for file in files:
        with file.open("rb") as stream:
            while stream.read(1 << 24):
                pass


def write_raw(path: Path, n_bytes: int) -> None:
    """Write and sync ``n_bytes`` zeros, and remove the file."""
    block = bytes(min(n_bytes, 1 << 24))
    with path.open("wb") as stream:
        for done in range(0, n_bytes, len(block)):
            stream.write(block[: n_bytes - done])
        stream.flush()
        os.fsync(stream.fileno())
    path.unlink()
