"""Maps with their channels first or last: a network computes in either layout, from the same weights.

``NCHW`` (batch, channels, height, width) is Paddle's default. A GPU's tensor cores want ``NHWC``: 16-bit maps in
that layout reach cuDNN as they are, float32 maps Paddle's convolutions transpose before and after. Filters are stored
as (out, in, height, width) in both layouts, so a checkpoint fits either.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import paddle
from paddle import nn

from urnet.core.checks import check_choice

FORMATS = ("NCHW", "NHWC")


class Layout:
    """For layers and networks that look at the axes of maps themselves; ``channels_last`` tells them which is which."""

    data_format = "NCHW"

    @property
    def channel_axis(self) -> int:
        """Where the channels of a map are."""
        return 1 if self.data_format == "NCHW" else 3

    @paddle.jit.not_to_static  # an export must see numbers, not operations of the program
    def sides(self, maps: paddle.Tensor) -> list[int]:
        """Height and width."""
        return list(maps.shape[2:] if self.data_format == "NCHW" else maps.shape[1:3])

    def pooled(self, maps: paddle.Tensor) -> paddle.Tensor:
        """Mean over each map, as a map of one pixel."""
        # Not maps.mean(axis=[2, 3]): oneDNN's pass for it writes a line on stdout, and the pool is as fast.
        return nn.functional.adaptive_avg_pool2d(maps, 1, data_format=self.data_format)

    def joined(self, maps: list[paddle.Tensor] | tuple[paddle.Tensor, ...]) -> paddle.Tensor:
        """The channels of several maps, one map's after the other's."""
        return paddle.concat(maps, axis=self.channel_axis)


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


def forward_instead(layer: nn.Layer, forward: Callable[[Any, Any], Any]) -> None:
    """Let a layer of Paddle's, whose own ``forward`` knows channels first only, compute ``forward(layer, x)``."""
    layer.forward = functools.partial(forward, layer)
