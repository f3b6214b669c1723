"""Residual networks for 32-pixel images (He et al. 2016, section 4.2), sized for a CPU."""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import nn

from .blocks import ConvBN, FromFeatures, classifier


class BasicUnit(nn.Layer):
    """Two 3x3 convolutions, the first with the stride, plus a shortcut, projected where width changes."""

    def __init__(self, n_in: int, n_out: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvBN(n_in, n_out, 3, stride=stride)
        self.conv2 = ConvBN(n_out, n_out, 3, relu=False)
        self.shortcut: ConvBN | None = None
        if stride != 1 or n_in != n_out:
            self.shortcut = ConvBN(n_in, n_out, 1, stride=stride, relu=False)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        straight = x if self.shortcut is None else self.shortcut(x)
        return nn.functional.relu(self.conv2(self.conv1(x)) + straight)


class ResNet32(FromFeatures, nn.Layer):
    """A 3x3 stem, then stages of ``depth`` units each, ``widths`` wide; each later one halves the size.

    ``feature_width`` is the length of the penultimate vector.
    """

    def __init__(
        self, n_classes: int, *, depth: int, widths: Sequence[int], stem_stride: int = 1, recompute: bool = False
    ) -> None:
        super().__init__()
        self.recompute, self.feature_width = recompute, widths[-1]
        self.stem = ConvBN(3, widths[0], 3, stride=stem_stride)
        units, n_in = [], widths[0]
        for i, n_out in enumerate(widths):
            for j in range(depth):
                units.append(BasicUnit(n_in, n_out, stride=2 if i > 0 and j == 0 else 1))
                n_in = n_out
        self.units, self.cut = nn.LayerList(units), len(units) - depth
        self.fc = classifier(self.feature_width, n_classes)

    def front(self, x: paddle.Tensor) -> paddle.Tensor:
        """Images (B, 3, H, W) float32, normalised -> maps in front of the last stage, >= 0."""
        x = self.stem(x)
        return self.through(list(self.units)[: self.cut], x)

    def rest(self, x: paddle.Tensor) -> paddle.Tensor:
        """What ``front`` gives -> penultimate vectors (B, feature_width), >= 0."""
        x = self.through(self.rest_layers(), x)
        return self.pooled(x).flatten(1)

    def rest_layers(self) -> list[nn.Layer]:
        """The layers of ``rest``: the last stage's units."""
        return list(self.units)[self.cut :]


def ResNet8_small32(n_classes: int = 1000, *, recompute: bool = False) -> ResNet32:
    """Eight layers, 32 to 128 wide, stem with stride 2 (ours): quick on a CPU, for whole comparisons."""
    return ResNet32(n_classes, depth=1, widths=(32, 64, 128), stem_stride=2, recompute=recompute)
