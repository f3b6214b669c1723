"""EfficientNet-Lite0: EfficientNet-B0 (Tan and Le 2019) as its authors changed it for small devices.

No squeeze-and-excitation, ReLU6 in place of swish. Windows of stride 2 are padded as TensorFlow pads them (the odd
pixel below and on the right) and batch norm's epsilon is 0.001, as in the authors' code and published weights. Their
dropout and stochastic depth, which only training uses, are left out. 224 pixels; 4.65 million parameters.
"""

from __future__ import annotations

from typing import Any

import paddle
from paddle import nn

from .blocks import ConvBN, FromFeatures, classifier
from .depthwise import quicken

# kernel, units, stride of the first, expansion, channels
_STAGES = (
    (3, 1, 1, 1, 16),
    (3, 2, 2, 6, 24),
    (5, 2, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (5, 3, 1, 6, 112),
    (5, 4, 2, 6, 192),
    (3, 1, 1, 6, 320),
)
_CUT = 11  # units in front of the first whose output is 7x7 at 224 pixels


class ConvBN6(ConvBN):
    """ConvBN with TensorFlow's padding and epsilon, and ReLU6 where ``relu6``."""

    def __init__(self, n_in: int, n_out: int, kernel: int, *, relu6: bool = True, **options: Any) -> None:
        super().__init__(n_in, n_out, kernel, padding="SAME", relu=False, epsilon=1e-3, **options)
        self.relu6 = relu6

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = super().forward(x)
        return nn.functional.relu6(x) if self.relu6 else x


class InvertedBottleneck(nn.Layer):
    """1x1 to ``expansion`` times the channels, a depthwise window, 1x1 down; added to its input where both fit."""

    def __init__(self, n_in: int, n_out: int, kernel: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        wide = n_in * expansion
        self.expand = ConvBN6(n_in, wide, 1) if expansion > 1 else nn.Identity()
        self.depthwise = ConvBN6(wide, wide, kernel, stride=stride, groups=wide)
        self.project = ConvBN6(wide, n_out, 1, relu6=False)
        self.adds = stride == 1 and n_in == n_out

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """(B, n_in, height, width) -> (B, n_out, height / stride, width / stride), rounded up."""
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.adds else y


class EfficientNetLite(FromFeatures, nn.Layer):
    """Stem, 16 inverted bottlenecks, 1x1 to 1,280 channels, mean over the image, ``fc``."""

    def __init__(self, n_classes: int, *, recompute: bool = False) -> None:
        super().__init__()
        self.recompute, self.feature_width = recompute, 1280
        self.stem = ConvBN6(3, 32, 3, stride=2)
        units, n_in = [], 32
        for kernel, depth, stride, expansion, n_out in _STAGES:
            for i in range(depth):
                first = stride if i == 0 else 1
                units.append(InvertedBottleneck(n_in, n_out, kernel, stride=first, expansion=expansion))
                n_in = n_out
        self.units = nn.LayerList(units)
        self.head = ConvBN6(n_in, self.feature_width, 1)
        self.fc = classifier(self.feature_width, n_classes)
        quicken(self)

    def front(self, x: paddle.Tensor) -> paddle.Tensor:
        """Images (B, 3, H, W) float32, normalised -> maps (B, 112, H / 16, W / 16), rounded up."""
        return self.through(list(self.units)[:_CUT], self.stem(x))

    def rest(self, x: paddle.Tensor) -> paddle.Tensor:
        """What ``front`` gives -> penultimate vectors (B, 1280), 0 to 6."""
        x = self.head(self.through(list(self.units)[_CUT:], x))
        return self.pooled(x).flatten(1)

    def rest_layers(self) -> list[nn.Layer]:
        """The layers of ``rest``."""
        return [*list(self.units)[_CUT:], self.head]


def EfficientNetLite0(n_classes: int = 1000, *, recompute: bool = False) -> EfficientNetLite:
    """The smallest of the Lite networks, made for CPUs."""
    return EfficientNetLite(n_classes, recompute=recompute)
