"""The bytes of a run's files: formulas that tests compare with the files of a run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tools.planning.counts import Counts, description
from tools.planning.keeping import measured_width, record_bytes
from tools.planning.network import NetworkSize
from urnet.config.recipe import Recipe
from urnet.config.stage import Stage
from urnet.data.table.table import Table
from urnet.features.shards import Description
from urnet.pipeline.registry import column_files

# Mean bytes of a row's path and text: for WebVision as tools/speed/table.py makes its lists and metadata
# (47.0 and 181.1 at a million rows), for the others paths of a usual length and no text.
WEB, PLAIN = (47, 181), (40, 0)
TEXTS = {"webvision2": WEB, "webvision1": WEB, "imagenet": PLAIN, "list": PLAIN, "folder": PLAIN}
BASE_ROW = 21  # bytes a row of base.arrow: label, source, query, rank, and the offsets of path and text
DECIDED_ROW = 5  # more where people decided: what, and the label before
HEADER = 128  # bytes of a .npy file's header
STAYS = "stays in all"
Sizes = dict[str, int]  # title of a column of the text -> bytes


@dataclass(frozen=True)
class Artefact:
    """A file of a run, or one array of it: where it is, what it holds, its bytes, and how many of it there are."""

    kind: Literal["base", "column", "measurement", "checkpoint", "result", "kept"]
    path: str
    what: str
    bytes: int
    note: str = ""


def base_of(args: argparse.Namespace, recipe: Recipe, rows: int, table: Table | None) -> Artefact:
    """base.arrow: as it is on the disk, else by the formula."""
    given = (args.path_bytes, args.text_bytes)
    if table is not None and (args.rows, *given) == (None, None, None):
        return Artefact("base", "table/base.arrow", "as it is", (table.folder / "base.arrow").stat().st_size)
    path, text = (b if a is None else a for a, b in zip(given, TEXTS[recipe.data.format], strict=True))
    own = BASE_ROW + (DECIDED_ROW if recipe.data.decisions is not None else 0)
    what = f"{own} + path {path:g} + text {text:g} B per row"
    return Artefact("base", "table/base.arrow", what, round(rows * (own + path + text)))


def files_of(recipe: Recipe, stage: Stage, counts: Counts, rows: int, network: NetworkSize) -> list[Artefact]:
    """What one stage writes under OUTPUT/NAME: columns of the table, its measurement, checkpoints, best and final."""
    found, n_classes = [], recipe.data.n_classes
    for file, columns in column_files(stage).items():
        for name, column in columns.items():
            k = 1 if column.width is None else min(column.width(stage), n_classes)
            what = f"{name} {column.kind}" + (f" x {k}" if k > 1 else "")
            found.append(Artefact("column", f"table/{file}.arrow", what, rows * k * np.dtype(column.kind).itemsize))
    for output, n in counts.kept_images.items():
        size = record_bytes(recipe, output, network.feature_width)
        found.append(Artefact("kept", f"kept.features/{output}-*", f"{output} of {n:,} images", n * size, "stays"))
    found += measurement_of(
        stage, description(recipe, stage, rows, measured_width(recipe, stage, network.feature_width))
    )
    n = 2 if stage.pair else 1  # networks
    parts = [
        ("model", "weights and statistics", 4 * network.weights),
        ("optimizer", stage.optimizer.name, n * network.optimizer_bytes(stage.optimizer)),
    ]
    second = [("second", "the other network's", 4 * network.weights)] if stage.pair else []
    parts += second
    if stage.ema is not None:
        parts.append(("ema", "moving average", n * 4 * network.parameters))
    if stage.bags is not None:
        parts.append(("bags", "attention of the rows", 4 * rows))
    if stage.elr is not None:
        k = min(stage.elr.top_k, n_classes)
        parts.append(("early", f"memory of the rows, {k} classes", 6 * k * rows))
    if stage.sop is not None:
        k = min(stage.sop.top_k, n_classes)
        parts.append(("noise", f"variables of the rows, {k} classes", (4 + 8 * k) * rows))
    if stage.dividemix is not None:
        parts.append(("division", "whether labels are right", 8 * rows))
    note, place = f"x {counts.checkpoints_kept} kept of {counts.checkpoints_written:,}", f"{stage.name}/step-*"
    found += [Artefact("checkpoint", f"{place}/{name}.safetensors", what, n, note) for name, what, n in parts]
    results = [("model", "weights and statistics", 4 * network.weights), *second]
    if recipe.model.in_classes:
        results.append(("in_classes", "where the classes are", 4 * (n_classes * n * network.feature_width + 2)))
    best = f"{stage.name}/best, final"
    return found + [Artefact("result", f"{best}/{name}.safetensors", what, n, "x 2") for name, what, n in results]


def measurement_of(stage: Stage, about: Description | None) -> list[Artefact]:
    """The arrays of a stage's measurement, all shards together, a header a file."""
    if about is None:
        return []
    note, found = "stays" if stage.measure.keep else "until the columns are written", []
    for name, (kind, shape) in about.arrays(about.n_rows).items():
        what = " x ".join([np.dtype(kind).name, *map(str, shape[1:])])
        n_bytes = int(np.prod(shape)) * np.dtype(kind).itemsize + HEADER * about.n_shards
        found.append(Artefact("measurement", f"measure/{stage.name}/shard-*/{name}.npy", what, n_bytes, note))
    return found


def disk_of(stage: Stage, counts: Counts, files: Sequence[Artefact], there: int) -> Sizes:
    """Bytes on the disk of a stage that begins with ``there``: its own files, then those of the whole run.

    It is fullest with measurement and columns, or with its checkpoints while one more, or best/, is written.
    """
    kinds = ("column", "measurement", "checkpoint", "result", "kept")
    columns, measurement, checkpoint, result, kept = (sum(f.bytes for f in files if f.kind == kind) for kind in kinds)
    trained = counts.checkpoints_kept * checkpoint + 2 * result
    there += kept
    stays = there + columns + trained + (measurement if stage.measure.keep else 0)
    one_more = checkpoint if counts.checkpoints_written > counts.checkpoints_kept else result
    return {
        "columns": columns,
        "measurement": measurement,
        "checkpoints, best, final": trained,
        "peak of all files": max(there + columns + measurement, stays + one_more),
        STAYS: stays,
    }
