"""The speed of the table: lists and metadata to base.arrow, opening, reading, writing and multiplying.

Lists and metadata of WebVision's shape (long tail, two engines, 2.5 queries a class) are made in a temporary
folder. The limits are the disk and the memory themselves: the same files read, the same bytes written, and
no work on them; of what 16 million rows cost (tools/speed/table_scale.py), the most that is wanted. Steps
whose memory is told run in processes of their own.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tools.speed.figures import Figure
from tools.speed.table_scale import MOST, measure_scale, run_step
from urnet.core.checks import InputError
from urnet.core.progress import Progress
from urnet.data.table.table import Table

QUERIES_PER_CLASS = 2.5
TOP = 8  # numbers a row in the column that is written
SMALLEST, LARGEST = 98, 53_647  # images a class in WebVision 2.0
TITLE = "A page about things, seen in the city on the way to the old market"
DESCRIPTION = "Photograph number {}, taken with a small camera; more of them on the following pages of this site."
TAGS = "nikon square city market travel"


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
        root = Path(name)
        n_rows = make_lists(root, args.rows, args.classes)
        figures = _measure_reading(root, n_rows, args.classes)
        figures += _measure_table(root / "table", n_rows)
        return figures + measure_scale(root, args.classes)


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
                for query in range(n_queries):
                    n = int(per_query[query])
                    ids = [f"{query << 20 | i:x}{engine}" for i in range(n)]
                    folder = f"{engine}_images_resized/q{query + 1:05d}"
                    listed.write("".join([f"{folder}/{name}.jpg {label[query]}\n" for name in ids]))
                    where.write("".join([f"{engine}/q{query + 1:05d}.json {i + 1}\n" for i in range(n)]))
                    _write_metadata(root / engine / f"q{query + 1:05d}.json", ids, engine)
                    display.update()
    return 2 * int(per_query.sum())


def _write_metadata(path: Path, ids: list[str], engine: str) -> None:
    tags = f', "tags": "{TAGS}"' if engine == "flickr" else ""
    entries = [
        f'{{"id": "{name}", "title": "{TITLE}", "description": "{DESCRIPTION.format(i)}"{tags}}}'
        for i, name in enumerate(ids)
    ]
    path.write_text("[" + ", ".join(entries) + "]")


def _measure_reading(root: Path, n_rows: int, n_classes: int) -> list[Figure]:
    told = run_step("build", root, n_classes)
    files = [path for name in ("info", "google", "flickr") for path in sorted((root / name).iterdir())]
    raw = _seconds(lambda: [_read_raw(path) for path in files])
    raw += _write_raw(root / "raw", (root / "table" / "base.arrow").stat().st_size)
    name = "reading and writing the same bytes"
    return [
        Figure("lists and metadata to base.arrow", n_rows / told["seconds"], "rows/s", n_rows / raw, name),
        Figure("lists and metadata to base.arrow", told["seconds"], "s", 90, MOST),
        Figure("processor time of that", told["seconds_cpu"], "s"),
        Figure("peak memory of that", told["peak"], "MB", 3000, MOST),
    ]


def _measure_table(folder: Path, n_rows: int) -> list[Figure]:
    rng = np.random.default_rng(0)
    one, other = (rng.random(n_rows, np.float32) for _ in range(2))
    opening = _seconds(lambda: Table.open(folder))
    table = Table.open(folder)
    mib = one.nbytes / 2**20
    made_by = {"stage": "bench", "recipe_hash": "", "checkpoint": ""}
    table.write("weights", {"one": one, "other": other}, **made_by)
    top = np.repeat(one[:, None], TOP, axis=1)  # as a stage that keeps the best classes of each row
    write = _seconds(lambda: table.write("top", {"top": top}, **made_by))
    raw_write = _write_raw(folder.parent / "raw", top.nbytes)
    label, label_copy = _seconds(lambda: table.column("label")), _seconds(lambda: one.copy())
    product = _seconds(lambda: table.column("one") * table.column("other"))
    raw_product = _seconds(lambda: one * other)
    rows = rng.integers(n_rows, size=256)
    table.paths(rows)  # the pages are in memory afterwards
    paths = _seconds(lambda: table.paths(rows))
    million = n_rows / 1e6
    return [
        Figure("opening a table", 1e3 * opening, "ms"),
        Figure(
            f"writing a column of {TOP} numbers a row",
            TOP * mib / write,
            "MiB/s",
            TOP * mib / raw_write,
            "writing the same bytes",
        ),
        Figure("reading column label", mib / label, "MiB/s", mib / label_copy, "copying it in memory"),
        Figure(
            "multiplying two weight columns", million / product, "M rows/s", million / raw_product, "the same in memory"
        ),
        Figure("paths of 256 random rows", 1e3 * paths, "ms"),
    ]


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _read_raw(path: Path) -> None:
    with path.open("rb") as stream:
        while stream.read(1 << 24):
            pass


def _write_raw(path: Path, n_bytes: int) -> float:
    """Seconds to write and sync ``n_bytes``; the file is removed."""
    block = bytes(min(n_bytes, 1 << 24))
    start = time.perf_counter()
    with path.open("wb") as stream:
        for done in range(0, n_bytes, len(block)):
            stream.write(block[: n_bytes - done])
        stream.flush()
        os.fsync(stream.fileno())
    seconds = time.perf_counter() - start
    path.unlink()
    return seconds


def peak_mib() -> float:
    """The largest memory this process has held, in MiB.

    Linux hands ru_maxrss on from the process that started this one; VmHWM begins anew.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
