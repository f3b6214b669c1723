"""Maps with their channels first or last: a network computes in either layout, from the same weights.

``NCHW`` (batch, channels, height, width) is Paddle's default. A GPU's tensor cores want ``NHWC``: 16-bit maps in that
layout reach cuDNN as they are, float32 maps Paddle's convolutions transpose before and after. Filters are stored as
(out, in, height, width) in both layouts, so a checkpoint fits either.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import paddle
from paddle import nn

from urnet.core.checks import check_choice

FORMATS = ("NCHW", "NHWC")


def with_format(network: Any, data_format: str) -> Any:
    """``network``, which takes images and gives maps in that layout from now on; a new one has NCHW.

    Raises InputError for another word.
    """
    check_choice("data_format", data_format, FORMATS)
    for layer in network.sublayers(include_self=True):
        for name in ("data_format", "_data_format"):  # of ours and of Paddle's pools; of Paddle's other layers
            if getattr(layer, name, None) in FORMATS:
                setattr(layer, name, data_format)
        if isinstance(layer, nn.Conv2D):
            layer._channel_dim = 1 if data_format == "NCHW" else 3
    return network


def is_channels_last(network: Any) -> bool:
    """Whether images and maps are (B, height, width, channels) to a network; without ``data_format`` they are not."""
    return getattr(network, "data_format", "NCHW") == "NHWC"


def channels_first(network: Any, maps: paddle.Tensor) -> paddle.Tensor:
    """Maps as a network gives them -> (B, channels, height, width)."""
    return maps.transpose([0, 3, 1, 2]) if is_channels_last(network) else maps


def in_layout_of(network: Any, maps: paddle.Tensor) -> paddle.Tensor:
    """(B, channels, height, width) -> as a network takes them."""
    return maps.transpose([0, 2, 3, 1]) if is_channels_last(network) else maps


@contextlib.contextmanager
def turned_first(network: Any) -> Iterator[None]:
    """Inside the block ``network`` computes with the channels first, whatever it does outside."""
    if not is_channels_last(network):
        yield
        return
    try:
        yield with_format(network, "NCHW")
    finally:
        with_format(network, "NHWC")
