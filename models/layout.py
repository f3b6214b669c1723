"""What layers and networks need to compute in either layout of maps (``urnet.nn.layout``)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import paddle
from paddle import nn


class Layout:
    """For layers and networks that look at the axes of maps; ``urnet.nn.layout`` tells them which is which."""

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


def forward_instead(layer: nn.Layer, forward: Callable[[Any, Any], Any]) -> None:
    """Let a layer of Paddle's, whose own ``forward`` knows channels first only, compute ``forward(layer, x)``."""
    layer.forward = functools.partial(forward, layer)
