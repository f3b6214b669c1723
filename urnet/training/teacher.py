"""What averaged weights say of a step's rows, where they teach the memory of early learning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import paddle
import paddle.nn.functional as F

from urnet.nn.robust_losses import remembered
from urnet.training.objective import StepInput, memory_of

if TYPE_CHECKING:
    from urnet.training.step import TrainState


@paddle.no_grad()
def taught_memory(state: TrainState, data: StepInput, parts: Sequence[slice]) -> tuple[paddle.Tensor, paddle.Tensor]:
    """The memory of all rows of the step, classes and values (B, k), after what the averaged weights say of them.

    They see the images as they were loaded, not mixed (ELR+, Liu et al. 2020; there the other one of two networks
    teaches), a micro-batch of ``parts`` at a time, whose statistics batch norm takes. Neither the network's weights nor
    its running statistics change. It is one forward pass more of every row.
    """
    elr = state.stage.elr
    assert elr is not None and state.ema is not None and data.memory is not None
    found = []
    with state.ema.weights_in_place(state.network), state.autocast():
        for part in parts:
            output = state.model(data.send.rows(data.images, part))
            logits = output[0] if isinstance(output, (tuple, list)) else output
            found.append(F.softmax(logits.astype("float32"), axis=-1))
    memory = memory_of(data, slice(0, len(data.labels)))
    return remembered(paddle.concat(found), memory, momentum=elr.momentum)
