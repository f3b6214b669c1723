"""What a step minimises: targets, mixing, gate, the loss and its terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F

from urnet.baselines.gated import open_rows
from urnet.config.stage import Stage
from urnet.nn.losses import Weight, bag_loss, soft_targets, sparse_targets
from urnet.nn.mixup import Mixup
from urnet.nn.robust_losses import Held, early_learning, early_learning_mixed, weighted_loss
from urnet.nn.sparse_noise import Noise, NoiseSlope, sparse_noise_loss
from urnet.training.pair_objective import PairInput
from urnet.training.sender import Sender


@dataclass(frozen=True)
class StepInput:
    """The data of one step, on the host. A weight is 0 where the image could not be read."""

    images: np.ndarray  # uint8 (B, S, S, 3); of several views (B, V, S, S, 3)
    labels: np.ndarray  # int (B,)
    weight: np.ndarray  # float32 (B,), >= 0
    mixup: Mixup | None = None
    targets: tuple[np.ndarray, np.ndarray] | None = None  # soft ones: classes and probabilities (B, k)
    memory: tuple[Any, Any] | None = None  # early learning: classes and values (B, k), arrays or int64, float32 tensors
    taught: tuple[paddle.Tensor, paddle.Tensor] | None = None  # the memory, where a teacher has moved it already
    noise: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None  # SOP: u (B,), classes and v (B, k)
    gate: float | None = None  # rows whose top-1 probability is below it pass no gradient
    certain: np.ndarray | None = None  # bool (B,): labels that a person decided; None: none
    pair: PairInput | None = None  # of a stage of two networks
    total: Weight | None = None  # Σ w over all processes' rows; None: these are all
    send: Sender = field(default_factory=Sender)  # to the device


@dataclass
class RowNotes:
    """What a step found out about its rows, on the device; None where the stage does not ask."""

    attention: paddle.Tensor | None = None  # float32 (B,), 1 summed over a bag
    opened: paddle.Tensor | None = None  # float32 (B,): 1 for the rows that the gate let through, else 0
    memory_classes: paddle.Tensor | None = None  # int64 (B, k): what the early-learning memory becomes
    memory_values: paddle.Tensor | None = None  # float32 (B, k)
    noise_slope: NoiseSlope | None = None  # what SOP's variables move by

    @staticmethod
    def joined(parts: Sequence[RowNotes]) -> RowNotes:
        """The notes of micro-batches, as those of all their rows."""
        names = ("attention", "opened", "memory_classes", "memory_values")
        joined = RowNotes(*(_concatenated([getattr(part, name) for part in parts]) for name in names))
        slopes = [part.noise_slope for part in parts if part.noise_slope is not None]
        if slopes:
            joined.noise_slope = NoiseSlope.joined(slopes)
        return joined


def _concatenated(parts: list[Any]) -> paddle.Tensor | None:
    return parts[0] if len(parts) == 1 or parts[0] is None else paddle.concat(parts)


def loss_of(
    stage: Stage, output: Any, data: StepInput, part: slice, total: Weight, auxiliary_weight: float = 0.0
) -> tuple[paddle.Tensor, RowNotes]:
    """The part's share of the step's loss, a scalar, and the notes on the part's rows.

    ``output``: logits (b, C), or those and the logits of an auxiliary head, whose loss counts
    ``auxiliary_weight``. ``total``: Σ w over the step.
    """
    logits, auxiliary = output if isinstance(output, (tuple, list)) else (output, None)
    notes, targets = RowNotes(), None
    if stage.bags is None or auxiliary is not None:
        targets = mixed_targets(data, part, logits.shape[1], stage.label_smoothing)
    if data.gate is not None:
        notes.opened = _opened(stage, logits, data, part)
        targets = targets * notes.opened.unsqueeze(1)
    if stage.bags is not None:
        loss, notes.attention = _loss_of_bags(stage, logits, data, part, total)
    elif stage.sop is not None:
        loss, notes.noise_slope = _loss_beside_noise(logits, data, part, total)
    else:
        loss = weighted_loss(logits, targets, total, stage.loss)
    if stage.elr is not None:
        term, notes.memory_classes, notes.memory_values = _early_term(stage, logits, data, part, total)
        loss = loss + stage.elr.weight * term
    if auxiliary is not None:
        loss = loss + auxiliary_weight * weighted_loss(auxiliary, targets, total, stage.loss)
    return loss, notes


def _loss_of_bags(
    stage: Stage, logits: Any, data: StepInput, part: slice, total: Weight
) -> tuple[paddle.Tensor, paddle.Tensor]:
    assert stage.bags is not None
    return bag_loss(
        logits,
        data.send.rows(data.labels, part, np.int64),
        data.send.rows(data.weight, part),
        total,
        size=stage.bags.size,
        temperature=stage.bags.temperature,
        bag_term=stage.bags.bag_term,
        instance_term=stage.bags.instance_term,
        label_smoothing=stage.label_smoothing,
    )


def _loss_beside_noise(logits: Any, data: StepInput, part: slice, total: Weight) -> tuple[paddle.Tensor, NoiseSlope]:
    assert data.noise is not None
    u, classes, v = data.noise
    certain = None if data.certain is None else data.send.rows(data.certain, part)
    noise = Noise(data.send.rows(u, part), data.send.rows(classes, part, np.int64), data.send.rows(v, part))
    labels, weight = data.send.rows(data.labels, part, np.int64), data.send.rows(data.weight, part)
    return sparse_noise_loss(logits, labels, weight, total, noise, certain)


def _opened(stage: Stage, logits: Any, data: StepInput, part: slice) -> paddle.Tensor:
    """(b,) float32: 1 for the rows that the gate lets through, all certain ones among them, 0 for the others."""
    assert stage.gate is not None and data.gate is not None
    p = F.softmax(logits.detach().astype("float32"), axis=-1)
    agrees = None
    if stage.gate.agree:
        agrees = p.argmax(axis=1) == data.send.rows(data.labels, part, np.int64)
    opened = open_rows(p.max(axis=1), data.gate, agrees)
    if data.certain is not None:  # whatever the network thinks of them
        opened = opened | data.send.rows(data.certain, part)
    return opened.astype("float32")


def _early_term(
    stage: Stage, logits: Any, data: StepInput, part: slice, total: Weight
) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
    assert stage.elr is not None and data.memory is not None
    if data.taught is not None:
        classes, values = (tensor[part] for tensor in data.taught)
        return early_learning_mixed(logits, total, _held_back(data, part)), classes, values
    memory = memory_of(data, part)
    return early_learning(logits, _uncertain_weight(data, part), total, memory, momentum=stage.elr.momentum)


def memory_of(data: StepInput, part: slice) -> tuple[paddle.Tensor, paddle.Tensor]:
    """What early learning remembers of the part's rows, on the device: classes (b, k) int64, values (b, k) float32."""
    assert data.memory is not None
    classes, values = data.memory
    return data.send.rows(classes, part, np.int64), data.send.rows(values, part, np.float32)


def _held_back(data: StepInput, part: slice) -> list[Held]:
    """The rows that went into the part's images: their weights and what a teacher remembers of them."""
    shares: list[tuple[float, Any]] = [(1.0, part)]
    if data.mixup is not None:
        shares = [(data.mixup.lam, part), (1 - data.mixup.lam, _partners(data, part))]
    assert data.taught is not None
    held = []
    for share, rows in shares:
        classes, values = (data.send.rows(tensor, rows) for tensor in data.taught)
        held.append((share * _uncertain_weight(data, rows), classes, values))
    return held


def _uncertain_weight(data: StepInput, rows: Any) -> paddle.Tensor:
    """Weights without those of the certain rows, which need no holding back."""
    weight = data.send.rows(data.weight, rows)
    return weight if data.certain is None else weight * (~data.send.rows(data.certain, rows)).astype(weight.dtype)


def _partners(data: StepInput, part: slice) -> paddle.Tensor:
    """Which rows of the step the part's are mixed with, int64 (b,), on the device."""
    assert data.mixup is not None
    return data.send.rows(data.mixup.partner, part)


def mixed_images(data: StepInput, part: slice) -> paddle.Tensor:
    """The part's images on the device, mixed with their partners where there is mixup."""
    images = data.send.rows(data.images, part)
    if data.mixup is None:
        return images
    return data.mixup.mix(images, data.send.rows(data.images, _partners(data, part)))


def mixed_targets(data: StepInput, part: slice, n_classes: int, smoothing: float) -> paddle.Tensor:
    """The part's weighted targets w_i t_i (b, n_classes), mixed like the images."""

    def weighted(rows: Any) -> paddle.Tensor:
        weight = data.send.rows(data.weight, rows).unsqueeze(1)
        return targets_of(data, rows, n_classes, smoothing) * weight

    if data.mixup is None:
        return weighted(part)
    return data.mixup.mix(weighted(part), weighted(_partners(data, part)))


def targets_of(data: StepInput, rows: Any, n_classes: int, smoothing: float) -> paddle.Tensor:
    """Target distributions (b, n_classes) of some rows of the step, a slice or int64 (b,) on the device: soft ones, or
    the labels."""
    if data.targets is None:
        return soft_targets(data.send.rows(data.labels, rows, np.int64), n_classes, smoothing)
    index, prob = data.targets
    index, prob = data.send.rows(index, rows, np.int64), data.send.rows(prob, rows, np.float32)
    return sparse_targets(index, prob, n_classes, smoothing)
