"""The keys of other methods than URNet's against wrong labels: curricula, gates, robust losses, two networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from urnet.config.duration import Duration
from urnet.config.fields import REQUIRED, key


def _parts(parts: Sequence[int]) -> bool:
    return 0 < len(parts) <= 127 and all(part >= 1 for part in parts)


def _positive(numbers: Sequence[float]) -> bool:
    return all(0 < number < math.inf for number in numbers)


@dataclass(frozen=True)
class Subsets:
    """Mini-batches composed of a curriculum's subsets (``urnet.data.sampling.curriculum_sampler``)."""

    parts: tuple[int, ...] = key(
        REQUIRED,
        "proportions of subset 0, 1 … in a batch, up to the curriculum's number of subsets; each micro-batch has at "
        "least one row of every part",
        accepts=_parts,
        words="a number of 1 or more for each subset",
    )
    loss_weight: tuple[float, ...] = key(
        REQUIRED,
        "factor on the loss weight of each subset's rows",
        accepts=_positive,
        words="a number above 0 for each part",
    )
    column: str = key(
        "subset",
        "column that says which subset a row is in",
        words="subset, with the curriculum's suffix if it has one",
    )


@dataclass(frozen=True)
class Gate:
    """Gated back-propagation (``urnet.baselines.gated``): rows under the threshold pass no gradient."""

    threshold: float = key(REQUIRED, "threshold on the top-1 probability at the start", above=0, high=1)
    schedule: Literal["linear", "step"] = key("linear", "how the threshold falls")
    until: Duration | None = key(
        None, "when the threshold reaches 0, a time up to the duration; null: at the end of the stage", above=0
    )
    levels: int = key(4, "step only: number of equal levels on the way down", low=1)
    agree: bool = key(
        False, "while the threshold is above 0 the likeliest class must also be the row's label; only with given labels"
    )


@dataclass(frozen=True)
class Loss:
    """The loss of a row (``urnet.nn.robust_losses``)."""

    name: Literal["cross_entropy", "generalised", "symmetric"] = key("cross_entropy", "the loss of a row")
    q: float = key(
        0.7,
        "generalised only: (1 - p^q) / q; 1 is the absolute error, towards 0 it approaches cross entropy",
        low=0.001,
        high=1,
    )
    alpha: float = key(0.1, "symmetric only: weight of the cross entropy", low=0, high=1000)
    beta: float = key(1.0, "symmetric: weight of the reverse cross entropy; not both may be 0", low=0, high=1000)
    log_zero: float = key(-4.0, "symmetric: the value used for the logarithm of 0", low=-50, high=-0.001)


@dataclass(frozen=True)
class Elr:
    """Early-learning regularisation (``urnet.nn.robust_losses``), its memory cut to the ``top_k`` classes."""

    weight: float = key(3.0, "weight of the term", above=0, high=1000)
    momentum: float = key(0.7, "momentum of each row's memory", low=0, high=0.9999)
    top_k: int = key(10, "number of classes kept in a row's memory, 6 bytes each", low=1, high=32767)
    teacher: Literal["network", "average"] = key(
        "network",
        "whose predictions the memory keeps: those of the network in the training pass, or, with one more pass, those "
        "of averaged weights (`ema`) on images that are not mixed",
        added=True,
    )


@dataclass(frozen=True)
class Sop:
    """Sparse over-parameterisation (``urnet.nn.sparse_noise``): variables u and v of each row fit its label's noise."""

    lr_u: float = key(
        10.0, "learning rate of u, which fits the noise at the label by plain gradient steps", low=0, high=1e6
    )
    lr_v: float = key(10.0, "learning rate of v, which fits the noise at the other classes", low=0, high=1e6)
    top_k: int = key(10, "number of classes of a row whose v is kept, 8 bytes each", low=1, high=32767)


@dataclass(frozen=True)
class CoTeaching:
    """Co-teaching: two networks, each of which learns from the rows that the other finds easy
    (``urnet.nn.pair_losses``)."""

    forget_rate: float = key(
        REQUIRED, "share of each micro-batch to leave out; take about the share of wrong labels", low=0, below=1
    )
    ramp: Duration = key(Duration(10, "epochs"), "the share rises linearly from 0 during this time")


@dataclass(frozen=True)
class DivideMix:
    """DivideMix: two networks, each of which divides the rows for the other (``urnet.training.pair_training``)."""

    warmup: Duration = key(
        Duration(10, "epochs"),
        "both networks first learn from all labels alike; after this time rows are divided before every epoch",
        words="a length shorter than the duration",
    )
    threshold: float = key(
        0.5, "labels are not used unless their probability of being right is above this", low=0, below=1
    )
    temperature: float = key(0.5, "temperature of the targets; below 1 they are sharpened", above=0, high=1)
    alpha: float = key(4.0, "alpha of the Beta distribution for mixing rows", above=0, high=1000)
    unlabelled_weight: float = key(25.0, "weight of the loss of rows without a label", low=0, high=1e6)
    ramp: Duration = key(Duration(16, "epochs"), "that weight rises linearly from 0 during this time after the warm-up")
    views: int = key(2, "number of random views of each row in a step", low=1, high=16)
    entropy: float = key(
        0.0,
        "weight of the warm-up's term Σ p log p; the paper uses 1 for noise among similar classes",
        low=0,
        high=1000,
    )
