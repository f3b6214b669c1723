"""Batch norms of every kind: which layers they are, their statistics held still, and taken over all processes' rows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from paddle import nn

PLAIN = (nn.BatchNorm1D, nn.BatchNorm2D, nn.BatchNorm3D)
BATCH_NORMS = (*PLAIN, nn.SyncBatchNorm)  # Paddle's synchronised one is none of the others


@contextlib.contextmanager
def statistics_held(network: nn.Layer) -> Iterator[None]:
    """Inside the block no running statistics of ``network`` move: running = 1 * running + 0 * batch, the same bits."""
    norms: list[Any] = [layer for layer in network.sublayers(True) if isinstance(layer, BATCH_NORMS)]
    kept = [norm._momentum for norm in norms]
    try:
        for norm in norms:
            norm._momentum = 1.0
        yield
    finally:
        for norm, momentum in zip(norms, kept, strict=True):
            norm._momentum = momentum


def synchronise(network: nn.Layer) -> None:
    """Put Paddle's SyncBatchNorm, with the same parameters and statistics, in the place of every batch norm.

    It needs CUDA to run. Paddle's own converter drops, without a word, what a class derived from a batch norm does
    besides; here such a class says by a function ``after`` what is done to the normalised tensor, and one that does
    not is a TypeError.
    """
    for layer in network.sublayers(True):
        for name, child in list(layer.named_children()):
            if isinstance(child, PLAIN):
                setattr(layer, name, _synchronised(child))


def _synchronised(norm: Any) -> nn.Layer:
    made = nn.SyncBatchNorm.convert_sync_batchnorm(norm)
    made.training = norm.training
    if type(norm) not in PLAIN:
        if not hasattr(norm, "after"):
            raise TypeError(f"{type(norm).__name__}: a batch norm that does more than normalise; it has no `after`")
        made.register_forward_post_hook(lambda layer, inputs, output: norm.after(output))
    return made
