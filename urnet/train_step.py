"""Level 3: one update of the weights: what it changes, and the step itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Optional

import numpy as np
import paddle

from urnet.ema import Ema
from urnet.normalise import Normalise
from urnet.optimizer import load_optimizer, make_optimizer, optimizer_arrays, trainable
from urnet.recipe import Stage, Transform
from urnet.update_loss import Notes, Update, loss_of, mixed_images


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
        self.notes = Notes()  # on the rows of the last update
        self._parameters = list(trainable(network).values())

    def autocast(self) -> Any:
        """The context in which the network runs in the chosen number format."""
        if self.amp is None:
            return contextlib.nullcontext()
        return paddle.amp.auto_cast(dtype=self.amp, level="O1")

    @paddle.no_grad()
    def scale_gradients(self, weight: np.ndarray, opened: Any) -> paddle.Tensor:
        """Divide by the weight of the ``opened`` rows (B,) instead of all rows' ``weight`` (B,); the factor.

        Which rows are open is known only when every micro-batch has been seen. Without any, all stays 0.
        """
        kept = (paddle.to_tensor(weight) * opened).sum()
        factor = float(weight.sum(dtype=np.float64)) / paddle.where(kept > 0, kept, paddle.ones([]))
        for parameter in self._parameters:
            if parameter.grad is not None:
                parameter.grad.multiply_(factor.astype(parameter.grad.dtype))
        return factor

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

    The gradient is that of Σ w l / Σ w over the whole update, summed over its micro-batches; with a gate both
    sums are over the rows that it lets through.
    """
    learner.model.train()
    stage, notes = learner.stage, Notes()
    total, loss = float(update.weight.sum(dtype=np.float64)), paddle.zeros([])
    auxiliary_weight = getattr(learner.network, "auxiliary_weight", 0.0)
    for part in micro_batches(len(update.labels), stage.accumulate, stage.bags.size if stage.bags else 1):
        with learner.autocast():
            output = learner.model(mixed_images(update, part))
        part_loss = loss_of(stage, output, update, part, total, notes, auxiliary_weight)
        learner.scaler.scale(part_loss).backward()
        loss = loss + part_loss.detach()
    if update.gate is not None:
        loss = loss * learner.scale_gradients(update.weight, notes.get("open"))
    learner.apply_gradients(lr)
    if learner.ema is not None:
        learner.ema.update(step + 1)
    learner.notes = notes
    return loss


def micro_batches(n_rows: int, parts: int, unit: int = 1) -> Iterator[slice]:
    """Cut ``n_rows`` into at most ``parts`` slices of equal length (the last may be shorter), never inside a
    group of ``unit`` rows."""
    size = -(-n_rows // (parts * unit)) * unit
    return (slice(start, min(start + size, n_rows)) for start in range(0, n_rows, size))
