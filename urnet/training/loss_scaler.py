"""Scales the loss of fp16 training, so that small gradients do not become 0, and skips the steps that overflow."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import paddle

from urnet.runtime.device_to_host import Download, Downloads

FIRST_SCALE = 2.0**15
DOUBLE_AFTER = 2000  # good steps in a row
HOPELESS = 50  # steps skipped one after the other: the scale is 2**-35 then, so that scaling is not the reason


class LossScaler:
    """What ``paddle.amp.GradScaler`` does: the scale doubles after 2,000 good steps and halves when a gradient is not
    finite; such a step moves nothing.

    But on the device: Paddle's asks the host whether each step overflowed, which waits for all that was launched. Here
    the optimiser makes its step and the device takes it back where it overflowed. (AdamW keeps two of its numbers on
    the host, which must therefore know: there a step still waits.) Paddle 3.3.1 also prints a line to stdout at every
    overflow, whose text NumPy 2.4 and later refuse to make. HOPELESS skipped steps in a row raise a FloatingPointError
    that begins with ``where``, two steps later: training would end with the weights it began with.

    Without ``enable`` nothing is scaled and nothing read. All processes see the same: the gradients have been
    summed before they are looked at.
    """

    def __init__(self, where: str, downloads: Downloads, *, enable: bool) -> None:
        self._where, self._downloads, self._enable, self.double_after = where, downloads, enable, DOUBLE_AFTER
        self._scale, self._good = paddle.full([1], FIRST_SCALE), paddle.zeros([1], "int32")
        self._bad = paddle.zeros([1], "int32")
        self._found: Any = None  # bool (1,), of the gradients that have been unscaled
        self._late: deque[Download] = deque()
        self._skipped = 0

    def scale(self, loss: paddle.Tensor) -> paddle.Tensor:
        """The loss times the scale."""
        return loss * self._scale if self._enable else loss

    @paddle.no_grad()
    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients by the scale, and look whether they are finite; ``step`` does it where it has to."""
        if self._enable and self._found is None:
            gradients = [p.grad_ for p in _parameters(optimizer) if p.grad_ is not None]
            _, self._found = paddle._C_ops.check_finite_and_unscale_(gradients, self._scale, paddle.zeros([1], "bool"))

    @paddle.no_grad()
    def step(self, optimizer: Any) -> None:
        """The optimiser's step, where the gradients are finite."""
        self.unscale_(optimizer)
        if not self._enable:
            optimizer.step()
        elif not isinstance(optimizer, paddle.optimizer.AdamW):
            self._step_or_take_back(optimizer)
        elif not self._downloads(self._found).value().any():
            optimizer.step()

    def _step_or_take_back(self, optimizer: Any) -> None:
        parameters = _parameters(optimizer)
        # as its own step would: what it makes in the first one could not be taken back
        optimizer._create_accumulators(paddle.static.default_main_program().global_block(), parameters)
        moved = [*parameters, *(value for kind in optimizer._accumulators.values() for value in kind.values())]
        kept = [tensor.clone() for tensor in moved]
        optimizer.step()
        for tensor, old in zip(moved, kept, strict=True):
            tensor.copy_(paddle.where(self._found, old, tensor), False)

    @paddle.no_grad()
    def update(self, optimizer: Any) -> None:
        """Halve the scale after a skipped step, double it after ``double_after`` others. Uses up the gradients."""
        if not self._enable:
            return
        gradients = [p.grad_ for p in _parameters(optimizer) if p.grad_ is not None]
        counts = self._scale, self._good, self._bad
        paddle._C_ops.update_loss_scaling_(gradients, self._found, *counts, self.double_after, 1, 2.0, 0.5, False)
        self._late.append(self._downloads(self._found))
        self._found = None
        while len(self._late) > 2:  # of the step before the last one, whose work the device has long been given
            self._skipped = self._skipped + 1 if self._late.popleft().value().any() else 0
        if self._skipped >= HOPELESS:
            raise FloatingPointError(
                f"{self._where}: the gradients of {HOPELESS} steps in a row were not finite in fp16, however small "
                "the loss was scaled; amp=bf16, amp=off, a lower learning rate, warm-up or optimizer.clip_norm may help"
            )

    def state_dict(self) -> dict[str, Any]:
        """As that of Paddle's GradScaler: the scale (1,), the good steps since it last changed; {} if not enabled."""
        if not self._enable:
            return {}
        return {
            "scale": self._scale.numpy(),
            "incr_ratio": 2.0,
            "decr_ratio": 0.5,
            "incr_every_n_steps": self.double_after,
            "decr_every_n_nan_or_inf": 1,
            "incr_count": int(self._good.numpy()[0]),
            "decr_count": 0,
            "use_dynamic_loss_scaling": True,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` gave."""
        self._scale.set_value(np.asarray(state["scale"], np.float32).reshape(1))
        self._good.set_value(np.array([state["incr_count"]], np.int32))


def _parameters(optimizer: Any) -> list[Any]:
    found = optimizer._parameter_list
    return [p for group in found for p in group["params"]] if isinstance(found[0], dict) else list(found)
