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
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle
from paddle import nn

LARGEST_BLOCK = 4096  # elements of a channel's matrix, where it holds the whole map
MOST_WORK = 14  # multiplications, for each that a window needs
FEWEST_IMAGES = 4  # in a batch; with fewer the matrices take longer to fill than to use


@dataclass(frozen=True)
class Window:
    """A window over maps of ``height`` x ``width``: kernel, strides, rows above and columns left of zeros, result."""

    height: int
    width: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    above: int
    left: int
    out_height: int
    out_width: int

    @functools.cached_property
    def rows(self) -> int:
        """Rows of a block of the result: all of a small map, otherwise one or two, which must fill it."""
        if self.height * self.width * self.out_height * self.out_width <= LARGEST_BLOCK:
            return self.out_height
        fills = self.out_height % 2 == self.height % (2 * self.stride[0]) == 0
        far = self.stride[0] == 1 and self.kernel[0] > 3  # two rows reach one block less far than one
        return 2 if fills and self.width <= (40 if far else 20) else 1

    @property
    def shifts(self) -> range:
        """Which blocks of the map, counted from the one at the same place, a block of the result sees."""
        there = self.rows * self.stride[0]
        last = (self.rows - 1) * self.stride[0] + self.kernel[0] - 1 - self.above
        if there >= self.height and self.rows >= self.out_height:
            return range(1)
        return range(-self.above // there, last // there + 1)

    @property
    def blocks(self) -> int:
        """Blocks of a map and of its result."""
        return max(math.ceil(self.out_height / self.rows), math.ceil(self.height / (self.rows * self.stride[0])))

    @property
    def border(self) -> int:
        """Blocks of zeros between channels: how far a window reaches over the border."""
        return max(-self.shifts[0], self.shifts[-1])

    @property
    def taken(self) -> int:
        """Values of a block of the map."""
        return self.rows * self.stride[0] * self.width

    @property
    def given(self) -> int:
        """Values of a block of the result."""
        return self.rows * self.out_width

    @property
    def is_quick(self) -> bool:
        """Whether the products are quicker than Paddle's kernels, as was measured on maps of 4 to 112 pixels.

        They multiply ``len(shifts) * taken`` times for each value of the result, where a window has kernel values.
        """
        return len(self.shifts) * self.taken <= MOST_WORK * self.kernel[0] * self.kernel[1]

    @property
    def turned(self) -> list[int]:
        """Zeros above, below, left and right of a result's gradient, for the convolution that gives the maps'."""
        above, left = self.kernel[0] - 1 - self.above, self.kernel[1] - 1 - self.left
        below = self.height - self.out_height + self.kernel[0] - 1 - above
        right = self.width - self.out_width + self.kernel[1] - 1 - left
        return [above, below, left, right]

    @property
    def can_turn(self) -> bool:
        """Whether there is such a convolution."""
        return self.stride == (1, 1) and min(self.turned) >= 0

    @functools.lru_cache(maxsize=256)  # noqa: B019  a window is a small value; a network has about ten
    def places(self) -> list[paddle.Tensor]:
        """For each shift the (kernel values, taken * given) 0/1 matrix that puts weights where they belong."""
        there = self.rows * self.stride[0]
        row, column, u, v = np.ix_(*(np.arange(n) for n in (self.rows, self.out_width, *self.kernel)))
        y = row * self.stride[0] + u - self.above + 0 * column + 0 * v
        x = column * self.stride[1] + v - self.left + 0 * row + 0 * u
        block, tap = y // there, u * self.kernel[1] + v + 0 * y
        target = row * self.out_width + column + 0 * y
        found = []
        for shift in self.shifts:
            inside = (block == shift) & (x >= 0) & (x < self.width)
            ones = np.zeros((self.kernel[0] * self.kernel[1], self.taken, self.given), np.float32)
            ones[tap[inside], ((y - shift * there) * self.width + x)[inside], target[inside]] = 1
            found.append(paddle.to_tensor(ones.reshape(len(ones), -1), place=paddle.CPUPlace()))
        return found


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


class Conv2D(nn.Conv2D):  # an exported program writes the class's name beside the operation
    """``nn.Conv2D`` of one window a channel, as matrix products where that is quicker.

    That is on a CPU, in float32, while nothing is traced, on maps that are not wide. Elsewhere it is ``nn.Conv2D``.
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
