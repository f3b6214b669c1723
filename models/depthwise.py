"""Depthwise convolutions as matrix products: Paddle's own kernels of them are slow on a CPU.

Paddle 3.3 computes a depthwise convolution on a CPU as one tiny product per image and channel, with the windows copied
out before each; a 5x5 window over 14x14 pixels costs ten times the 1x1 convolutions around it. Here the rows of a
channel are cut into blocks of a few rows each. One block of the result is, for each channel, a sum of the block at the
same place and its neighbours, each times a matrix that holds the channel's weights in bands (a block Toeplitz matrix).
All blocks of all images of the batch are the rows of one product, and the neighbours of all of them lie at a fixed
distance in memory: zero blocks between the channels are the border, and nothing is copied out. The gradients are the
same products transposed. The result is that of ``nn.functional.conv2d`` but for rounding (ours).
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import paddle
from paddle import nn

from .depthwise_window import Window

FEWEST_IMAGES = 4  # in a batch; with fewer the matrices take longer to fill than to use


def _matrices(weight: paddle.Tensor, window: Window) -> list[paddle.Tensor]:
    flat = weight.reshape([weight.shape[0], -1])
    return [paddle.matmul(flat, ones).reshape([-1, window.taken, window.given]) for ones in window.places()]


def _spread(maps: paddle.Tensor, window: Window, size: int, before: int, behind: int) -> paddle.Tensor:
    """Maps (B, C, rows, columns) as rows of ``size``: for each channel the blocks of every image, then zeros.

    As many zero blocks follow each channel as a window reaches over the border; ``before`` lie in front of all of
    them, ``behind`` at the end.
    """
    images, channels = maps.shape[:2]
    maps, values = maps.flatten(2), window.blocks * size
    if values > maps.shape[2]:
        maps = paddle.concat([maps, paddle.zeros([images, channels, values - maps.shape[2]])], 2)
    rows = maps.reshape([-1, size])
    if before or behind:
        rows = paddle.concat([rows, paddle.zeros([1, size])])
    return paddle.gather(rows, _order(window, images, channels, before, behind))


@functools.lru_cache(maxsize=64)
def _order(window: Window, images: int, channels: int, before: int, behind: int) -> paddle.Tensor:
    """Which block (image, channel, block) each row of ``_spread`` is; one behind the last is the zero block."""
    n = images * channels * window.blocks
    own = np.arange(n).reshape(images, channels, window.blocks).transpose(1, 2, 0)
    padded = np.pad(own, ((0, 0), (0, max(before, behind)), (0, 0)), constant_values=n)
    return _index(np.pad(padded.ravel(), (before * images, behind * images), constant_values=n))


@functools.lru_cache(maxsize=64)
def _back(window: Window, images: int, channels: int) -> paddle.Tensor:
    """Where block (image, channel, block) lies among the products' rows."""
    blocks = window.blocks + window.border
    rows = np.arange(channels * blocks * images).reshape(channels, blocks, images)
    return _index(rows[:, : window.blocks].transpose(2, 0, 1).ravel())


def _index(rows: np.ndarray) -> paddle.Tensor:
    return paddle.to_tensor(rows.astype(np.int32), place=paddle.CPUPlace())


def _at(rows: paddle.Tensor, place: int, channels: int, n: int) -> paddle.Tensor:
    """(channels, n, size): the rows from ``place`` on, a view."""
    return rows[place : place + channels * n].reshape([channels, n, -1])


def _gathered(products: list[paddle.Tensor], window: Window, images: int, height: int, width: int) -> paddle.Tensor:
    """Sum of the products (C, blocks * B, size), as maps (B, C, height, width)."""
    total = products[0]
    for product in products[1:]:
        total.add_(product)
    channels, _, size = total.shape
    maps = paddle.gather(total.reshape([-1, size]), _back(window, images, channels)).reshape([images, channels, -1])
    if maps.shape[2] != height * width:
        maps = paddle.crop(maps, [images, channels, height * width], [0, 0, 0])
    return maps.reshape([images, channels, height, width])


class _Product(paddle.autograd.PyLayer):
    """The convolution and its two gradients."""

    @staticmethod
    def forward(ctx: Any, x: paddle.Tensor, weight: paddle.Tensor, window: Window, wanted: tuple[bool, bool]) -> Any:
        """Maps (B, C, height, width), weights (C, 1, *kernel) -> (B, C, out_height, out_width)."""
        ctx.save_for_backward(x, weight)
        ctx.window, ctx.wanted = window, wanted
        images, channels = x.shape[:2]
        before, behind = -window.shifts[0], window.shifts[-1]
        rows, n = _spread(x, window, window.taken, before, behind), (window.blocks + window.border) * images
        products = [
            paddle.matmul(_at(rows, (before + shift) * images, channels, n), matrix)
            for shift, matrix in zip(window.shifts, _matrices(weight, window), strict=True)
        ]
        return _gathered(products, window, images, window.out_height, window.out_width)

    @staticmethod
    def backward(ctx: Any, gradient: paddle.Tensor) -> Any:
        """The gradients of the maps and of the weights, None for one that is not ``wanted``."""
        x, weight = ctx.saved_tensor()
        window: Window = ctx.window
        images, channels = x.shape[:2]
        before, behind = -window.shifts[0], window.shifts[-1]
        rows, n = _spread(gradient, window, window.given, behind, before), (window.blocks + window.border) * images
        d_maps: Any = None
        d_weight: Any = None
        if ctx.wanted[0]:
            products = [
                paddle.matmul(_at(rows, (behind - shift) * images, channels, n), matrix, transpose_y=True)
                for shift, matrix in zip(window.shifts, _matrices(weight, window), strict=True)
            ]
            d_maps = _gathered(products, window, images, window.height, window.width)
        if ctx.wanted[1]:
            here = _at(rows, behind * images, channels, n)
            maps = _spread(x, window, window.taken, before, behind)
            for shift, ones in zip(window.shifts, window.places(), strict=True):
                seen = _at(maps, (before + shift) * images, channels, n)
                part = paddle.matmul(seen, here, transpose_x=True).reshape([channels, -1])
                part = paddle.matmul(part, ones, transpose_y=True)
                d_weight = part if d_weight is None else d_weight + part
            d_weight = d_weight.reshape(weight.shape)
        return d_maps, d_weight


class _MapGradient(paddle.autograd.PyLayer):
    """A result that was computed without ``x``'s gradient, with that gradient: stride 1."""

    @staticmethod
    def forward(ctx: Any, out: paddle.Tensor, x: paddle.Tensor, weight: paddle.Tensor, window: Window) -> Any:
        """``out`` itself."""
        ctx.save_for_backward(weight)
        ctx.window, ctx.learns = window, not weight.stop_gradient
        return out.reshape(out.shape)

    @staticmethod
    def backward(ctx: Any, gradient: paddle.Tensor) -> Any:
        """The gradients of ``out`` and ``x``: the latter is a convolution with the weights turned round."""
        (weight,) = ctx.saved_tensor()
        turned = paddle.flip(weight.detach(), [2, 3])
        border = ctx.window.turned
        d_maps = nn.functional.conv2d(gradient, turned, padding=border, groups=weight.shape[0])
        return gradient if ctx.learns else None, d_maps, None


class Conv2D(nn.Conv2D):  # an exported program writes the class's name next to the operation
    """``nn.Conv2D`` of one window a channel, as matrix products where that is quicker.

    That is on a CPU, in float32, channels first, while nothing is traced, on maps that are not wide. Elsewhere it is
    ``nn.Conv2D``.
    """

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Maps (B, C, height, width) -> (B, C, out_height, out_width)."""
        window = self._window(x)
        if window is None:
            return super().forward(x)
        if window.is_quick and x.shape[0] >= FEWEST_IMAGES:
            wanted = not x.stop_gradient, not self.weight.stop_gradient
            out = _Product.apply(x, self.weight, window, wanted)
            return out if self.bias is None else out + self.bias.reshape([1, -1, 1, 1])
        if window.can_turn and paddle.is_grad_enabled() and not x.stop_gradient:
            return _MapGradient.apply(super().forward(x.detach()), x, self.weight, window)
        return super().forward(x)

    @paddle.jit.not_to_static  # an exported program has Paddle's own operation
    def _window(self, x: paddle.Tensor) -> Window | None:
        """The window over ``x``, None where Paddle's kernels are to compute."""
        if not (paddle.in_dynamic_mode() and x.place.is_cpu_place() and x.dtype == paddle.float32):
            return None
        if self._data_format != "NCHW":
            return None
        (height, width), sizes, above, strides = x.shape[2:], [], [], tuple(self._stride)
        for i, (n, kernel, stride) in enumerate(zip((height, width), self._kernel_size, strides, strict=True)):
            if self._padding_algorithm == "SAME":
                out = math.ceil(n / stride)
                border = max((out - 1) * stride + kernel - n, 0)
                first = border // 2
            else:
                sides = [int(pad) for pad in self._updated_padding]
                first, last = sides[2 * i : 2 * i + 2] if len(sides) == 4 else (sides[i], sides[i])
                out = (n + first + last - kernel) // stride + 1
            sizes.append(out)
            above.append(first)
        if min(sizes) < 1:
            return None  # Paddle says what is wrong
        return Window(height, width, tuple(self._kernel_size), strides, *above, *sizes)


def quicken(network: nn.Layer) -> None:
    """Let every depthwise convolution of ``network`` be a ``Conv2D`` of this file; names and weights stay."""
    for layer in network.sublayers():
        if (
            type(layer) is nn.Conv2D
            and layer._groups == layer._in_channels == layer._out_channels > 1
            and (layer._data_format, layer._padding_mode, list(layer._dilation)) == ("NCHW", "zeros", [1, 1])
            and layer._padding_algorithm in ("SAME", "EXPLICIT")
        ):
            layer.__class__ = Conv2D
