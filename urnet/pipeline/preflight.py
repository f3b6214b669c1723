"""Checks before a run, so that a mistake in a later stage is found before the first one trains."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from urnet.checkpoints import checkpoint
from urnet.config.recipe import active_stages
from urnet.config.stage import Stage
from urnet.core.checks import InputError
from urnet.data.kept.kept_features import difference
from urnet.data.loading.dali_pipeline import require_dali
from urnet.data.table.writer import BASE_SCHEMA
from urnet.nn.schedule import gate_plan, pair_plan, plan
from urnet.pipeline import row_weights
from urnet.pipeline.columns import check_columns
from urnet.pipeline.fingerprints import Fingerprints, own_stage
from urnet.pipeline.plan import sources
from urnet.pipeline.registry import columns_of
from urnet.runtime.process_group import ProcessGroup
from urnet.training.stage_job import check_division, make_sampler


def check_shared(home: Path, group: ProcessGroup) -> None:
    """Raise InputError where a process does not see the folder that process 0 writes to."""
    name = group.broadcast(f".shared-{os.getpid()}")
    try:
        with group.main_first():
            if group.is_main and not group.is_single:
                (home / name).touch()
            seen = group.is_single or (home / name).exists()
        unseen = [rank for rank, sees in enumerate(group.all_gather(seen)) if not sees]
    finally:
        if group.is_main:
            (home / name).unlink(missing_ok=True)
    if unseen:
        raise InputError(
            f"{home}: processes {unseen} cannot see what process 0 writes there; `output` must be on a file system "
            "that all machines share"
        )


def check_stages(chosen: Sequence[Stage], inputs: Fingerprints, n_processes: int = 1) -> None:
    """Raise InputError for what one of the ``chosen`` stages would be refused for when its turn comes.

    Where the table is not known, what depends on its rows is left to the run.
    """
    recipe, table = inputs.recipe, inputs.table
    if recipe.data.features is not None:
        difference(Path(recipe.data.features), {})  # refuses what is not a file of kept features
    if recipe.data.decoder == "dali":
        require_dali()
    to_come = {name for stage in active_stages(recipe) for name in columns_of(stage)}
    known = BASE_SCHEMA.names if table is None else table.columns
    columns = [name for name in known if name not in to_come]  # those of a later stage are not there yet
    for stage in active_stages(recipe):
        columns += [name for name in columns_of(stage) if name not in columns]
        if stage not in chosen:
            continue
        check_columns(stage, inputs)
        row_weights.check_stage(stage, columns)
        drawn = None if table is None else row_weights.drawn_rows(table)
        n_rows = None if table is None else table.n_rows if drawn is None else int(drawn.sum())
        check_division(stage, n_processes, n_rows)
        if table is not None:  # an epoch is as long without weights
            sampler = make_sampler(recipe, stage, table.column("label"), drawn=drawn)
            plan(stage, sampler.steps_per_epoch(stage.batch_size))
            gate_plan(stage, sampler.steps_per_epoch(stage.batch_size))
            if stage.pair:
                pair_plan(stage, sampler.steps_per_epoch(stage.batch_size))
        for source in sources(stage):
            own = own_stage(Path(source), inputs.home, tuple(inputs.of))  # may be written by this very run
            if source not in ("previous", "scratch") and own is None:
                checkpoint.describe(source)
