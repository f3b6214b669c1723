"""A layer that computes as one program, compiled at its first batch of each shape (``model.compile``)."""

from __future__ import annotations

from typing import Any

import paddle

from urnet.runtime.host_to_device import on_gpu


def compile_forward(layer: Any) -> None:
    """Let ``layer(images)`` be one program for training and one for evaluation; every shape of a batch has its own.

    Losses and gradients are those of the same operations. On a GPU CINN generates their kernels where Paddle was built
    with it. What the layer's code reads while it is traced, a batch norm's momentum for one, is fixed from then on:
    ``training.compiled.check_compile`` refuses what would change it.
    """
    cinn = on_gpu() and paddle.is_compiled_with_cinn()
    paddle.jit.to_static(layer, full_graph=True, backend="CINN" if cinn else None)
