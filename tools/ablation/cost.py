"""What methods cost, in image passes: predicted from their stages, so that durations can be fitted, and as counted.

One unit for both: the training images of ``Passes.training_images``, (F + 2 B) / 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from urnet.config.stage import Stage
from urnet.core.checks import InputError
from urnet.data.sampling.sampler import full_batches
from urnet.pipeline.fingerprints import measures_kept
from urnet.pipeline.registry import measures
from urnet.training.passes import Passes, passes_per_image, view_batch

MOST = 0.05  # by which the costs of methods that are compared may differ


# --- predicted


def predicted(stages: Sequence[Stage], n_rows: int) -> Passes:
    """The passes of a run of these ``stages`` on ``n_rows`` training images, before it has run.

    Exact but for images that cannot be read, rows that are never drawn, an epoch of bags with rows left over, and
    activations that earlier runs kept. Steps are not rounded to whole ones.
    """
    total = Passes()
    for stage, made in zip(stages, _measured(stages, n_rows), strict=True):
        shown = min(stage.batch_size, n_rows)  # a step
        steps = _steps(stage, n_rows)
        total += passes_per_image(stage) * (steps * shown) + Passes(forward=made)
        if stage.ema is not None and stage.train == "all":
            total += Passes(forward=_evaluations(stage, steps, n_rows) * _statistics(stage, n_rows))
    return total


def _steps(stage: Stage, n_rows: int) -> float:
    a_unit = {"epochs": full_batches(n_rows, stage.batch_size), "steps": 1.0}
    return stage.duration.amount * a_unit.get(stage.duration.unit, 1 / stage.batch_size)


def _evaluations(stage: Stage, steps: float, n_rows: int) -> int:
    """How often the stage is evaluated: every so many steps, and after the last one."""
    every = max(stage.eval_every.steps(full_batches(n_rows, stage.batch_size), stage.batch_size), 1)
    return math.ceil(max(round(steps), 1) / every)


def _statistics(stage: Stage, n_rows: int) -> int:
    """Images that give batch-norm statistics to averaged weights, each time (``StageJob.bn_loader``)."""
    assert stage.ema is not None
    batch = view_batch(stage)
    return min(stage.ema.bn_batches, full_batches(n_rows, batch)) * min(batch, n_rows)


def _measured(stages: Sequence[Stage], n_rows: int) -> Iterator[int]:
    """For each stage the passes before its training: its measuring, and frozen parts that nobody has kept yet."""
    kept: set[tuple[str, str, int]] = set()
    frozen = {"features": "", "front": ""}  # what computes each: changed by the stages that train it
    before: Stage | None = None

    def asked(output: str, whose: str, views: int) -> int:
        new = {(output, whose, view) for view in range(views)} - kept
        kept.update(new)
        return n_rows * len(new)

    for stage in stages:
        if stage.start != "previous":
            frozen = dict.fromkeys(frozen, stage.start)
        made = 0
        if measures(stage) and not measures_kept(stage, before):
            made += n_rows * getattr(stage.measure, "views", 1)
        elif measures(stage):
            whose = frozen["features"] if stage.measure.network == "previous" else stage.measure.network
            made += asked("features", whose, 1)
        if stage.train != "all":
            output = "features" if stage.train == "classifier" else "front"
            made += asked(output, frozen[output], stage.views)
        changed = {"all": ("features", "front"), "top": ("features",), "classifier": ()}[stage.train]
        frozen.update(dict.fromkeys(changed, f"stage {stage.name}"))
        before = stage
        yield made


def equal_factor(made: Callable[[float], Sequence[Stage]], cost: float, n_rows: int) -> float:
    """The factor of durations at which the stages ``made(factor)`` cost ``cost`` training images, as nearly as it goes.

    What is spent beside the training (measuring, batch-norm statistics) does not grow with the durations, or in jumps,
    so that the factor is approached: a few times the training gets what the rest leaves of the cost.
    """
    factor = 1.0
    for _ in range(20):
        now = predicted(made(factor), n_rows).training_images
        training = training_images(made(factor), n_rows)
        if training <= 0 or math.isclose(now, cost, rel_tol=1e-9):
            break
        factor *= max(1 + (cost - now) / training, 0.01)
    return factor


def training_images(stages: Sequence[Stage], n_rows: int) -> float:
    """The part of the predicted cost that the durations decide."""
    images = (passes_per_image(s) * (_steps(s, n_rows) * min(s.batch_size, n_rows)) for s in stages)
    return sum(passes.training_images for passes in images)


# --- compared


def unequal(costs: Mapping[str, float]) -> str:
    """What is wrong with a comparison of methods of these costs, in one line; "" where they are equal enough."""
    if not costs:
        return ""
    least, most = min(costs, key=lambda name: costs[name]), max(costs, key=lambda name: costs[name])
    if costs[most] <= (1 + MOST) * costs[least]:
        return ""
    return (
        f"{most} costs {costs[most]:,.0f} training images and {least} {costs[least]:,.0f}: more than {MOST:.0%} apart, "
        "so they cannot be compared"
    )


def check_equal(costs: Mapping[str, float]) -> None:
    """Raise InputError where methods cannot be compared."""
    if said := unequal(costs):
        raise InputError(f"--methods: {said}; leave one of them out")
