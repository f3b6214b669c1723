"""What is measured for a plan on this machine: the rows that there are, and how long they take."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import models
from tools.machine import describe
from tools.planning.files import Artefact
from tools.planning.given import STEPS, Given
from tools.planning.rehearsal import Rehearsal, Scene, rehearse
from urnet.config.recipe import Recipe, active_stages
from urnet.pipeline.run import planned_run
from urnet.pipeline.run_table import table_folder


@dataclass(frozen=True)
class Measured:
    """The counted rows and validation images, base.arrow, what was timed, and where.

    ``load``: the system's load average (processes that wanted a core, over a minute) before and after; () where it is
    not known.
    """

    rows: Given
    images: Given
    base: Artefact
    timed: Rehearsal
    machine: dict[str, str]
    load: tuple[float, ...]
    max_bad: int  # unreadable images that the run accepts

    @property
    def unreadable(self) -> int:
        """Training images met that could not be read, at the least."""
        return max(kind.unreadable for kind in self.timed.kinds)


def measure(recipe: Recipe, n_processes: int, steps: int = STEPS) -> Measured:
    """Read the lists and time one of ``n_processes`` on a recipe's own images.

    Raises InputError for what train.py --resume refuses. Leaves nothing behind; a table that is there is used.
    """

    def build_network() -> Any:
        model = recipe.model
        return models.build(model.name, recipe.data.n_classes, recompute=model.recompute, data_format=model.data_format)

    chosen, load = active_stages(recipe), _load()
    with (
        tempfile.TemporaryDirectory(prefix="urnet-plan-") as folder,
        planned_run(recipe, build_network, chosen, resume=True, n_processes=n_processes, paths=True) as planned,
    ):
        table, there = planned.table, planned.table.folder == table_folder(recipe)
        timed = rehearse(Scene(recipe, table, planned.validation, Path(folder), steps), n_processes)
        file = table.folder / "base.arrow"
        base = Artefact("base", "table/base.arrow", "as it is" if there else "as built to be read", file.stat().st_size)
        rows = Given(table.n_rows, f"in {table.folder}" if there else "listed")
        return Measured(
            rows=rows,
            images=Given(len(planned.validation), "listed"),
            base=base,
            timed=timed,
            machine=describe(),
            load=(*load, *_load()),
            max_bad=recipe.data.max_bad,
        )


def _load() -> tuple[float, ...]:
    try:
        return (round(os.getloadavg()[0], 2),)
    except (OSError, AttributeError):
        return ()
