"""How long stages last: all together, and each times a factor with all that is counted along its length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from urnet.config.duration import Duration
from urnet.config.stage import Stage


def total_duration(stages: Sequence[Stage], n_rows: int) -> Duration:
    """All durations together: in their unit where it is one and the same, else in images."""
    durations = [stage.duration for stage in stages]
    units, batches = {d.unit for d in durations}, {stage.batch_size for stage in stages}
    if len(units) == 1 and (units != {"steps"} or len(batches) == 1):
        return Duration(_tidy(math.fsum(d.amount for d in durations)), units.pop())
    return Duration(_tidy(_images(stages, n_rows)), "images")


def _images(stages: Sequence[Stage], n_rows: int) -> float:
    """Images that all ``stages`` together show."""
    a_unit = {"epochs": n_rows, "images": 1}
    return math.fsum(s.duration.amount * a_unit.get(s.duration.unit, s.batch_size) for s in stages)


def shortened(stage: Stage, factor: float) -> Stage:
    """The stage with its duration, warm-up, learning-rate stretches, gate and ramps times ``factor``.

    Steps stay whole and do not become 0. How often is evaluated and saved stays.
    """

    def short(d: Duration) -> Duration:
        amount = d.amount * factor
        whole = d.unit == "steps" and d.amount > 0
        return Duration(max(round(amount), 1) if whole else _tidy(amount), d.unit)

    schedule = replace(
        stage.schedule,
        warmup=short(stage.schedule.warmup),
        every=short(stage.schedule.every),
        milestones=tuple(map(short, stage.schedule.milestones)),
    )
    gate = stage.gate
    if gate is not None and gate.until is not None:
        gate = replace(gate, until=short(gate.until))
    teach, mix = stage.co_teaching, stage.dividemix
    stage = replace(
        stage,
        co_teaching=teach and replace(teach, ramp=short(teach.ramp)),
        dividemix=mix and replace(mix, warmup=short(mix.warmup), ramp=short(mix.ramp)),
    )
    return replace(stage, duration=short(stage.duration), schedule=schedule, gate=gate)


def lasting(stage: Stage, factor: float) -> Stage:
    """The stage with its duration times ``factor``, all else as it is."""
    return replace(stage, duration=shortened(stage, factor).duration)


def _tidy(amount: float) -> float:
    """Without the last digits' noise, so that the recipe reads well."""
    return round(amount, 9)
