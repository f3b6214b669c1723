"""Dual path networks (Chen et al. 2017, "Dual Path Networks"): a residual and a dense path side by side.

Between the units travels a tuple of tensors: the residual path, to which every unit adds, then the pieces of
the dense path, behind which every unit puts a new one. Concatenated they are a unit's input. (As one tensor,
cut up again in every unit, training takes half as long again.) Batch norm and ReLU stand before a
convolution; epsilon is 0.001, as the networks were published.
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import nn

from .blocks import ConvBN, FromFeatures, classifier
from .layout import Layout

EPSILON = 1e-3


class BNReLU(nn.Layer):
    """Batch norm and ReLU; running = 0.9 running + 0.1 batch."""

    def __init__(self, n_in: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2D(n_in, momentum=0.9, epsilon=EPSILON)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return nn.functional.relu(self.bn(x))


class BNReLUConv(BNReLU):
    """Batch norm, ReLU, then a convolution without bias that keeps the size at stride 1."""

    def __init__(self, n_in: int, n_out: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(n_in)
        self.conv = nn.Conv2D(
            n_in,
            n_out,
            kernel,
            stride=stride,
            padding=kernel // 2,
            groups=groups,
            weight_attr=nn.initializer.KaimingNormal(),
            bias_attr=False,
        )

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.conv(super().forward(x))


class Unit(Layout, nn.Layer):
    """1x1 and grouped 3x3 convolution, ``inner`` wide, then 1x1 to both paths.

    The first ``width`` channels of the 1x1 are added to the residual path, the other ``increment`` become
    the newest of the dense path. The first unit of a stage (``first``) projects its input to ``width``
    residual and 2 ``increment`` dense channels, with the unit's stride.
    """

    def __init__(
        self, n_in: int, inner: int, width: int, increment: int, *, stride: int, groups: int, first: bool
    ) -> None:
        super().__init__()
        self.width = width
        self.projection: BNReLUConv | None = None
        if first:
            self.projection = BNReLUConv(n_in, width + 2 * increment, 1, stride=stride)
        self.conv1 = BNReLUConv(n_in, inner, 1)
        self.conv2 = BNReLUConv(inner, inner, 3, stride=stride, groups=groups)
        self.conv3 = BNReLUConv(inner, width + increment, 1)

    def forward(self, parts: tuple[paddle.Tensor, ...]) -> tuple[paddle.Tensor, ...]:
        """(residual path, dense pieces ...), ``n_in`` channels in all, -> the same with one piece more.

        The first unit of a stage takes any parts; what it gives is ``stride`` times smaller.
        """
        x = self.joined(parts)
        residual, *dense = parts if self.projection is None else self._cut(self.projection(x))
        added, newest = self._cut(self.conv3(self.conv2(self.conv1(x))))
        return (residual + added, *dense, newest)

    def _cut(self, x: paddle.Tensor) -> list[paddle.Tensor]:
        """The residual channels of a convolution's result, and the dense ones."""
        axis = self.channel_axis
        return paddle.split(x, [self.width, x.shape[axis] - self.width], axis=axis)


class DPN(FromFeatures, nn.Layer):
    """Stages of ``depths`` units; the residual path is 256, 512, 1024 and 2048 wide.

    The dense path grows by ``increments`` channels a unit. Inside, a unit of stage i (from 0) is
    ``inner`` 2^i wide, in ``groups`` groups. ``feature_width`` is the length of the penultimate vector.
    """

    def __init__(
        self,
        n_classes: int,
        *,
        depths: Sequence[int],
        increments: Sequence[int],
        stem_width: int,
        inner: int,
        groups: int,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.recompute = recompute
        self.stem = ConvBN(3, stem_width, 7, stride=2, epsilon=EPSILON)
        self.pool = nn.MaxPool2D(3, stride=2, padding=1)
        units, n_in = [], stem_width
        for i, (depth, increment) in enumerate(zip(depths, increments, strict=True)):
            width = 256 * 2**i
            for j in range(depth):
                stride = 2 if i > 0 and j == 0 else 1
                units.append(Unit(n_in, inner * 2**i, width, increment, stride=stride, groups=groups, first=j == 0))
                n_in = width + (3 + j) * increment
        self.units = nn.LayerList(units)
        self.last = BNReLU(n_in)
        self.feature_width = n_in
        self.fc = classifier(self.feature_width, n_classes)

    def features(self, x: paddle.Tensor) -> paddle.Tensor:
        """Images (B, 3, H, W) float32, normalised -> penultimate vectors (B, feature_width), >= 0."""
        parts = (self.pool(self.stem(x)),)
        parts = self.through(self.units, parts)
        x = self.last(self.joined(parts))
        return self.pooled(x).flatten(1)


def DPN92(n_classes: int = 1000, *, recompute: bool = False) -> DPN:
    """The paper's DPN-92 (32x3d)."""
    return DPN(
        n_classes,
        depths=(3, 4, 20, 3),
        increments=(16, 32, 24, 128),
        stem_width=64,
        inner=96,
        groups=32,
        recompute=recompute,
    )


def DPN131(n_classes: int = 1000, *, recompute: bool = False) -> DPN:
    """The paper's DPN-131 (40x4d)."""
    return DPN(
        n_classes,
        depths=(4, 8, 28, 3),
        increments=(16, 32, 32, 128),
        stem_width=128,
        inner=160,
        groups=40,
        recompute=recompute,
    )
