"""Level 3: one update of the weights: what it needs, what it changes, and the step itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
import paddle

from urnet.ema import Ema
from urnet.losses import Mixup, bag_loss, soft_targets, sparse_targets, weighted_cross_entropy
from urnet.normalise import Normalise
from urnet.optimizer import load_optimizer, make_optimizer, optimizer_arrays, trainable
from urnet.recipe import Stage, Transform


@dataclass(frozen=True)
class Update:
    """The data of one update, on the host. A weight is 0 where the image could not be read."""

    images: np.ndarray  # uint8 (B, S, S, 3)
    labels: np.ndarray  # int (B,)
    weight: np.ndarray  # float32 (B,), >= 0
    mixup: Optional[Mixup] = None
    targets: Optional[tuple[np.ndarray, np.ndarray]] = None  # soft ones: classes and probabilities (B, k)


class Learner:
    """All that training changes: network, optimiser, loss scaling and moving average.

    ``network`` is the bare one; ``model`` is the same behind the normalisation of uint8 images. ``amp`` is
    None, "float16" or "bfloat16".
    """

    def __init__(self, network: Any, stage: Stage, transform: Transform, amp: Optional[str] = None) -> None:
        self.network, self.stage, self.amp = network, stage, amp
        self.model = Normalise(network, transform.mean, transform.std)
        self.optimizer = make_optimizer(network, stage.optimizer)
        self.scaler = paddle.amp.GradScaler(enable=amp == "float16", init_loss_scaling=2.0**15)
        self.ema = Ema(network, stage.ema.decay) if stage.ema else None
        self.attention: Optional[Any] = None  # (B,) of the last update's rows, where the stage has bags
        self._parameters = list(trainable(network).values())

    def autocast(self) -> Any:
        """The context in which the network runs in the chosen number format."""
        if self.amp is None:
            return contextlib.nullcontext()
        return paddle.amp.auto_cast(dtype=self.amp, level="O1")

    def apply_gradients(self, lr: float) -> None:
        """Unscale and clip the gradients, move the weights, forget the gradients."""
        self.optimizer.set_lr(lr)
        if self.stage.optimizer.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            paddle.nn.utils.clip_grad_norm_(self._parameters, self.stage.optimizer.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.clear_grad(set_to_zero=False)

    def weights(self) -> dict[str, np.ndarray]:
        """The network's weights and buffers as they are now, by state-dict key."""
        return {name: value.numpy() for name, value in self.network.state_dict().items()}

    def state(self) -> dict[str, Any]:
        """What ``checkpoint.save`` keeps beside the weights: optimizer, extra, and scaler for state.json."""
        scaler = {key: np.asarray(value).tolist() for key, value in self.scaler.state_dict().items()}
        return {
            "optimizer": optimizer_arrays(self.optimizer, self.network),
            "extra": {"ema": self.ema.weights()} if self.ema else {},
            "scaler": scaler,
        }

    def load_state(self, optimizer: dict, extra: dict, scaler: dict) -> None:
        """Take up what ``state`` returned (the weights are the caller's)."""
        load_optimizer(self.optimizer, self.network, optimizer)
        if self.ema is not None:
            self.ema.load(extra.get("ema", {}))
        if scaler:
            self.scaler.load_state_dict({**scaler, "scale": np.array(scaler["scale"], np.float32)})


def train_step(learner: Learner, update: Update, lr: float, step: int) -> paddle.Tensor:
    """Update ``step`` (from 0) of the weights; returns the loss, a scalar on the device.

    The gradient is that of Σ w l / Σ w over the whole update, summed over its micro-batches.
    """
    learner.model.train()
    learner.attention = None
    total, loss = float(update.weight.sum(dtype=np.float64)), paddle.zeros([])
    bags = learner.stage.bags
    for part in micro_batches(len(update.labels), learner.stage.accumulate, bags.size if bags else 1):
        with learner.autocast():
            logits = learner.model(mixed_images(update, part))
        part_loss = loss_of(learner, logits, update, part, total)
        learner.scaler.scale(part_loss).backward()
        loss = loss + part_loss.detach()
    learner.apply_gradients(lr)
    if learner.ema is not None:
        learner.ema.update(step + 1)
    return loss


def loss_of(learner: Learner, logits: Any, update: Update, part: slice, total: float) -> paddle.Tensor:
    """The part's share of the update's loss: cross-entropy, or that of bags, whose attention is noted."""
    stage = learner.stage
    if stage.bags is None:
        targets = mixed_targets(update, part, logits.shape[1], stage.label_smoothing)
        return weighted_cross_entropy(logits, targets, total)
    labels = paddle.to_tensor(update.labels[part].astype(np.int64))
    loss, attention = bag_loss(
        logits, labels, paddle.to_tensor(update.weight[part]), total, size=stage.bags.size,
        temperature=stage.bags.temperature, bag_term=stage.bags.bag_term,
        instance_term=stage.bags.instance_term, label_smoothing=stage.label_smoothing,
    )  # fmt: skip
    known = learner.attention
    learner.attention = attention if known is None else paddle.concat([known, attention])
    return loss


def micro_batches(n_rows: int, parts: int, unit: int = 1) -> Iterator[slice]:
    """Cut ``n_rows`` into at most ``parts`` slices of equal length (the last may be shorter), never inside a
    group of ``unit`` rows."""
    size = -(-n_rows // (parts * unit)) * unit
    return (slice(start, min(start + size, n_rows)) for start in range(0, n_rows, size))


def mixed_images(update: Update, part: slice) -> paddle.Tensor:
    """The part's images on the device, mixed with their partners where there is mixup."""
    images = paddle.to_tensor(update.images[part])
    if update.mixup is None:
        return images
    return update.mixup.mix(images, paddle.to_tensor(update.images[update.mixup.partner[part]]))


def mixed_targets(update: Update, part: slice, n_classes: int, smoothing: float) -> paddle.Tensor:
    """The part's weighted targets w_i t_i (b, n_classes), mixed like the images."""

    def weighted(rows: Any) -> paddle.Tensor:
        weight = paddle.to_tensor(update.weight[rows]).unsqueeze(1)
        return targets_of(update, rows, n_classes, smoothing) * weight

    if update.mixup is None:
        return weighted(part)
    return update.mixup.mix(weighted(part), weighted(update.mixup.partner[part]))


def targets_of(update: Update, rows: Any, n_classes: int, smoothing: float) -> paddle.Tensor:
    """Target distributions (b, n_classes) of some rows of the update: soft ones, or the labels."""
    if update.targets is None:
        labels = paddle.to_tensor(update.labels[rows].astype(np.int64))
        return soft_targets(labels, n_classes, smoothing)
    index, prob = (array[rows] for array in update.targets)
    return sparse_targets(
        paddle.to_tensor(index.astype(np.int64)), paddle.to_tensor(prob.astype(np.float32)), n_classes,
        smoothing,
    )  # fmt: skip
