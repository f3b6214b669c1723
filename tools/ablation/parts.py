"""A ladder that trains one part of the network after the other, as from ImageNet's weights: what is compared with it.

Its parts are the runs of neighbouring stages with the same ``train`` and ``views``: the classifier on frozen features,
say, and then the last part of the network. Every method trains the same parts, one after the other, each for what it
costs the ladder. In the first part it has its own stages; in each later one a single stage, the ladder's own without
its remedies and with those of the method's last stage: losses, mixing, targets and weights, of columns that it has.

Where the ladder starts from known weights, how fast is learned is the ladder's in every part (ours): batches,
optimiser, averaging, and rates, which keep their proportions to a method's highest. Those in a baseline's recipe are
made for random weights.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

from tools.ablation.cost import equal_factor, predicted
from urnet.config.stage import Stage

Stages = tuple[Stage, ...]
REMEDIES = (  # of a method's last stage, which it keeps in the ladder's later parts
    *("loss_weight", "sampling_weight", "balance", "targets", "subsets", "gate", "loss", "elr", "sop"),
    *("label_smoothing", "mixup"),
)
PACE = ("batch_size", "accumulate", "amp", "eval_every", "checkpoint_every", "log_every", "keep")


def parts_of(stages: Sequence[Stage]) -> tuple[Stages, ...]:
    """The parts of a ladder; one where all its stages train the same."""
    return tuple(tuple(part) for _, part in itertools.groupby(stages, lambda stage: (stage.train, stage.views)))


def names_of(own: Sequence[str], stages: Sequence[Stage]) -> list[str]:
    """The names of a method's stages: its ``own`` in the first part, that of each later part's first one after them."""
    names = list(own)
    for first, *_ in parts_of(stages)[1:]:
        names.append(first.name if first.name not in names else f"{first.name}_{first.train}")
    return names


def paced(own: Sequence[Stage], ladder: Stage) -> Stages:
    """Stages made for random weights, at the pace of a ``ladder``'s first stage, which starts from known ones."""
    highest = max(stage.schedule.lr for stage in own)

    def slower(stage: Stage) -> Stage:
        share = ladder.schedule.lr / highest
        schedule = replace(stage.schedule, lr=stage.schedule.lr * share, final_lr=stage.schedule.final_lr * share)
        times = ladder.optimizer.classifier_lr * stage.optimizer.classifier_lr
        return replace(
            stage,
            schedule=schedule,
            optimizer=replace(ladder.optimizer, classifier_lr=times),
            ema=ladder.ema or stage.ema,
            **{key: getattr(ladder, key) for key in PACE},
        )

    return tuple(map(slower, own))


def with_remedies(plain: Stage, last: Stage) -> Stage:
    """A later part's ``plain`` stage with the remedies of a method's ``last`` own one; a gate falls over all of it."""
    gate = last.gate and replace(last.gate, until=None)
    return replace(plain, **{**{key: getattr(last, key) for key in REMEDIES}, "gate": gate})


def fitted(
    parts: Sequence[Stages], own: Sequence[Stages], n_rows: int, stretched: Callable[[Stage, float], Stage]
) -> Stages:
    """All stages of a method, ``own`` being those of each part, their durations such that every part costs the same as
    the ladder's. ``stretched(stage, factor)`` is the stage that lasts ``factor`` times as long."""
    ladder: Stages = ()
    made: Stages = ()
    for part, stages in zip(parts, own, strict=True):
        cost = predicted((*ladder, *part), n_rows).training_images - predicted(ladder, n_rows).training_images
        factor = equal_factor(stages, cost, n_rows, before=made)
        ladder, made = (*ladder, *part), (*made, *(stretched(stage, factor) for stage in stages))
    return made
