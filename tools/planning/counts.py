"""What the stages of a recipe do: steps, images, evaluations, measured rows. The rules are those of the training."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tools.planning.keeping import kept_images, measured_from_kept
from urnet.config.recipe import Recipe
from urnet.config.stage import Schedule, Stage
from urnet.features.shards import Description
from urnet.pipeline.registry import measures


@dataclass(frozen=True)
class Counts:
    """What one stage does, of all processes together unless the name says otherwise."""

    epochs: float
    steps: int
    batch_size: int
    rows_a_process: int
    micro_batch: int  # rows that pass a process's network at once
    warmup_steps: int
    rate: str
    images_drawn: int
    evaluations: int
    evaluation_images: int  # of each evaluation
    bn_images: int  # of each evaluation, for the batch-norm statistics of a moving average
    view_batch: int  # images at once in an evaluation
    evaluated_by_busiest: int  # images, of each evaluation, of the process that has most of them
    checkpoints_kept: int
    checkpoints_written: int
    measured_rows: int  # 0: the stage measures nothing
    measured_by_busiest: int  # rows of the process that has most of them
    measured_views: int  # of each: so often they pass the network
    shards: int
    measure_batch: int  # images at once
    reference_images: int  # of a pass for in_classes at the end; 0: there is none
    kept_images: dict[str, int]  # output -> images of which a frozen part's activations are computed and kept


def counts_of(recipe: Recipe, stage: Stage, rows: int, images: int, n_processes: int) -> Counts:
    """Of one stage with ``rows`` rows and ``images`` validation images.

    Raises InputError for what cannot be trained, or not be divided among the processes.
    """
    from urnet.nn.schedule import gate_plan, plan
    from urnet.training.stage_job import check_division

    check_division(stage, n_processes, rows)
    job = job_of(recipe, stage, rows)
    batch, per_epoch, view = stage.batch_size, job.steps_per_epoch, job.view_batch
    steps, _ = plan(stage, per_epoch)
    gate_plan(stage, per_epoch)  # refuses one that is too long
    written = steps // max(job.steps(stage.checkpoint_every), 1)
    about, extra = description(recipe, stage, rows), 0
    if stage.ema is not None and stage.train == "all":
        extra = min(stage.ema.bn_batches, job.sampler.steps_per_epoch(view)) * rows_at_once(job, view)
    return Counts(
        epochs=steps / per_epoch,
        steps=steps,
        batch_size=batch,
        rows_a_process=batch // n_processes,
        micro_batch=batch // n_processes // stage.accumulate,
        warmup_steps=job.steps(stage.schedule.warmup),
        rate=rate_text(stage.schedule),
        images_drawn=steps * rows_at_once(job, batch),
        evaluations=-(-steps // max(job.steps(stage.eval_every), 1)),
        evaluation_images=images,
        bn_images=extra,
        view_batch=view,
        evaluated_by_busiest=busiest(images, view, n_processes) + busiest(extra, view, n_processes),
        checkpoints_kept=min(stage.keep, written),
        checkpoints_written=written,
        measured_rows=about.n_rows if about else 0,
        shards=about.n_shards if about else 0,
        measured_by_busiest=busiest(about.n_rows, about.shard, n_processes) if about else 0,
        measured_views=about.views if about else 1,
        measure_batch=about.batch_size if about else 0,
        reference_images=reference_images(recipe, rows, images),
        kept_images=kept_images(recipe, rows, images)[stage.name],
    )


def reference_images(recipe: Recipe, rows: int, images: int) -> int:
    """The images that tell where the classes are, at the most: some of each class, and of the validation's."""
    from urnet.training.in_classes import HELD_OUT, PER_CLASS

    if not recipe.model.in_classes:
        return 0
    return min(PER_CLASS * int(recipe.data.n_classes or 0), rows) + min(HELD_OUT, images)


def job_of(recipe: Recipe, stage: Stage, rows: int) -> Any:
    """A StageJob that knows lengths and batches, without what it would train."""
    from urnet.training.stage_job import StageJob, make_sampler

    labels = np.zeros(rows, np.int32)  # how long an epoch is does not depend on them
    sampler = make_sampler(recipe, dataclasses.replace(stage, balance=0.0), labels)
    nothing: dict[str, Any] = dict.fromkeys(("network", "amp", "table", "loss_weight", "validation"))
    return StageJob(recipe=recipe, stage=stage, labels=labels, sampler=sampler, folder=Path(), curves=Path(), **nothing)


def rows_at_once(job: Any, batch_size: int) -> int:
    """Rows of a batch: ``batch_size``, or fewer where the whole epoch is one short batch."""
    if job.stage.subsets is not None or job.sampler.steps_per_epoch(batch_size) > 1:
        return batch_size
    return len(next(job.sampler.batches(0, batch_size)))


def description(recipe: Recipe, stage: Stage, rows: int, width: int = 1) -> Description | None:
    """Of the stage's measurement with a network of ``width`` features; None for one that measures nothing itself."""
    if not measures(stage) or measured_from_kept(recipe, stage):
        return None
    k = min(stage.measure.top_k, recipe.data.n_classes)
    return Description("", "", rows, width, k, stage.measure.batch_size, views=stage.measure.views)


def busiest(n: int, size: int, n_processes: int) -> int:
    """Of ``n`` rows dealt out in turn, ``size`` at once, those of process 0, which has the most."""
    return sum(min(size, n - start) for start in range(0, n, size * n_processes))


def rate_text(schedule: Schedule) -> str:
    """The learning rate as the recipe writes it."""
    s = schedule
    if s.name == "cosine":
        return f"cosine, {s.lr:g} to {s.final_lr:g}"
    if s.name == "step":
        return f"{s.lr:g}, x {s.gamma:g} every {s.every}"
    if s.name == "piecewise":
        return f"{s.lr:g}, x {s.gamma:g} at " + ", ".join(str(milestone) for milestone in s.milestones)
    return f"constant {s.lr:g}"
