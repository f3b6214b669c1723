"""The settings of what URNet is measured against, as frozen dataclasses (docs/rivals.md)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from urnet.config.duration import Duration


@dataclass(frozen=True)
class Curriculum:
    """Settings of ``urnet.baselines.curriculumnet``; writes curriculum.arrow."""

    method: Literal["curriculum"] = "curriculum"
    quantile: float = 0.6  # of a class's distances: the radius in which neighbours are counted
    density: Literal["count", "gaussian"] = "count"
    split: Literal["density", "distance"] = "density"  # what is divided: densities, distances to the peak
    n_subsets: int = 3
    pca: int = 256  # features are projected to this width first; 0: they are taken as they are
    delta: bool = False  # also each row's distance to the nearest denser one
    jobs: int = 1  # processes that classes are spread over
    suffix: str = ""


@dataclass(frozen=True)
class Relabel:
    """Settings of ``urnet.baselines.relabel``; writes relabel.arrow."""

    method: Literal["relabel"] = "relabel"
    power: float = 1.0  # image_weight ∝ max(p(given), floor)^power inside a class
    floor: float = 0.02
    drop: float = 0.0  # share of a class's rows, those of the lowest p(given), that get weight 0
    adopt: float = math.inf  # a prediction at least as sure as this becomes the label
    suffix: str = ""


@dataclass(frozen=True)
class Subsets:
    """Mini-batches composed of a curriculum's subsets (``urnet.data.sampling.curriculum_sampler``)."""

    parts: tuple[int, ...]  # a batch's rows from subset 0, 1 …, in proportion
    loss_weight: tuple[float, ...]  # of the rows of subset 0, 1 …
    column: str = "subset"


@dataclass(frozen=True)
class Gate:
    """Gated back-propagation (``urnet.baselines.gated``): rows under the threshold pass no gradient."""

    threshold: float  # of the probability of the top-1 class, at the beginning
    schedule: Literal["linear", "step"] = "linear"
    until: Duration | None = None  # when the threshold is 0; None: at the end of the stage
    levels: int = 4  # step: equal stretches on the way down
    agree: bool = False  # while the threshold is above 0, the top-1 class must be the row's label as well


@dataclass(frozen=True)
class Loss:
    """The loss of a row (``urnet.nn.robust_losses``)."""

    name: Literal["cross_entropy", "generalised", "symmetric"] = "cross_entropy"
    q: float = 0.7  # generalised: 1 is the mean absolute error, towards 0 the cross entropy
    alpha: float = 0.1  # symmetric: of the cross entropy
    beta: float = 1.0  # symmetric: of the reverse cross entropy
    log_zero: float = -4.0  # symmetric: what log 0 counts as


@dataclass(frozen=True)
class Elr:
    """Early-learning regularisation (``urnet.nn.robust_losses``), its memory cut to the ``top_k`` classes."""

    weight: float = 3.0
    momentum: float = 0.7  # of the memory
    top_k: int = 10
