"""Squeeze-and-excitation networks (Hu et al. 2018, "Squeeze-and-Excitation Networks").

Units of grouped convolutions whose output channels are scaled, each by a number that is computed from all of
them. ``SE_ResNeXt*_32x4d`` have ResNeXt's units; ``SENet154`` is the larger network of the paper's appendix.
Max-pooling has no border; its last window may reach over the edge (size rounded up), as in the authors'
release.
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import nn

from .blocks import ConvBN, FromFeatures, classifier
from .layout import Layout


class SqueezeExcitation(Layout, nn.Layer):
    """x (B, C, H, W) -> x * g, g = sigmoid(W2 relu(W1 z + b1) + b2) in (0, 1), z = mean of x over H and W.

    W1 is (C / reduction, C), W2 its transpose's shape (the paper's equations 2 to 4); both are 1x1
    convolutions here, with biases, as in the authors' release.
    """

    def __init__(self, width: int, *, reduction: int = 16) -> None:
        super().__init__()
        self.reduce = nn.Conv2D(width, width // reduction, 1, weight_attr=nn.initializer.KaimingNormal())
        self.expand = nn.Conv2D(width // reduction, width, 1, weight_attr=nn.initializer.KaimingNormal())

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return x * nn.functional.sigmoid(self.expand(nn.functional.relu(self.reduce(self.pooled(x)))))


class SEUnit(nn.Layer):
    """1x1, grouped 3x3 (with the stride), 1x1, squeeze-and-excitation, plus a shortcut.

    ``widths``: channels after the first and the second convolution. The shortcut is projected where width or
    stride changes, by a convolution of kernel ``shortcut_kernel``.
    """

    def __init__(
        self, n_in: int, widths: tuple[int, int], n_out: int, *, stride: int, groups: int, shortcut_kernel: int = 1
    ) -> None:
        super().__init__()
        self.conv1 = ConvBN(n_in, widths[0], 1)
        self.conv2 = ConvBN(widths[0], widths[1], 3, stride=stride, groups=groups)
        self.conv3 = ConvBN(widths[1], n_out, 1, relu=False)
        self.shortcut: ConvBN | None = None
        if stride != 1 or n_in != n_out:
            self.shortcut = ConvBN(n_in, n_out, shortcut_kernel, stride=stride, relu=False)
        self.scale = SqueezeExcitation(n_out)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        y = self.conv3(self.conv2(self.conv1(x)))
        straight = x if self.shortcut is None else self.shortcut(x)
        return nn.functional.relu(self.scale(y) + straight)


class SENet(FromFeatures, nn.Layer):
    """A stem and four stages of ``depths`` units; each later stage halves the size, doubles the width.

    ``widths``: inside the first stage's units. ``deep``: SENet-154's stem, three 3x3 convolutions instead of
    one 7x7, and its 3x3 shortcuts from the second stage on (its first stage keeps the size and a 1x1
    shortcut). ``feature_width`` is the length of the penultimate vector.
    """

    def __init__(
        self,
        n_classes: int,
        *,
        depths: Sequence[int],
        widths: tuple[int, int],
        groups: int,
        deep: bool = False,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.recompute, self.feature_width = recompute, 2048
        n_in = 128 if deep else 64
        if deep:
            self.stem = nn.Sequential(ConvBN(3, 64, 3, stride=2), ConvBN(64, 64, 3), ConvBN(64, n_in, 3))
        else:
            self.stem = ConvBN(3, n_in, 7, stride=2)
        self.pool = nn.MaxPool2D(3, stride=2, ceil_mode=True)
        units = []
        for i, depth in enumerate(depths):
            inside, n_out = (widths[0] << i, widths[1] << i), 256 << i
            kernel = 3 if deep and i > 0 else 1
            for j in range(depth):
                stride = 2 if i > 0 and j == 0 else 1
                units.append(SEUnit(n_in, inside, n_out, stride=stride, groups=groups, shortcut_kernel=kernel))
                n_in = n_out
        self.units, self.cut = nn.LayerList(units), len(units) - depths[-1]
        self.fc = classifier(self.feature_width, n_classes)

    def front(self, x: paddle.Tensor) -> paddle.Tensor:
        """Images (B, 3, H, W) float32, normalised -> maps (B, 1024, H / 16, W / 16), >= 0."""
        x = self.pool(self.stem(x))
        return self.through(list(self.units)[: self.cut], x)

    def rest(self, x: paddle.Tensor) -> paddle.Tensor:
        """What ``front`` gives -> penultimate vectors (B, feature_width), >= 0."""
        x = self.through(self.rest_layers(), x)
        return self.pooled(x).flatten(1)

    def rest_layers(self) -> list[nn.Layer]:
        """The layers of ``rest``: the last stage's units."""
        return list(self.units)[self.cut :]


def _se_resnext(n_classes: int, depths: Sequence[int], recompute: bool) -> SENet:
    """32 groups of 4 channels in the first stage."""
    return SENet(n_classes, depths=depths, widths=(128, 128), groups=32, recompute=recompute)


def SE_ResNeXt50_32x4d(n_classes: int = 1000, *, recompute: bool = False) -> SENet:
    """SE-ResNeXt-50 (32x4d) of the paper."""
    return _se_resnext(n_classes, (3, 4, 6, 3), recompute)


def SE_ResNeXt101_32x4d(n_classes: int = 1000, *, recompute: bool = False) -> SENet:
    """SE-ResNeXt-101 (32x4d) of the paper."""
    return _se_resnext(n_classes, (3, 4, 23, 3), recompute)


def SE_ResNeXt152_32x4d(n_classes: int = 1000, *, recompute: bool = False) -> SENet:
    """The 152-layer network with the same units (the depths of ResNet-152)."""
    return _se_resnext(n_classes, (3, 8, 36, 3), recompute)


def SENet154(n_classes: int = 1000, *, recompute: bool = False) -> SENet:
    """The paper's SENet-154: 64 groups, first convolutions of half the width; without its dropout of 0.2."""
    return SENet(n_classes, depths=(3, 8, 36, 3), widths=(128, 256), groups=64, deep=True, recompute=recompute)
