"""Batch norm folded into the convolutions before it while a program is written.

Paddle's engine folds as well, each time it opens a program, but multiplies the filters by their scales with
an unoptimised operation of oneDNN: 9 of the 10 seconds that opening a ResNeXt101_32x4d costs.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import paddle

Pair = tuple[Any, Any]  # convolution, batch norm
Change = tuple[Any, str, Any]  # layer, attribute, what it was


class Shift(paddle.nn.Layer):
    """x + shift, one value per channel: what is left of a folded batch norm."""

    def __init__(self, shift: np.ndarray, data_format: str) -> None:
        super().__init__()
        self.shift = _parameter(self, shift.reshape((1, -1, 1, 1) if data_format == "NCHW" else (1, 1, 1, -1)))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Maps -> the same."""
        return x + self.shift


@contextlib.contextmanager
def folded(network: paddle.nn.Layer, images: paddle.Tensor) -> Iterator[int]:
    """Inside the block, batch norm that directly follows a convolution is part of it; yields how often.

    ``network`` is in evaluation mode; ``images`` is a small batch it takes. With filters W and the batch
    norm's weight g, bias b, mean m and variance v: s = g / sqrt(v + epsilon), W' = s W, shift = b - s m. The
    pairs are found by watching one pass and tried in a second one. After the block the network is what it
    was, to the bit.
    """
    pairs, outputs = _watch(network, images)
    if not _only_norms_see(pairs, network, images, outputs):
        pairs = []
    places = {
        id(child): (parent, name)
        for parent in network.sublayers(include_self=True)
        for name, child in parent.named_children()
    }
    with _undoing() as undo:
        for conv, norm in pairs:
            _fold(conv, norm, *places[id(norm)], undo)
        yield len(pairs)


def _watch(network: paddle.nn.Layer, images: paddle.Tensor) -> tuple[list[Pair], np.ndarray]:
    """Pairs in which the batch norm takes what the convolution returned; and the network's outputs."""
    made: dict[int, tuple[Any, Any]] = {}  # id of a result -> itself, so that the id stays its own; its maker
    pairs: list[Pair] = []
    calls: Counter[int] = Counter()

    def after_convolution(layer: Any, _: Any, output: Any) -> None:
        calls[id(layer)] += 1
        made[id(output)] = output, layer

    def before_norm(layer: Any, inputs: Any) -> None:
        calls[id(layer)] += 1
        if id(inputs[0]) in made:
            pairs.append((made[id(inputs[0])][1], layer))

    hooks = []
    for layer in network.sublayers():
        if isinstance(layer, paddle.nn.Conv2D) and layer.bias is None:
            hooks.append(layer.register_forward_post_hook(after_convolution))
        elif type(layer) is paddle.nn.BatchNorm2D:
            hooks.append(layer.register_forward_pre_hook(before_norm))
    try:
        with paddle.no_grad():
            outputs = network(images).numpy()
    finally:
        for hook in hooks:
            hook.remove()
    return [pair for pair in pairs if calls[id(pair[0])] == calls[id(pair[1])] == 1], outputs


def _only_norms_see(pairs: list[Pair], network: paddle.nn.Layer, images: paddle.Tensor, outputs: np.ndarray) -> bool:
    """Whether nothing but its batch norm uses a convolution's result, and nothing changes it in between.

    All results are multiplied by -2, and the batch norms allow for it. Products with powers of two are exact, so
    the outputs must be the same to the bit; whatever else uses a result gets another one.
    """
    with _undoing() as undo:
        for conv, norm in pairs:
            for layer, name, factor in (
                (conv, "weight", -2),
                (norm, "_mean", -2),
                (norm, "weight", -1),
                (norm, "_variance", 4),
            ):
                old = getattr(layer, name)
                _change(layer, name, _parameter(layer, np.float32(factor) * old.numpy()), undo)
            _change(norm, "_epsilon", 4 * norm._epsilon, undo)
        with paddle.no_grad():
            return np.array_equal(network(images).numpy(), outputs)


def _fold(conv: Any, norm: Any, parent: Any, name: str, undo: list[Change]) -> None:
    """Replace the filters of ``conv``, and ``norm``, which is ``parent``'s child ``name``."""
    weight, bias, mean, variance = (
        p.numpy().astype(np.float64) for p in (norm.weight, norm.bias, norm._mean, norm._variance)
    )
    scale = weight / np.sqrt(variance + norm._epsilon)
    filters = conv.weight.numpy() * scale.astype(np.float32).reshape(-1, 1, 1, 1)
    _change(conv, "weight", _parameter(conv, filters), undo)
    _change(parent, name, Shift((bias - scale * mean).astype(np.float32), norm._data_format), undo)


def _parameter(layer: paddle.nn.Layer, values: np.ndarray) -> Any:
    parameter = layer.create_parameter(list(values.shape), default_initializer=paddle.nn.initializer.Constant(0.0))
    parameter.set_value(values)
    return parameter


def _change(layer: Any, name: str, new: Any, undo: list[Change]) -> None:
    undo.append((layer, name, getattr(layer, name)))
    setattr(layer, name, new)


@contextlib.contextmanager
def _undoing() -> Iterator[list[Change]]:
    """Yield a list of changes, which are undone at the end, the last one first."""
    undo: list[Change] = []
    try:
        yield undo
    finally:
        for layer, name, old in reversed(undo):
            setattr(layer, name, old)
