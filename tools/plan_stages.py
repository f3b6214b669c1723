"""What the stages of a recipe do, counted: updates, images drawn, evaluations, measured rows, hours.

The rules are those of the training itself: ``StageJob``, the orders' ``steps_per_epoch``, ``schedule.plan``,
``shards.Description``.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tools.plan_network import NetworkSize
from urnet.config.recipe import Recipe, active_stages
from urnet.config.stage import Schedule, Stage
from urnet.features.shards import Description
from urnet.pipeline.registry import measures

SECONDS = 3600.0


@dataclass(frozen=True)
class Processes:
    """``each`` processes on every one of ``machines`` machines."""

    each: int
    machines: int

    @property
    def world_size(self) -> int:
        """All processes."""
        return self.each * self.machines


@dataclass(frozen=True)
class StagePlan:
    """One stage in numbers, of all processes together unless the name says otherwise."""

    name: str
    epochs: float
    updates: int
    batch_size: int
    rows_a_process: int
    micro_batch: int  # rows that pass a process's network at once
    warmup_updates: int
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
    shards: int
    measure_batch: int  # images at once


def plan_stages(
    recipe: Recipe, rows: int, evaluation_images: int, network: NetworkSize, world_size: int
) -> list[StagePlan]:
    """The stages that are switched on. Raises InputError for what cannot be trained, or not divided."""
    labels = np.zeros(rows, np.int32)  # how long an epoch is does not depend on them
    return [
        plan_stage(recipe, stage, labels, evaluation_images, network, world_size) for stage in active_stages(recipe)
    ]


def plan_stage(
    recipe: Recipe, stage: Stage, labels: np.ndarray, evaluation_images: int, network: NetworkSize, world_size: int
) -> StagePlan:
    """One stage, by the order it draws with."""
    from urnet.nn.schedule import gate_plan, plan
    from urnet.training.stage_job import check_division

    check_division(stage, world_size, len(labels))
    task = task_of(recipe, stage, labels)
    batch, per_epoch = stage.batch_size, task.steps_per_epoch
    updates, _ = plan(stage, per_epoch)
    gate_plan(stage, per_epoch)
    written = updates // max(task.steps(stage.checkpoint_every), 1)
    extra, view = bn_images(task), task.view_batch
    about = description(recipe, stage, len(labels), network)
    return StagePlan(
        name=stage.name,
        epochs=updates / per_epoch,
        updates=updates,
        batch_size=batch,
        rows_a_process=batch // world_size,
        micro_batch=batch // world_size // stage.accumulate,
        warmup_updates=task.steps(stage.schedule.warmup),
        rate=rate_text(stage.schedule),
        images_drawn=updates * rows_at_once(task, batch),
        evaluations=-(-updates // max(task.steps(stage.eval_every), 1)),
        evaluation_images=evaluation_images,
        bn_images=extra,
        view_batch=view,
        evaluated_by_busiest=busiest(evaluation_images, view, world_size) + busiest(extra, view, world_size),
        checkpoints_kept=min(stage.keep, written),
        checkpoints_written=written,
        measured_rows=about.n_rows if about else 0,
        shards=about.n_shards if about else 0,
        measured_by_busiest=busiest(about.n_rows, about.shard, world_size) if about else 0,
        measure_batch=about.batch_size if about else 0,
    )


def task_of(recipe: Recipe, stage: Stage, labels: np.ndarray) -> Any:
    """A StageJob that knows lengths and batches, without what it would train."""
    from urnet.training.stage_job import StageJob, make_sampler

    sampler = make_sampler(recipe, dataclasses.replace(stage, balance=0.0), labels)
    nothing: dict[str, Any] = dict.fromkeys(("network", "amp", "table", "loss_weight", "validation"))
    return StageJob(recipe=recipe, stage=stage, labels=labels, sampler=sampler, folder=Path(), curves=Path(), **nothing)


def rows_at_once(task: Any, batch_size: int) -> int:
    """Rows of a batch: ``batch_size``, or fewer where the whole epoch is one short batch."""
    if task.stage.subsets is not None or task.sampler.steps_per_epoch(batch_size) > 1:
        return batch_size
    return len(next(task.sampler.batches(0, batch_size)))


def bn_images(task: Any) -> int:
    """Training images that an evaluation of a moving average passes for its batch-norm statistics."""
    if task.stage.ema is None:
        return 0
    batches = min(task.stage.ema.bn_batches, task.sampler.steps_per_epoch(task.view_batch))
    return batches * rows_at_once(task, task.view_batch)


def description(recipe: Recipe, stage: Stage, rows: int, network: NetworkSize) -> Description | None:
    """Of the stage's measurement; None for a stage that measures nothing."""
    if not measures(stage):
        return None
    k = min(stage.measure.top_k, recipe.data.n_classes)
    return Description("", "", rows, network.feature_width, k, stage.measure.batch_size)


def busiest(n: int, size: int, world_size: int) -> int:
    """Of ``n`` rows dealt out in turn, ``size`` at once, those of process 0, which has the most."""
    return sum(min(size, n - start) for start in range(0, n, size * world_size))


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


@dataclass(frozen=True)
class Hours:
    """Hours of one stage on all processes: of what passes the network, nothing else."""

    name: str
    training: float
    evaluation: float
    measuring: float

    @property
    def total(self) -> float:
        """All three."""
        return self.training + self.evaluation + self.measuring


def hours_of(stage: StagePlan, world_size: int, training_rate: float, evaluation_rate: float) -> Hours:
    """Rates in images a second of ONE process, of which there are ``world_size``.

    Evaluation and measuring last as long as the busiest process, which has whole batches or shards.
    """
    return Hours(
        stage.name,
        stage.images_drawn / (training_rate * world_size) / SECONDS,
        stage.evaluations * stage.evaluated_by_busiest / evaluation_rate / SECONDS,
        stage.measured_by_busiest / evaluation_rate / SECONDS,
    )
