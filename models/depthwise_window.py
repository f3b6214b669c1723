"""The window of a depthwise convolution: which blocks of a map a block of the result sees (``depthwise.py``)."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import paddle

LARGEST_BLOCK = 4096  # elements of a channel's matrix, where it holds the whole map
MOST_WORK = 14  # multiplications, for each that a window needs


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
