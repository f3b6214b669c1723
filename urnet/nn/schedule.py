"""The learning rate and the gate as pure functions of the step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from urnet.baselines.gated import threshold_at
from urnet.config.duration import Duration
from urnet.config.stage import Schedule, Stage
from urnet.core.checks import InputError


def plan(stage: Stage, steps_per_epoch: int) -> tuple[int, Callable[[int], float]]:
    """A stage's steps and its learning rate lr(step). Raises InputError for less than one step."""

    def to_steps(duration: Duration) -> int:
        return duration.steps(steps_per_epoch, stage.batch_size)

    total, at = to_steps(stage.duration), f"stages.{stage.name}"
    if total < 1:
        raise InputError(f"{at}.duration: {stage.duration} is less than one step")
    return total, learning_rate(stage.schedule, total, to_steps, f"{at}.schedule")


def gate_plan(stage: Stage, steps_per_epoch: int) -> Callable[[int], float | None]:
    """A stage's gate(step), None where it has none. Raises InputError for one of no step, or longer."""
    gate = stage.gate
    if gate is None:
        return lambda step: None
    until = (gate.until or stage.duration).steps(steps_per_epoch, stage.batch_size)
    total = stage.duration.steps(steps_per_epoch, stage.batch_size)
    if not 1 <= until <= total:
        raise InputError(
            f"stages.{stage.name}.gate.until: {gate.until or stage.duration} is {until} steps; 1 to the "
            f"stage's {total} are accepted"
        )
    settings: dict[str, Any] = {key: getattr(gate, key) for key in ("threshold", "schedule", "levels")}
    return lambda step: threshold_at(step, until, **settings)


def pair_plan(stage: Stage, steps_per_epoch: int) -> tuple[int, Callable[[int], float]]:
    """Of a stage of two networks: the steps of DivideMix's warm-up, 0 with co-teaching, and what rises at a step.

    That is co-teaching's forget rate, forget_rate min(step / ramp, 1), or the weight of unlabelled rows,
    unlabelled_weight min((step - warmup) / ramp, 1), 0 in the warm-up; a ramp of 0 steps has the whole at once.
    Raises InputError for a warm-up that is as long as the stage.
    """

    def to_steps(duration: Duration) -> int:
        return duration.steps(steps_per_epoch, stage.batch_size)

    if stage.co_teaching is not None:
        begin, ramp, whole = 0, to_steps(stage.co_teaching.ramp), stage.co_teaching.forget_rate
    else:
        assert stage.dividemix is not None
        mix, total = stage.dividemix, to_steps(stage.duration)
        begin, ramp, whole = to_steps(mix.warmup), to_steps(mix.ramp), mix.unlabelled_weight
        if begin >= total:
            raise InputError(
                f"stages.{stage.name}.dividemix.warmup: {mix.warmup} is {begin} steps, and the stage has {total}; a "
                "shorter warm-up is accepted, as rows are divided only after it"
            )
    return begin, lambda step: whole * min(max(step - begin, 0) / ramp, 1.0) if ramp else whole * (step >= begin)


def learning_rate(
    schedule: Schedule, total: int, to_steps: Callable[[Duration], int], where: str = "schedule"
) -> Callable[[int], float]:
    """Return lr(step), step 0 the first of ``total``; durations become steps by ``to_steps``.

    Warm-up over W steps: lr (step + 1) / W, the straight line that is 0 before the first step and lr at
    the W-th. Then, counted from the start of the stage: ``constant`` lr; ``step`` lr gamma^floor(step /
    every); ``piecewise`` lr gamma^(milestones passed). ``cosine`` falls from lr at step W to ``final_lr`` at
    ``total``: final + (lr - final) (1 + cos(pi (step - W) / (total - W))) / 2 (Loshchilov and Hutter 2017).
    Raises InputError when the warm-up is longer than the stage, or a stretch is shorter than a step.
    """
    s, warmup, every = schedule, to_steps(schedule.warmup), to_steps(schedule.every)
    milestones = [to_steps(milestone) for milestone in s.milestones]
    if warmup > total:
        raise InputError(
            f"{where}.warmup: {s.warmup} is {warmup} steps, the stage has only {total}; a shorter warm-up "
            "(`0 steps` for none) or a longer duration is accepted"
        )
    if s.name == "step" and every < 1:
        raise InputError(f"{where}.every: {s.every} is less than one step")

    def after_warmup(step: int) -> float:
        if s.name == "step":
            return s.lr * s.gamma ** (step // every)
        if s.name == "piecewise":
            return s.lr * s.gamma ** sum(step >= milestone for milestone in milestones)
        if s.name == "cosine":
            done = min((step - warmup) / max(total - warmup, 1), 1.0)
            return s.final_lr + (s.lr - s.final_lr) * (1 + math.cos(math.pi * done)) / 2
        return s.lr

    return lambda step: s.lr * (step + 1) / warmup if step < warmup else after_warmup(step)
