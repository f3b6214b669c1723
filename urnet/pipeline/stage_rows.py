"""What a reweighting method computes its columns from: the rows of a stage and what is known of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from urnet.config.recipe import Recipe
from urnet.config.stage import Evidence, Stage
from urnet.data.table.table import Table
from urnet.features.kept_measurement import KeptMeasurement
from urnet.features.shards import ChosenRows
from urnet.features.store import Measurement
from urnet.pipeline import row_weights
from urnet.pipeline.method import Column, Columns
from urnet.reweight.evidence.class_shards import join, rows_of
from urnet.reweight.evidence.decided import CERTAIN, NONE, CertainRows
from urnet.runtime.process_group import ProcessGroup

if TYPE_CHECKING:
    from urnet.pipeline.evidence import StageEvidence


@dataclass(frozen=True)
class StageRows:
    """The n rows of a stage that columns are computed for: those whose image could be read and shows a class.

    ``columns``: what will be written, by plain names. ``measured`` None: nothing was measured, so any image may be
    readable. Rows that were decided to show none of the classes are not among them.
    """

    recipe: Recipe
    stage: Stage
    table: Table
    columns: dict[str, Column]
    group: ProcessGroup
    measured: Measurement | KeptMeasurement | None

    @property
    def n_classes(self) -> int:
        return self.recipe.data.n_classes

    @property
    def seed(self) -> int:
        return self.recipe.seed

    @cached_property
    def rows(self) -> np.ndarray:
        """(n,) int64, ascending: where the rows are in the table."""
        readable, drawn = None if self.measured is None else self.measured.readable, row_weights.drawn_rows(self.table)
        if readable is None and drawn is None:
            return np.arange(self.table.n_rows)
        kept = [mask for mask in (readable, drawn) if mask is not None]
        return np.flatnonzero(np.logical_and.reduce(kept))

    @cached_property
    def decided(self) -> np.ndarray | None:
        """(n,) int8, 1 for the rows whose label a person decided; None where nobody decided anything."""
        return None if self.table.decided is None else self.table.decided[self.rows]

    @cached_property
    def all_labels(self) -> np.ndarray:
        """(N,) int32, of the whole table."""
        return self.table.column("label")

    @cached_property
    def labels(self) -> np.ndarray:
        """(n,) int32, the labels: as they were given, or decided."""
        return self.all_labels if len(self.rows) == self.table.n_rows else self.all_labels[self.rows]

    # --- what a network says of the rows

    @property
    def features(self) -> Any:
        """(n, width) float16, an array-like that can be sliced."""
        return self._measured("features")

    @property
    def index(self) -> Any:
        """(n, k) int32, the most probable classes, best first; an array-like. A certain row has its label first."""
        return self._sure(self._measured("index"), self.labels)

    @property
    def prob(self) -> Any:
        """(n, k) float16, their probabilities; an array-like. A certain row has 1 for its label."""
        return self._sure(self._measured("prob"), 1)

    @property
    def given(self) -> np.ndarray:
        """(n,) float32, the probability of the label, 1 of a certain one."""
        assert self.measured is not None
        given = self.measured.given[self.rows]
        return given if self.decided is None else np.where(self.decided == CERTAIN, np.float32(1), given)

    def _sure(self, values: Any, first: Any) -> Any:
        return values if self.decided is None else CertainRows(values, self.decided == CERTAIN, first)

    def _measured(self, name: str) -> Any:
        values = getattr(self.measured, name)
        return values if len(self.rows) == self.table.n_rows else ChosenRows(values, self.rows)

    def evidence(self, settings: Evidence) -> StageEvidence:
        """What is known of the rows' classes in addition to the network: a head on its features, texts, ranks."""
        from urnet.pipeline.evidence import StageEvidence  # imports scikit-learn, which takes a second

        return StageEvidence(self.recipe, settings, self.table, self.rows, self.features, self.stage.measure.top_k)

    @cached_property
    def in_classes(self) -> np.ndarray:
        """(n,) float32, how likely each row shows any of the classes (``off_topic``), 1 of a certain one.

        Rows that were decided to show none, which are not among the n, help to tell how far is too far.
        """
        from urnet.reweight.off_topic import off_topic

        assert self.measured is not None
        rows, decided = np.flatnonzero(self.measured.readable), self.table.decided
        features = (
            self.measured.features if len(rows) == self.table.n_rows else ChosenRows(self.measured.features, rows)
        )
        outside = None if decided is None else decided[rows] == NONE
        found = off_topic(features, labels=self.all_labels[rows], outside=outside, seed=self.seed)["in_classes"]
        inside = found if outside is None else found[~outside]
        return inside if self.decided is None else np.where(self.decided == CERTAIN, np.float32(1), inside)

    def by_class(self, compute: Callable[[Any, np.ndarray, Any], Columns]) -> Columns:
        """``compute(features, labels, own)`` of each process's classes, joined; ``own``: its rows of the n."""
        if self.group.is_single:
            return compute(self.features, self.labels, slice(None))
        own = rows_of(self.labels, self.n_classes, self.group.rank, self.group.size)
        part = compute(ChosenRows(self.features, own), self.labels[own], own) if len(own) else {}
        return join(self.group.all_gather(part), self.labels, self.n_classes)

    # --- what the stage will draw

    def sampled_share(self) -> np.ndarray:
        """(n_classes,) the share of each class in the loss: as rows are drawn, and as their subsets weigh."""
        sampler = row_weights.sampler_of(self.recipe, self.stage, self.table)
        if self.stage.subsets is None:
            return sampler.sampled_share()
        seen = sampler.expected_draws() * row_weights.subset_weight(self.stage, self.table)
        return np.bincount(self.all_labels, seen, self.n_classes) / seen.sum()

    def expected_draws(self, made: Columns) -> np.ndarray:
        """(n,) how often each row is drawn in an epoch, with columns of the n rows that were just ``made``."""
        suffix = "" if self.stage.reweight is None else self.stage.reweight.suffix
        complete = {name + suffix: values for name, values in self.complete(made).items()}
        return row_weights.sampler_of(self.recipe, self.stage, self.table, complete).expected_draws()[self.rows]

    # --- rows whose image could not be read, or shows none of the classes

    def complete(self, made: Columns) -> Columns:
        """Columns of all N rows from those of the n.

        A row whose image cannot be read, or shows none of the classes, has the column's ``empty``, a label its own.
        Where no image of a class could be read, its rows weigh 1 and are in subset 0, as no class may be without mass;
        they train nothing, for an image that cannot be read has no weight in the loss.
        """
        if len(self.rows) == self.table.n_rows:
            return made
        lost = np.bincount(self.labels, minlength=self.n_classes)[self.all_labels] == 0
        drawn = row_weights.drawn_rows(self.table)
        lost = lost if drawn is None else lost & drawn
        complete = {}
        for name, values in made.items():
            column = self.columns[name]
            whole = np.full((self.table.n_rows, *values.shape[1:]), column.empty, values.dtype)
            if column.role == "target_label":
                whole[:] = self.all_labels
            whole[self.rows] = values
            values = whole
            if column.is_weight:
                values[lost] = 1
            elif column.role == "subset":
                values[lost] = 0
            complete[name] = values
        return complete
