"""What methods cost, in image passes: predicted from their stages, so that durations can be fitted, and as counted.

One unit for both: the training images of ``Passes.training_images``, (F + 2 B) / 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from urnet.config.stage import Stage
from urnet.core.checks import InputError
from urnet.data.sampling.sampler import full_batches
from urnet.pipeline.fingerprints import measures_kept
from urnet.pipeline.registry import measures
from urnet.training.passes import Passes, passes_per_image, read_passes, view_batch

MOST = 0.05  # by which the costs of methods that are compared may differ


# --- predicted


def predicted(stages: Sequence[Stage], n_rows: int) -> Passes:
    """The passes of a run of these ``stages`` on ``n_rows`` training images, before it has run.

    Exact but for images that cannot be read, rows that are never drawn, an epoch of bags with rows left over, and
    activations that earlier runs kept; what frozen parts of the known weights that it starts from compute is shared by
    all runs (``tools.ablation.kept``) and costs none. Steps are not rounded to whole ones.
    """
    total = Passes()
    for stage, made in zip(stages, _measured(stages, n_rows), strict=True):
        total += passes_per_image(stage, n_rows) * _shown(stage, n_rows) + Passes(forward=made)
        if stage.ema is not None and stage.train == "all":
            total += Passes(forward=_statistics(stage, n_rows))
    return total


def _shown(stage: Stage, n_rows: int) -> float:
    """Images that the stage's steps show."""
    a_unit = {"epochs": full_batches(n_rows, stage.batch_size), "steps": 1.0}
    steps = stage.duration.amount * a_unit.get(stage.duration.unit, 1 / stage.batch_size)
    return steps * min(stage.batch_size, n_rows)


def _statistics(stage: Stage, n_rows: int) -> int:
    """Images that give batch-norm statistics to the averaged weights at the end (``StageJob.bn_loader``)."""
    assert stage.ema is not None
    batch = view_batch(stage)
    images = min(stage.ema.bn_batches, full_batches(n_rows, batch)) * min(batch, n_rows)
    return 2 * images if stage.pair else images


def _measured(stages: Sequence[Stage], n_rows: int) -> Iterator[int]:
    """For each stage the passes before its training: its measuring, and frozen parts that nobody has kept yet."""
    kept: set[tuple[str, str, int]] = set()
    frozen = {"features": "", "front": ""}  # what computes each: changed by the stages that train it
    before: Stage | None = None
    shared = {stage.start for stage in stages[:1]} - {"previous", "scratch"}

    def asked(output: str, whose: str, views: int) -> int:
        if whose in shared:
            return 0
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


def equal_factor(stages: Sequence[Stage], cost: float, n_rows: int, before: Sequence[Stage] = ()) -> float:
    """What all durations of ``stages`` are multiplied with, so that they cost ``cost`` training images.

    ``before``: stages of the same run before them, which cost what they cost.

    The training gets what the rest (measuring, batch-norm statistics), which has no duration, leaves; at least a
    hundredth of its length.
    """
    passes = (passes_per_image(stage, n_rows) * _shown(stage, n_rows) for stage in stages)
    training = sum(made.training_images for made in passes)
    earlier = predicted(before, n_rows).training_images
    rest = predicted([*before, *stages], n_rows).training_images - earlier - training
    return max((cost - rest) / training, 0.01)


# --- counted


def total_passes(states: Sequence[Mapping[str, Any]]) -> Passes | None:
    """What stages counted, from their state.json, together; None where one did not count."""
    counted = [read_passes(state) for state in states]
    return None if None in counted else sum(filter(None, counted), Passes())


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
