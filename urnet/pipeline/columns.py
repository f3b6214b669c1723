"""Computes and writes the columns that a stage adds to the table."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from urnet.config.recipe import active_stages, recipe_hash
from urnet.config.stage import Stage
from urnet.core.checks import InputError
from urnet.core.signals import GracefulStop
from urnet.data.loading.loader import ImageSource
from urnet.data.table.table import Table
from urnet.features.extract import FeatureJob
from urnet.features.kept_measurement import KeptMeasurement
from urnet.features.store import Measurement
from urnet.pipeline.fingerprints import Fingerprints
from urnet.pipeline.method import Column, Columns
from urnet.pipeline.registry import column_files, measures, method_of
from urnet.pipeline.stage_rows import StageRows
from urnet.runtime.process_group import SINGLE_PROCESS, ProcessGroup
from urnet.training.passes import Passes


def check_columns(stage: Stage, inputs: Fingerprints) -> None:
    """Raise InputError for columns that could not be computed or written when their turn comes."""
    recipe, table = inputs.recipe, inputs.table
    method, at = method_of(stage), f"stages.{stage.name}"
    if measures(stage) and stage.measure.network == "previous" and stage == active_stages(recipe)[0]:
        raise InputError(f"{at}.measure.network: found 'previous', but there is no earlier stage; give a checkpoint")
    evidence = None if method is None else method.evidence_of(stage.reweight)
    words = None if evidence is None else evidence.word_vectors
    if words is not None and not Path(words).is_file():
        raise InputError(
            f"{at}.reweight.evidence.word_vectors: {words} is not a file; accepted: a word2vec or GloVe text "
            "file, or null"
        )
    if recipe.data.table is None or table is None:
        return
    for file in column_files(stage):  # a shared table may hold the stage's columns only if they were made the same way
        made_by = recipe_hash(inputs.of[stage.name]) if file == "bag" else inputs.columns[stage.name]
        if f"{file}.arrow" in table.files and table.describe(file)["recipe_hash"] != made_by:
            raise InputError(
                f"{table.folder}/{file}.arrow: was written by stage {table.describe(file)['stage']} with other "
                f"settings than those of stages.{stage.name}; use another data.table"
            )


class ColumnWriter:
    """Computes the columns of a stage's reweighting and writes them, unless the table has them, made the same way."""

    def __init__(
        self,
        stage: Stage,
        inputs: Fingerprints,
        group: ProcessGroup = SINGLE_PROCESS,
        kept: Callable[[Any], KeptMeasurement] | None = None,
    ) -> None:
        """``kept``: what a network says of the rows from features that are kept, where the stage measures so."""
        method, table = method_of(stage), inputs.table
        assert method is not None and stage.reweight is not None and table is not None
        self._recipe, self._stage, self._table, self._group = inputs.recipe, stage, table, group
        self._inputs, self._folder = inputs, inputs.home / "measure" / stage.name
        self._method, self._suffix, self._kept = method, stage.reweight.suffix, kept

    def write(self, build_network: Callable[[], Any], amp: str | None) -> None:
        """``build_network()`` returns the network that measures, with its weights; not every method asks.

        Of several processes all measure their share, the main one writes, and all have the new columns then.
        Raises Interrupted after SIGTERM or Ctrl-C: the measurement so far is kept and resumed the next time.
        """
        made = self._inputs.columns_fit(self._stage)
        self._group.barrier()  # until all processes have read that
        if not made:
            columns, passes = self._compute(build_network, amp)
            with self._group.main_first():
                if not self._group.is_main:
                    self._table.refresh()
                    return
                self._table.write(
                    self._method.file_of(self._stage.reweight),
                    {name + self._suffix: values for name, values in columns.items()},
                    stage=self._stage.name,
                    recipe_hash=self._inputs.columns[self._stage.name],
                    checkpoint=self._inputs.measured[self._stage.name],
                    replace=True,
                    passes=passes,
                )
        if self._group.is_main and not self._stage.measure.keep and self._folder.exists():
            shutil.rmtree(self._folder)
            with contextlib.suppress(OSError):  # other stages' measurements are still there
                self._folder.parent.rmdir()

    def _compute(self, build_network: Callable[[], Any], amp: str | None) -> tuple[Columns, int]:
        """The columns of all rows by their plain names, on the main process; images that passed a network for them."""
        method, settings = self._method, self._stage.reweight
        measured = self._measure(build_network, amp) if method.needs_features else None
        if not (method.per_class or self._group.is_main):
            return {}, 0
        columns = {name.removesuffix(self._suffix): column for name, column in method.columns_of(settings).items()}
        data = StageRows(self._recipe, self._stage, self._table, columns, self._group, measured)
        made = method.compute(data, settings)
        if not self._group.is_main:
            return {}, 0
        _check_made(made, columns, len(data.labels), method.name)
        return data.complete(made), 0 if measured is None else measured.passes

    def _measure(self, build_network: Callable[[], Any], amp: str | None) -> Measurement | KeptMeasurement:
        if self._kept is not None:
            return self._kept(build_network())
        data, stage = self._recipe.data, self._stage
        source = ImageSource(
            self._table.path, self._recipe.transform, train=False, exif=data.exif, max_pixels=data.max_pixels
        )
        with GracefulStop() as stop:
            job = FeatureJob(
                source,
                self._table.column("label"),
                self._folder,
                fingerprint=self._inputs.measurement[stage.name],
                base_hash=self._table.base_hash,
                k=stage.measure.top_k,
                batch_size=stage.measure.batch_size,
                views=stage.measure.views,
                front=stage.measure.front,
                workers=data.workers,
                prefetch=data.prefetch,
                max_bad=data.max_bad,
                amp=amp,
                compiled=self._recipe.model.compile,
                stop=stop,
                replace=True,
                title=f"stage {stage.name}: measuring",
                rank=self._group.rank,
                world_size=self._group.size,
            )
            return job.run(build_network())


def passes_before(stage: Stage, table: Table, kept: int) -> Passes | None:
    """The passes that were made before a stage trains: for its columns, and ``kept`` ones; None where nobody counted.

    Columns that are in the table already cost what they cost when they were made, in this call or an earlier one.
    """
    method = method_of(stage)
    said = "0" if method is None else table.describe(method.file_of(stage.reweight)).get("passes")
    return None if said is None else Passes(forward=int(said) + kept)


def _check_made(made: Columns, columns: dict[str, Column], n_rows: int, method: str) -> None:
    """Raise ValueError for a method that does not compute what it says; that is a fault of the method's code."""
    found = {name: (values.dtype.name, len(values)) for name, values in made.items()}
    said = {name: (column.kind, n_rows) for name, column in columns.items()}
    if found != said:
        raise ValueError(f"method {method}: computed {found}, but its columns are {said}")
