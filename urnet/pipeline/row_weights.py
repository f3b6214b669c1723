"""How a stage draws and weighs its rows, from the columns of the table that it names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from urnet.config.recipe import Recipe
from urnet.config.stage import Stage
from urnet.core.checks import InputError, nearest
from urnet.data.sampling.sampler import Sampler
from urnet.data.table.table import Table
from urnet.data.table.writer import BASE_SCHEMA
from urnet.pipeline.registry import known_as, target_columns
from urnet.reweight.evidence.decided import CERTAIN, NONE
from urnet.training.stage_job import SoftTargets, make_sampler


def check_stage(stage: Stage, columns: Sequence[str]) -> None:
    """Raise InputError for a column that a stage trains with and that is not among ``columns``."""
    for key in ("loss_weight", "sampling_weight"):
        check_columns(stage, key, columns)
        for name in getattr(stage, key):
            known = known_as(name)
            if name in BASE_SCHEMA.names or (known and not any(column.is_weight for column in known)):
                raise InputError(f"stages.{stage.name}.{key}: column {name!r} holds no weights")
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
            own = "" if known_as(name) else f" (tools/table.py --column {name}=FILE adds your own)"
            raise InputError(
                f"stages.{stage.name}.{key}: the table has no column {name!r}; nearest: {nearest(name, columns)}{own}"
            )


def sampling_weight(stage: Stage, table: Table, made: Mapping[str, np.ndarray] | None = None) -> np.ndarray | None:
    """The product (N,) float32 of the stage's sampling weights; None where it names none.

    ``made``: columns (N,) that are about to be written, which count in place of the table's.
    """
    _check_even(stage)
    return product(stage, "sampling_weight", table, made) if stage.sampling_weight else None


def _check_even(stage: Stage) -> None:
    for name in stage.sampling_weight:
        if any(column.role == "class_weight" for column in known_as(name)):
            raise InputError(
                f"stages.{stage.name}.sampling_weight: found {name}, which is the same for all rows of a class, so "
                f"it changes nothing; accepted: loss_weight: [{name}], or balance for even classes"
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


def sampler_of(recipe: Recipe, stage: Stage, table: Table, made: Mapping[str, np.ndarray] | None = None) -> Sampler:
    """What draws the stage's rows; ``made``: as in ``sampling_weight``."""
    weight = sampling_weight(stage, table, made)
    subset = None if stage.subsets is None else subset_of(stage, table)
    return make_sampler(recipe, stage, table.column("label"), weight, subset, drawn_rows(table))


def drawn_rows(table: Table) -> np.ndarray | None:
    """bool (N,): all rows but those that were decided to show none of the classes; None where none was."""
    decided = table.decided
    return None if decided is None or not (decided == NONE).any() else decided != NONE


def loss_weight(stage: Stage, table: Table) -> np.ndarray:
    """(N,) float32: the product of the stage's loss weights, and of its subsets' where it has some.

    0 for a row that was decided to show none of the classes.
    """
    weight, drawn = product(stage, "loss_weight", table), drawn_rows(table)
    weight = weight if drawn is None else weight * drawn
    return weight if stage.subsets is None else weight * subset_weight(stage, table)


def certain_rows(table: Table) -> np.ndarray | None:
    """bool (N,): the rows whose label a person decided; None where nothing was decided."""
    return None if table.decided is None else table.decided == CERTAIN


def subset_of(stage: Stage, table: Table) -> np.ndarray:
    """(N,) int8: the subset each row is in. Raises InputError for a column that holds something else."""
    assert stage.subsets is not None
    subset = table.column(stage.subsets.column)
    if subset.dtype != np.int8:
        raise InputError(
            f"stages.{stage.name}.subsets.column: {stage.subsets.column!r} holds {subset.dtype}; int8 is accepted"
        )
    return subset


def subset_weight(stage: Stage, table: Table) -> np.ndarray:
    """(N,) float32: each row's loss weight by its subset; rows of subsets that are not used have 0."""
    assert stage.subsets is not None
    weights = np.zeros(128, np.float32)
    weights[: len(stage.subsets.loss_weight)] = stage.subsets.loss_weight
    return weights[subset_of(stage, table)]


def soft_targets(stage: Stage, table: Table) -> SoftTargets | None:
    """The targets a stage names, mapped from the table; None where it trains on the given labels."""
    if stage.targets == "given":
        return None
    index, *prob = (table.column(name) for name in target_columns(stage.targets))
    if prob:
        return SoftTargets(index, prob[0])
    return SoftTargets(index[:, None], np.broadcast_to(np.float32(1), (len(index), 1)))
