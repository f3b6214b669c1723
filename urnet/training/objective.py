"""What an update minimises: targets, mixing, gate, the loss and its terms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F

from urnet.baselines.gated import open_rows
from urnet.config.recipe import Stage
from urnet.nn.losses import Mixup, Weight, bag_loss, soft_targets, sparse_targets
from urnet.nn.robust_losses import early_learning, weighted_loss
from urnet.runtime.host_to_device import to_tensor


@dataclass(frozen=True)
class Update:
    """The data of one update, on the host. A weight is 0 where the image could not be read."""

    images: np.ndarray  # uint8 (B, S, S, 3)
    labels: np.ndarray  # int (B,)
    weight: np.ndarray  # float32 (B,), >= 0
    mixup: Mixup | None = None
    targets: tuple[np.ndarray, np.ndarray] | None = None  # soft ones: classes and probabilities (B, k)
    memory: tuple[np.ndarray, np.ndarray] | None = None  # early learning: classes and values (B, k)
    gate: float | None = None  # rows whose top-1 probability is below it pass no gradient
    total: Weight | None = None  # Σ w over all processes' rows; None: these are all
    send: Callable[[np.ndarray], Any] = to_tensor  # to the device


class Notes:
    """What an update leaves behind about its rows: tensors (B, …) by name, micro-batch after micro-batch."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Any]] = {}

    def add(self, name: str, value: Any) -> None:
        """The next micro-batch's ``value``."""
        self._parts.setdefault(name, []).append(value)

    def get(self, name: str) -> Any | None:
        """All of the update's rows; None where nothing was noted."""
        parts = self._parts.get(name)
        if parts is None or len(parts) == 1:
            return parts[0] if parts else None
        return paddle.concat(parts)


def loss_of(
    stage: Stage, output: Any, update: Update, part: slice, total: Weight, notes: Notes, auxiliary_weight: float = 0.0
) -> paddle.Tensor:
    """The part's share of the update's loss. Noted: "attention" of bags, "open" of a gate, "classes" and
    "values" of the early-learning memory.

    ``output``: logits (b, C), or those and the logits of an auxiliary head, whose loss counts
    ``auxiliary_weight``. ``total``: Σ w over the update.
    """
    logits, auxiliary = output if isinstance(output, (tuple, list)) else (output, None)
    targets = None
    if stage.bags is None or auxiliary is not None:
        targets = mixed_targets(update, part, logits.shape[1], stage.label_smoothing)
    if update.gate is not None:
        targets = targets * _opened(stage, logits, update, part, notes).unsqueeze(1)
    if stage.bags is None:
        loss = weighted_loss(logits, targets, total, stage.loss)
    else:
        loss = _loss_of_bags(stage, logits, update, part, total, notes)
    if stage.elr is not None:
        loss = loss + _held_early(stage, logits, update, part, total, notes)
    if auxiliary is not None:
        loss = loss + auxiliary_weight * weighted_loss(auxiliary, targets, total, stage.loss)
    return loss


def _loss_of_bags(stage: Stage, logits: Any, update: Update, part: slice, total: Weight, notes: Notes) -> paddle.Tensor:
    assert stage.bags is not None
    labels = update.send(update.labels[part].astype(np.int64))
    loss, attention = bag_loss(
        logits,
        labels,
        update.send(update.weight[part]),
        total,
        size=stage.bags.size,
        temperature=stage.bags.temperature,
        bag_term=stage.bags.bag_term,
        instance_term=stage.bags.instance_term,
        label_smoothing=stage.label_smoothing,
    )
    notes.add("attention", attention)
    return loss


def _opened(stage: Stage, logits: Any, update: Update, part: slice, notes: Notes) -> paddle.Tensor:
    """(b,) float32: 1 for the rows that the gate lets through, 0 for the others."""
    assert stage.gate is not None and update.gate is not None
    p = F.softmax(logits.detach().astype("float32"), axis=-1)
    agrees = None
    if stage.gate.agree:
        agrees = p.argmax(axis=1) == update.send(update.labels[part].astype(np.int64))
    passed = open_rows(p.max(axis=1), update.gate, agrees).astype("float32")
    notes.add("open", passed)
    return passed


def _held_early(stage: Stage, logits: Any, update: Update, part: slice, total: Weight, notes: Notes) -> paddle.Tensor:
    assert stage.elr is not None and update.memory is not None
    classes, values = (array[part] for array in update.memory)
    memory = update.send(classes.astype(np.int64)), update.send(values.astype(np.float32))
    weight = update.send(update.weight[part])
    term, classes, values = early_learning(logits, weight, total, memory, momentum=stage.elr.momentum)
    notes.add("classes", classes)
    notes.add("values", values)
    return stage.elr.weight * term


def mixed_images(update: Update, part: slice) -> paddle.Tensor:
    """The part's images on the device, mixed with their partners where there is mixup."""
    images = update.send(update.images[part])
    if update.mixup is None:
        return images
    return update.mixup.mix(images, update.send(update.images[update.mixup.partner[part]]))


def mixed_targets(update: Update, part: slice, n_classes: int, smoothing: float) -> paddle.Tensor:
    """The part's weighted targets w_i t_i (b, n_classes), mixed like the images."""

    def weighted(rows: Any) -> paddle.Tensor:
        weight = update.send(update.weight[rows]).unsqueeze(1)
        return targets_of(update, rows, n_classes, smoothing) * weight

    if update.mixup is None:
        return weighted(part)
    return update.mixup.mix(weighted(part), weighted(update.mixup.partner[part]))


def targets_of(update: Update, rows: Any, n_classes: int, smoothing: float) -> paddle.Tensor:
    """Target distributions (b, n_classes) of some rows of the update: soft ones, or the labels."""
    if update.targets is None:
        labels = update.send(update.labels[rows].astype(np.int64))
        return soft_targets(labels, n_classes, smoothing)
    index, prob = (array[rows] for array in update.targets)
    return sparse_targets(
        update.send(index.astype(np.int64)), update.send(prob.astype(np.float32)), n_classes, smoothing
    )
