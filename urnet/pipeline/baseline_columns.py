"""The columns of the rivals' methods, from a measurement of the training images."""

from __future__ import annotations

from typing import Any

import numpy as np

from urnet.baselines.curriculumnet import curriculum
from urnet.baselines.relabel import relabel
from urnet.config.baselines import Curriculum, Relabel
from urnet.config.recipe import Stage
from urnet.core.checks import InputError
from urnet.data.table.table import Table

Columns = dict[str, np.ndarray]


def curriculum_columns(settings: Curriculum, features: Any, labels: np.ndarray, n_classes: int, seed: int) -> Columns:
    """Columns of curriculum.arrow for the rows measured: ``features`` an array-like (n, d)."""
    names = ("quantile", "density", "split", "n_subsets", "pca", "delta", "jobs")
    chosen = {name: getattr(settings, name) for name in names}
    return curriculum(features, labels, n_classes, seed=seed, **chosen)


def relabel_columns(
    settings: Relabel, labels: np.ndarray, given: np.ndarray, index: Any, prob: Any, n_classes: int
) -> Columns:
    """Columns of relabel.arrow for the rows measured: p(given label) (n,), best classes and theirs (n, k)."""
    chosen = {name: getattr(settings, name) for name in ("power", "floor", "drop", "adopt")}
    return relabel(labels, n_classes, given=given, index=index, prob=prob, **chosen)


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
