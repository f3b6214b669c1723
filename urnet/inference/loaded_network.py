"""The network that a checkpoint predicts with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from urnet.checkpoints.checkpoint import load_into, read_weights
from urnet.checkpoints.second import FILE, read_second


def loaded_network(build: Callable[[], Any], weights: str) -> Any:
    """A network of ``build()`` with the ``weights``; a ``Pair`` where a checkpoint holds two. InputError: they do not
    fit."""
    network = build()
    load_into(network, read_weights(weights, network), source=weights)
    second = read_second(weights)
    if second is None:
        return network
    from urnet.nn.pair import Pair

    other = build()
    load_into(other, second, source=f"{weights}/{FILE}")
    return Pair(network, other)
