"""Level 4: the columns a stage adds to the table: what is measured for them, which reweighting makes them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np

from urnet import row_weights
from urnet.checks import InputError
from urnet.recipe import Recipe, Stage, recipe_tree
from urnet.recipe_reweight import column_file
from urnet.reweight.class_size import class_size
from urnet.stage_inputs import RunInputs
from urnet.table import Table
from urnet.task import make_order

Columns = dict[str, np.ndarray]


def check_writable(recipe: Recipe, stage: Stage, table: Table, inputs: RunInputs) -> None:
    """Raise InputError where the stage's columns stand in a shared table, made in another way."""
    if stage.reweight is None or recipe.data.table is None:
        return
    file = column_file(stage.reweight)
    if f"{file}.arrow" not in table.files:
        return
    found = table.describe(file)
    if found["recipe_hash"] != inputs.columns[stage.name]:
        raise InputError(
            f"{table.folder}/{file}.arrow: was written by stage {found['stage']} with other settings than "
            f"stages.{stage.name}.reweight and what it measures; use another data.table"
        )


class ColumnWriter:
    """Computes a stage's columns and writes them, unless they stand in the table already, made the same way."""

    def __init__(self, recipe: Recipe, stage: Stage, table: Table, inputs: RunInputs, home: Path) -> None:
        assert stage.reweight is not None
        self.recipe, self.stage, self.table = recipe, stage, table
        self.made_by, self.measured = inputs.columns[stage.name], inputs.measured[stage.name]
        self.settings, self.file = stage.reweight, column_file(stage.reweight)
        self.folder = home / "measure" / stage.name
        self.labels = table.column("label")

    def write(self, build_network: Callable[[], Any], amp: Optional[str]) -> None:
        """``build_network()`` returns the network that measures, with its weights; not every method asks."""
        if f"{self.file}.arrow" in self.table.files and self._described() == self.made_by:
            return
        compute = {"class_size": self._class_size}[self.settings.method]
        columns = compute(build_network, amp)
        suffix = self.settings.suffix
        self.table.write(
            self.file, {name + suffix: values for name, values in columns.items()}, stage=self.stage.name,
            recipe_hash=self.made_by, checkpoint=self.measured, replace=True,
        )  # fmt: skip
        if not self.stage.measure.keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _described(self) -> str:
        return self.table.describe(self.file)["recipe_hash"]

    def _class_size(self, *_: Any) -> Columns:
        weight = row_weights.sampling_weight(self.stage, self.table)
        order = make_order(self.recipe, self.stage, self.labels, weight)
        return class_size(
            self.labels, order.n_classes, sampled_share=order.sampled_share(), **self._arguments()
        )

    def _arguments(self) -> dict[str, Any]:
        """The reweighting's own settings."""
        tree = recipe_tree(self.settings)
        return {key: value for key, value in tree.items() if key not in ("method", "suffix")}
