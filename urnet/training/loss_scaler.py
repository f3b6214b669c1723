"""Scales the loss of fp16 training, so that small gradients do not become 0, and skips the steps that overflow."""

from __future__ import annotations

from typing import Any

import paddle

from urnet.runtime.device_to_host import Download, Downloads

FIRST_SCALE = 2.0**15
HOPELESS = 50  # steps skipped one after the other: the scale is 2**-35 then, so that scaling is not the reason


class LossScaler(paddle.amp.GradScaler):
    """Paddle's GradScaler: the scale doubles after 2,000 good steps and halves when a gradient is not finite.

    Ours are three things. Paddle 3.3.1 prints a line to stdout at every overflow, whose text NumPy 2.4 and later
    refuse to make (a scale of shape [1] is no number for them): an overflow ended the training. Whether a step
    overflowed is read through ``downloads``; every step must still wait for that, once and for all that was
    launched before it, as what comes next depends on it. And HOPELESS skipped steps in a row raise a
    FloatingPointError that begins with ``where``: training would end with the weights it began with.

    Without ``enable`` nothing is scaled and nothing read. All processes see the same: the gradients have been
    summed before they are looked at.
    """

    _found_inf: Any
    _scale: Any

    def __init__(self, where: str, downloads: Downloads, *, enable: bool) -> None:
        super().__init__(enable=enable, init_loss_scaling=FIRST_SCALE)
        self._where, self._downloads, self._skipped = where, downloads, 0

    def _unscale(self, optimizer: Any) -> None:
        """Divide the gradients by the scale, and ask whether they are finite."""
        super()._unscale(optimizer)
        if self._enable:
            self._found_inf = _Flag(self._downloads(self._found_inf))

    def unscale_(self, optimizer: Any) -> None:
        """``step`` does it where it has not been done."""
        self._unscale(optimizer)  # Paddle's calls the one of its own base

    def _update(self) -> None:
        """Halve the scale after a skipped step, double it after 2,000 others."""
        if not self._cache_found_inf:
            self._skipped = 0
            super()._update()
            return
        self._skipped, self._incr_count, self._decr_count = self._skipped + 1, 0, 0
        self._scale = self._scale * self._decr_ratio
        if self._skipped >= HOPELESS:
            raise FloatingPointError(
                f"{self._where}: the gradients of {HOPELESS} steps in a row were not finite in fp16, however small "
                "the loss was scaled; amp=bf16, amp=off, a lower learning rate, warm-up or optimizer.clip_norm may help"
            )


class _Flag:
    """True or False, as soon as somebody asks: Paddle's optimisers do, once everything is launched."""

    def __init__(self, download: Download) -> None:
        self._download = download

    def __bool__(self) -> bool:
        return bool(self._download.value().any())
