"""The bytes of every file that a run writes, by formula; tests compare them with the files of a run.

Formulas leave out what does not grow with rows or parameters: headers, state.json, recipe.yaml, classes.txt
(kilobytes each), log.txt and the curves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tools.plan_network import NetworkSize
from tools.plan_stages import StagePlan, description
from urnet.config.recipe import Recipe, active_stages
from urnet.config.stage import Stage
from urnet.data.table.writer import BASE_SCHEMA
from urnet.features.shards import Description
from urnet.pipeline.registry import column_files

HEADER = 128  # of a .npy file


@dataclass(frozen=True)
class Artefact:
    """A file, or one array of it: where it is, what it holds, its bytes; ``stage`` writes it."""

    stage: str
    path: str
    what: str
    bytes: int


def base_row_bytes(path_bytes: float, text_bytes: float) -> float:
    """Bytes a row of base.arrow: its numbers, the offsets of its two texts, and the texts themselves."""
    import pyarrow as pa

    fixed = 0
    for kind in BASE_SCHEMA.types:
        kind = kind.index_type if pa.types.is_dictionary(kind) else kind
        fixed += 4 if pa.types.is_string(kind) else kind.bit_width // 8
    return fixed + path_bytes + text_bytes


def columns_of(recipe: Recipe, stage: Stage, rows: int) -> list[Artefact]:
    """The table's files that a stage writes, column by column: rows x bytes of a row's values."""
    found = []
    for file, columns in column_files(stage).items():
        for name, column in columns.items():
            k = 1 if column.width is None else min(column.width(stage), recipe.data.n_classes)
            what, size = f"{name} {column.kind}", rows * k * np.dtype(column.kind).itemsize
            found.append(Artefact(stage.name, f"table/{file}.arrow", what + (f" x {k}" if k > 1 else ""), size))
    return found


def measurement_of(stage: Stage, about: Description | None) -> list[Artefact]:
    """The arrays of a measurement, all shards together, a header a file."""
    if about is None:
        return []
    return [
        Artefact(
            stage.name,
            f"measure/{stage.name}/shard-*/{name}.npy",
            " x ".join([np.dtype(kind).name, *map(str, shape[1:])]),
            int(np.prod(shape)) * np.dtype(kind).itemsize + HEADER * about.n_shards,
        )
        for name, (kind, shape) in about.arrays(about.n_rows).items()
    ]


def checkpoint_of(recipe: Recipe, stage: Stage, rows: int, network: NetworkSize) -> list[Artefact]:
    """The files of one checkpoint for --resume."""
    parts = [
        ("model", "weights and statistics", network.weight_bytes),
        ("optimizer", stage.optimizer.name, network.optimizer_bytes(stage.optimizer)),
    ]
    if stage.ema is not None:
        parts.append(("ema", "moving average", network.parameter_bytes))
    if stage.bags is not None:
        parts.append(("bags", "attention of the rows", 4 * rows))
    if stage.elr is not None:
        k = min(stage.elr.top_k, recipe.data.n_classes)
        parts.append(("early", f"memory of the rows, {k} classes", 6 * k * rows))
    return [Artefact(stage.name, f"{stage.name}/step-*/{name}.safetensors", what, size) for name, what, size in parts]


@dataclass(frozen=True)
class StageFiles:
    """What one stage writes under OUTPUT/NAME."""

    name: str
    columns: list[Artefact]
    measurement: list[Artefact]
    measurement_stays: bool
    checkpoint: list[Artefact]  # one of ``kept``
    kept: int
    written: int
    for_use: int  # bytes of best/, and as many of final/: weights alone

    @property
    def column_bytes(self) -> int:
        """Of the table's files of this stage."""
        return total(self.columns)

    @property
    def measured_bytes(self) -> int:
        """Of the whole measurement."""
        return total(self.measurement)

    @property
    def checkpoint_bytes(self) -> int:
        """Of one checkpoint for --resume."""
        return total(self.checkpoint)

    @property
    def stay(self) -> int:
        """What is left when the stage is finished."""
        measured = self.measured_bytes if self.measurement_stays else 0
        return self.column_bytes + measured + self.kept * self.checkpoint_bytes + 2 * self.for_use

    @property
    def most(self) -> int:
        """The most at any moment: measurement and columns, or checkpoints while one more is written."""
        one_more = self.checkpoint_bytes if self.written > self.kept else self.for_use
        return max(self.column_bytes + self.measured_bytes, self.stay + one_more)


def files_of(recipe: Recipe, plans: Sequence[StagePlan], rows: int, network: NetworkSize) -> list[StageFiles]:
    """The files of every stage that is switched on."""
    return [
        StageFiles(
            stage.name,
            columns_of(recipe, stage, rows),
            measurement_of(stage, description(recipe, stage, rows, network)),
            stage.measure.keep,
            checkpoint_of(recipe, stage, rows, network),
            plan.checkpoints_kept,
            plan.checkpoints_written,
            network.weight_bytes,
        )
        for stage, plan in zip(active_stages(recipe), plans, strict=True)
    ]


def total(artefacts: Sequence[Any]) -> int:
    """The sum of their bytes."""
    return sum(artefact.bytes for artefact in artefacts)


def disk_use(base: int, files: Sequence[StageFiles]) -> list[tuple[str, int, int]]:
    """(stage, bytes on the disk at its worst moment, bytes when it is finished), stage after stage."""
    uses, there = [], base
    for stage in files:
        uses.append((stage.name, there + stage.most, there + stage.stay))
        there += stage.stay
    return uses
