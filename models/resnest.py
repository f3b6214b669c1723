"""ResNeSt: residual units with split attention (Zhang et al. 2020, "ResNeSt: Split-Attention Networks").

The paper's main setting, 2s1x64d: radix 2, one cardinal group, base width 64, deep stem, and average pools
where a ResNet strides. Known elsewhere as resnest50d and resnest101e.
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import nn

from .blocks import ConvBN, FromFeatures, classifier
from .layout import Layout

RADIX = 2  # splits of a feature map


class SplitAttention(Layout, nn.Layer):
    """RADIX maps of one input, weighed against each other by what the whole image shows.

    u_1 and u_2 (B, width, H, W) are the halves of relu(BN(grouped 3x3 convolution)), s the mean of u_1 + u_2
    over the pixels, z = fc2(relu(BN(fc1(s)))) of max(32, width / 2) hidden and 2 width output values. The
    result is sum_r a_r u_r, where a = softmax of z over the splits, for each image and channel (the paper's
    equations 1 to 3). In training ``fc1``'s batch norm sees one value per image: a batch wants several.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        n_hidden = max(32, width * RADIX // 4)
        self.conv = ConvBN(width, RADIX * width, 3, groups=RADIX)
        # Published with biases, the one before batch norm included.
        he = nn.initializer.KaimingNormal()
        self.fc1 = nn.Conv2D(width, n_hidden, 1, weight_attr=he)
        self.bn = nn.BatchNorm2D(n_hidden, momentum=0.9, epsilon=1e-5)
        self.fc2 = nn.Conv2D(n_hidden, RADIX * width, 1, weight_attr=he)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """(B, width, H, W) -> (B, width, H, W)."""
        splits = paddle.split(self.conv(x), RADIX, axis=self.channel_axis)
        pooled = self.pooled(paddle.add_n(splits))
        z = self.fc2(nn.functional.relu(self.bn(self.fc1(pooled))))
        pixel = [-1, 1, 1] if self.data_format == "NCHW" else [1, 1, -1]
        shares = nn.functional.softmax(z.reshape([0, RADIX, *pixel]), axis=1)
        return paddle.add_n([u * a for u, a in zip(splits, paddle.unstack(shares, axis=1), strict=True)])


class Unit(Layout, nn.Layer):
    """1x1, split attention, 1x1 to 4 width channels, plus a shortcut, projected where width or size changes.

    With stride 2, a 3x3 average pool (zeros beyond the border counted) halves the size behind the split
    attention, and a 2x2 average pool (only pixels inside counted) before the shortcut's projection.
    """

    def __init__(self, n_in: int, width: int, *, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = ConvBN(n_in, width, 1)
        self.conv2 = SplitAttention(width)
        self.conv3 = ConvBN(width, 4 * width, 1, relu=False)
        self.shortcut: ConvBN | None = None
        if stride != 1 or n_in != 4 * width:
            self.shortcut = ConvBN(n_in, 4 * width, 1, relu=False)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        y, straight = self.conv2(self.conv1(x)), x
        if self.stride != 1:
            layout = self.data_format
            y = nn.functional.avg_pool2d(y, 3, self.stride, 1, exclusive=False, data_format=layout)
            straight = nn.functional.avg_pool2d(x, self.stride, self.stride, ceil_mode=True, data_format=layout)
        y = self.conv3(y)
        if self.shortcut is not None:
            straight = self.shortcut(straight)
        return nn.functional.relu(y + straight)


class ResNeSt(FromFeatures, nn.Layer):
    """Stages of ``depths`` units, 64, 128, 256 and 512 wide inside; each later stage halves the size.

    The stem is three 3x3 convolutions, ``stem_width``, ``stem_width`` and twice that wide, the first with
    stride 2, and a 3x3/2 max-pool. ``feature_width`` is the length of the penultimate vector.
    """

    def __init__(self, n_classes: int, *, depths: Sequence[int], stem_width: int, recompute: bool = False) -> None:
        super().__init__()
        self.recompute, self.feature_width = recompute, 2048
        self.stem = nn.Sequential(
            ConvBN(3, stem_width, 3, stride=2),
            ConvBN(stem_width, stem_width, 3),
            ConvBN(stem_width, 2 * stem_width, 3),
            nn.MaxPool2D(3, stride=2, padding=1),
        )
        units, n_in = [], 2 * stem_width
        for i, depth in enumerate(depths):
            width = 64 * 2**i
            for j in range(depth):
                units.append(Unit(n_in, width, stride=2 if i > 0 and j == 0 else 1))
                n_in = 4 * width
        self.units, self.cut = nn.LayerList(units), len(units) - depths[-1]
        self.fc = classifier(self.feature_width, n_classes)

    def front(self, x: paddle.Tensor) -> paddle.Tensor:
        """Images (B, 3, H, W) float32, normalised -> maps (B, 1024, H / 16, W / 16), >= 0."""
        x = self.stem(x)
        return self.through(list(self.units)[: self.cut], x)

    def rest(self, x: paddle.Tensor) -> paddle.Tensor:
        """What ``front`` gives -> penultimate vectors (B, feature_width), >= 0."""
        x = self.through(self.rest_layers(), x)
        return self.pooled(x).flatten(1)

    def rest_layers(self) -> list[nn.Layer]:
        """The layers of ``rest``: the last stage's units."""
        return list(self.units)[self.cut :]


def ResNeSt50(n_classes: int = 1000, *, recompute: bool = False) -> ResNeSt:
    """The paper's 50-layer network, stem 32 to 64 wide."""
    return ResNeSt(n_classes, depths=(3, 4, 6, 3), stem_width=32, recompute=recompute)


def ResNeSt101(n_classes: int = 1000, *, recompute: bool = False) -> ResNeSt:
    """The paper's 101-layer network, stem 64 to 128 wide."""
    return ResNeSt(n_classes, depths=(3, 4, 23, 3), stem_width=64, recompute=recompute)
