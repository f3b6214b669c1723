"""Hours of what passes the network, from a rate that is given or measured here."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

from tools.planning.counts import Counts, job_of, rows_at_once
from urnet.config.duration import Duration
from urnet.config.recipe import Recipe, active_stages
from urnet.config.stage import Schedule
from urnet.data.lists.build_table import build_table
from urnet.data.table.table import Table

FORWARD = 3.0  # a training step is taken for three forwards: one, and a backward of two
MEASURED_STEPS, WARM_UP = 20, 3  # of --measure; the first ones do not count


def hours_of(counts: Counts, n_processes: int, rate: float, evaluation_rate: float) -> dict[str, float]:
    """Hours of what passes the network in one stage; rates: images a second that ONE process trains on, and evaluates.

    Evaluation and measuring last as long as the busiest process, which has whole batches or shards.
    """
    hours = {
        "training": counts.images_drawn / (rate * n_processes) / 3600,
        "evaluation": counts.evaluations * counts.evaluated_by_busiest / evaluation_rate / 3600,
        "measuring": counts.measured_by_busiest / evaluation_rate / 3600,
    }
    return {**hours, "total": sum(hours.values())}


def measured_rate(recipe: Recipe, table: Table | None, n_processes: int, n_steps: int = MEASURED_STEPS) -> float:
    """Images a second that one process trains on here, three digits: its part of ``n_steps`` steps of the first stage.

    On the recipe's own images, with random weights and all rows alike. Raises InputError where the images are not
    there, or are too few.
    """
    from tools.speed.train import seconds_of, training_steps

    first = active_stages(recipe)[0]
    duration, size = Duration(WARM_UP + n_steps, "steps"), first.batch_size // n_processes
    plain: dict[str, Any] = {"schedule": Schedule(lr=1e-3), "gate": None, "subsets": None, "targets": "given"}
    stage = dataclasses.replace(first, duration=duration, batch_size=size, **plain)
    with tempfile.TemporaryDirectory(prefix="urnet-plan-") as name:
        table = table or build_table(recipe.data, Path(name, "table"))
        images = n_steps * rows_at_once(job_of(recipe, stage, table.n_rows), stage.batch_size)
        with training_steps(recipe, stage, table, Path(name)) as steps:
            seconds_of(lambda: next(steps), WARM_UP)
            return float(f"{images / seconds_of(lambda: next(steps), n_steps):.3g}")
