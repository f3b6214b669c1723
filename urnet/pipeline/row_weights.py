"""The weight of every row, from the columns of the table that a stage names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from urnet.config.recipe import Stage
from urnet.config.reweight import holds_no_weights, target_columns
from urnet.core.checks import InputError, nearest
from urnet.data.table.table import Table
from urnet.data.table.writer import BASE_SCHEMA


def check_stage(stage: Stage, columns: Sequence[str]) -> None:
    """Raise InputError for a column that a stage trains with and that is not among ``columns``."""
    for key in ("loss_weight", "sampling_weight"):
        check_columns(stage, key, columns)
        odd = next((n for n in getattr(stage, key) if n in BASE_SCHEMA.names or holds_no_weights(n)), None)
        if odd is not None:
            raise InputError(f"stages.{stage.name}.{key}: column {odd!r} holds no weights")
    _check_even(stage)
    if stage.subsets is not None and stage.subsets.column not in columns:
        raise InputError(
            f"stages.{stage.name}.subsets.column: no stage up to this one writes {stage.subsets.column!r}; "
            "accepted: a column of a curriculum reweighting in this stage or an earlier one"
        )
    if stage.targets != "given":
        for name in target_columns(stage.targets):
            if name not in columns:
                raise InputError(
                    f"stages.{stage.name}.targets: no stage up to this one writes {name!r}, which "
                    f"{stage.targets} needs; accepted: given, or the file of a label or relabel reweighting"
                )


def check_columns(stage: Stage, key: str, columns: Sequence[str]) -> None:
    """Raise InputError for a name under the stage's ``key`` that is not among ``columns``."""
    for name in getattr(stage, key):
        if name not in columns:
            raise InputError(
                f"stages.{stage.name}.{key}: the table has no column {name!r}; nearest: {nearest(name, columns)}"
            )


def sampling_weight(stage: Stage, table: Table, made: Mapping[str, np.ndarray] | None = None) -> np.ndarray | None:
    """The product (N,) float32 of the stage's sampling weights; None where it names none.

    ``made``: columns (N,) that are about to be written, which count in place of the table's.
    """
    _check_even(stage)
    return product(stage, "sampling_weight", table, made) if stage.sampling_weight else None


def _check_even(stage: Stage) -> None:
    same = [name for name in stage.sampling_weight if name.startswith("class_weight")]
    if same:
        raise InputError(
            f"stages.{stage.name}.sampling_weight: found {same[0]}, which is the same for all rows of a "
            "class and so changes nothing; accepted: loss_weight: [class_weight], or balance for even classes"
        )


def product(stage: Stage, key: str, table: Table, made: Mapping[str, np.ndarray] | None = None) -> np.ndarray:
    """The product (N,) float32 of the columns a stage names under ``key``; ones where it names none."""
    weight, made = np.ones(table.n_rows, np.float32), made or {}
    check_columns(stage, key, [*table.columns, *made])
    for name in getattr(stage, key):
        values = made[name] if name in made else table.column(name)
        if values.shape != weight.shape or not np.issubdtype(values.dtype, np.floating):
            raise InputError(f"stages.{stage.name}.{key}: column {name!r} holds no weights")
        weight *= values
    low, total = float(weight.min()), float(weight.sum(dtype=np.float64))
    if not (low >= 0 and 0 < total < math.inf):
        raise InputError(
            f"stages.{stage.name}.{key}: finite weights >= 0, not all 0, are accepted; found a smallest of "
            f"{low} and a sum of {total}"
        )
    return weight
