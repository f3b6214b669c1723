"""The moving average of the weights, and the batch-norm statistics that belong to it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import paddle
from paddle import nn

from urnet.core.checks import InputError
from urnet.nn.batch_norms import BATCH_NORMS, statistics_held
from urnet.nn.flat_parameters import FlatParameters
from urnet.runtime.process_group import SINGLE_PROCESS, ProcessGroup


class Ema:
    """Exponential moving average of a network's trainable parameters, in float32.

    After update t = 1, 2 … of the weights e <- d_t e + (1 - d_t) w, d_t = min(decay, (1 + t) / (10 + t)).
    The ramp (as in TensorFlow's ExponentialMovingAverage) keeps the random start out of short runs. d_t is
    a function of the step, so nothing but the averages themselves has to be saved.
    """

    def __init__(self, flat: FlatParameters, decay: float) -> None:
        self.decay, self._flat = decay, flat
        with paddle.no_grad():
            self._averages = [vector.detach().clone() for vector in flat.vectors]

    def decay_at(self, updates: int) -> float:
        """d_t after ``updates`` (>= 1) updates of the weights."""
        return min(self.decay, (1 + updates) / (10 + updates))

    @paddle.no_grad()
    def update(self, updates: int) -> None:
        """Take in the live weights after their ``updates``-th update."""
        decay = self.decay_at(updates)
        for average, live in zip(self._averages, self._flat.vectors, strict=True):
            average.scale_(decay)
            average.add_(live * (1 - decay))

    def weights(self) -> dict[str, np.ndarray]:
        """The averages by the network's parameter names, as float32 arrays."""
        found: dict[str, np.ndarray] = {}
        for flat, average in zip(self._flat.flats, self._averages, strict=True):
            found.update(flat.split(average.numpy()))
        return found

    def load(self, weights: Mapping[str, np.ndarray]) -> None:
        """Put back what ``weights()`` gave. Raises InputError when the names differ."""
        if set(weights) != set(self._flat.named):
            differ = sorted(set(weights) ^ set(self._flat.named))
            raise InputError(f"moving average: {len(differ)} names do not match the network, {differ[0]} first")
        for flat, average in zip(self._flat.flats, self._averages, strict=True):
            average.set_value(flat.join(weights))

    @contextlib.contextmanager
    def weights_in_place(self, network: nn.Layer) -> Iterator[None]:
        """Inside the block ``network`` has the averages, and its batch norms, of a batch's statistics where they are in
        training mode, keep none of them. Afterwards, also after an error, every weight has its own bytes again."""
        kept = [vector.clone() for vector in self._flat.vectors]
        try:
            self._show(self._averages)
            with statistics_held(network):
                yield
        finally:
            self._show(kept)

    @paddle.no_grad()
    def _show(self, values: Iterable[paddle.Tensor]) -> None:
        for vector, value in zip(self._flat.vectors, values, strict=True):
            vector.copy_(value, False)  # True would wait for the device

    @contextlib.contextmanager
    def in_place(
        self,
        network: nn.Layer,
        batches: Iterable[paddle.Tensor],
        group: ProcessGroup = SINGLE_PROCESS,
        autocast: Callable[[], Any] = contextlib.nullcontext,
    ) -> Iterator[None]:
        """Inside the block ``network`` has the averages, and batch-norm statistics of them.

        ``batches``, ``group``, ``autocast``: as in ``recompute_batch_norm``. Afterwards, also after an error, every
        weight and buffer has its own bytes again.
        """
        kept = {name: value.clone() for name, value in network.state_dict().items()}
        try:
            self._show(self._averages)
            recompute_batch_norm(network, batches, group, autocast)
            yield
        finally:
            for name, value in network.state_dict().items():
                value.set_value(kept[name])


@paddle.no_grad()
def recompute_batch_norm(
    network: nn.Layer,
    batches: Iterable[paddle.Tensor],
    group: ProcessGroup = SINGLE_PROCESS,
    autocast: Callable[[], Any] = contextlib.nullcontext,
) -> None:
    """Replace every batch norm's running mean and variance by their plain averages over ``batches``.

    ``batches``: inputs of the network, consumed once; with several processes each one's own share. The
    average is taken in float64 over what single batches gave (momentum 0), in the order of the processes'
    batches: process 0's first one, process 1's first one and so on. So its bytes do not depend on their
    number, if they share the batches out in turn. ``autocast()``: the context that gives the number format. Only batch
    norm is in training mode: dropout stays off. The network's mode is as before afterwards. Without batch norm, or
    without batches, nothing changes.
    """
    norms: list[Any] = [layer for layer in network.sublayers(True) if isinstance(layer, BATCH_NORMS)]
    if not norms:
        return
    modes = [(layer, layer.training) for layer in network.sublayers(True)]
    momenta = [norm._momentum for norm in norms]
    synchronised = [norm for norm in norms if isinstance(norm, nn.SyncBatchNorm)]
    network.eval()
    try:
        for norm in norms:
            norm.train()
            norm._momentum = 0.0
        for norm in synchronised:  # would wait for processes that have a batch less
            norm.forward = functools.partial(_normalised_alone, norm)
        _average(norms, _each(network, norms, batches, autocast), group)
    finally:
        for norm in synchronised:
            norm.__dict__.pop("forward", None)  # its class has one
        for norm, momentum in zip(norms, momenta, strict=True):
            norm._momentum = momentum
        for layer, training in modes:
            layer.training = training


def _normalised_alone(norm: Any, x: paddle.Tensor) -> paddle.Tensor:
    """A synchronised batch norm in training mode, of this process's batch only."""
    return nn.functional.batch_norm(
        x,
        norm._mean,
        norm._variance,
        weight=norm.weight,
        bias=norm.bias,
        training=True,
        momentum=norm._momentum,
        epsilon=norm._epsilon,
        data_format=norm._data_format,
    )


def _each(
    network: nn.Layer, norms: list[Any], batches: Iterable[paddle.Tensor], autocast: Callable[[], Any]
) -> list[np.ndarray]:
    """What each batch makes the statistics of all norms, float32, one after the other."""
    found = []
    for batch in batches:
        with autocast():
            network(batch)
        found.append(paddle.concat([value for norm in norms for value in (norm._mean, norm._variance)]))
    return [values.numpy() for values in found]


def _average(norms: list[Any], found: list[np.ndarray], group: ProcessGroup) -> None:
    """Set the statistics to their average over all processes' batches."""
    shares = group.all_gather(found)
    in_order = [share[k] for k in range(max(map(len, shares))) for share in shares if k < len(share)]
    if not in_order:
        return
    mean = np.stack(in_order).astype(np.float64).mean(axis=0).astype(np.float32)
    start = 0
    for value in (value for norm in norms for value in (norm._mean, norm._variance)):
        end = start + int(np.prod(value.shape))
        value.set_value(mean[start:end].reshape(value.shape))
        start = end
