"""The mode of a network's layers: training or evaluation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import paddle


@contextlib.contextmanager
def evaluating(network: paddle.nn.Layer) -> Iterator[None]:
    """Evaluation mode inside the block; afterwards every layer is in the mode it was in."""
    modes = [(layer, layer.training) for layer in network.sublayers(include_self=True)]
    network.eval()
    try:
        yield
    finally:
        for layer, training in modes:
            layer.training = training
