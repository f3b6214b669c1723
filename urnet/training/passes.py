"""What training costs, counted: how often an image passed a network, forward and backward.

A pass is one image through one network in one view. Counted are the passes of a stage's steps (all networks, all views,
all micro-batches), of the measuring before it, and those that give batch-norm statistics to the averaged weights it
leaves. Not counted is what validation takes, such statistics for weights on the way included, as that decides nothing
and every method could have it as often. A step on activations that are kept counts like one
on images, though only a part of the network computes; what was kept already when a stage asked for it cost it nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from urnet.config.stage import Stage
from urnet.runtime.process_group import SINGLE_PROCESS, ProcessGroup

VIEW_BATCH = 256  # images at once in evaluation; a larger batch is no faster
KEY = "passes"  # in state.json; not in those of older runs, whose passes nobody counted


@dataclass(frozen=True)
class Passes:
    """Image passes: ``forward`` and ``backward`` ones, whole numbers >= 0 (of predictions any)."""

    forward: float = 0
    backward: float = 0

    def __add__(self, other: Passes) -> Passes:
        return Passes(self.forward + other.forward, self.backward + other.backward)

    def __mul__(self, factor: float) -> Passes:
        return Passes(self.forward * factor, self.backward * factor)

    @property
    def training_images(self) -> float:
        """(F + 2 B) / 3: as many images that pass forward and backward once cost the same.

        A backward pass counts as two forward ones: it multiplies as often for the gradient of the activations, and
        again for that of the weights.
        """
        return (self.forward + 2 * self.backward) / 3


def step_passes(stage: Stage, divided: bool = False) -> Passes:
    """What a step of ``stage`` learns from each row by; ``divided``: DivideMix after its warm-up.

    Two networks: each sees it once. Then DivideMix shows each of them every view of it twice, first to guess and then
    mixed.
    """
    if not divided or stage.dividemix is None:
        return Passes(2, 2) if stage.pair else Passes(1, 1)
    return Passes(4 * stage.dividemix.views, 2 * stage.dividemix.views)


def passes_per_image(stage: Stage, n_rows: int) -> Passes:
    """What ``stage`` makes of each image that its sampler draws of ``n_rows``, for predictions.

    DivideMix: as many as its warm-up and the rest together make of it; of the rows that are divided before an epoch one
    pass of both networks for each row drawn after the warm-up, as an epoch draws as many as there are.
    """
    mix = stage.dividemix
    if mix is None:
        taught = stage.elr is not None and stage.elr.teacher == "average"
        return step_passes(stage) + Passes(forward=int(taught))
    images = {"epochs": n_rows, "images": 1, "steps": stage.batch_size}
    warmup, duration = (length.amount * images[length.unit] for length in (mix.warmup, stage.duration))
    share = min(warmup / duration, 1.0)
    return step_passes(stage) * share + (step_passes(stage, True) + Passes(forward=2)) * (1 - share)


def view_batch(stage: Stage) -> int:
    """Images that pass the network at once where nothing is learned: no more than in a micro-batch, whole bags."""
    unit = stage.bags.size if stage.bags else 1
    most = min(stage.batch_size // stage.accumulate, VIEW_BATCH)
    return max(most // unit, 1) * unit


class PassCounter:
    """The passes of one stage, those of all processes of ``group`` together.

    ``before``: those made before its training; None where nobody counted them, then none are counted.
    """

    def __init__(self, before: Passes | None, group: ProcessGroup = SINGLE_PROCESS) -> None:
        self._group = group
        self._start, self._own = before, Passes()

    def add(self, passes: Passes) -> None:
        """Note passes that this process made."""
        self._own += passes

    def state(self) -> dict[str, Any]:
        """What state.json keeps; {} where it is not known. All processes call this."""
        own = self._group.all_sum(np.array([self._own.forward, self._own.backward], np.int64))
        if self._start is None:
            return {}
        total = self._start + Passes(*own.tolist())
        return {KEY: asdict(total)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state`` gave."""
        self._start, self._own = read_passes(state), Passes()


def read_passes(state: Mapping[str, Any]) -> Passes | None:
    """The passes in a stage's state.json; None where they were not counted."""
    return Passes(**state[KEY]) if KEY in state else None
