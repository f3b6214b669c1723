"""Residual networks (He et al. 2016, "Deep Residual Learning"), as Paddle's own vision library has them."""

from __future__ import annotations

import paddle
from paddle import nn
from paddle.vision.models import resnet

from .blocks import FromFeatures


class ResNet(FromFeatures, resnet.ResNet):
    """Paddle's network of that depth, and what ours have besides: features and recomputation.

    Units are two 3x3 convolutions up to 34 layers and bottlenecks from 50 on, as in the paper. Weights
    published for Paddle's network of the same depth fit it. ``feature_width`` is the length of the
    penultimate vector.
    """

    def __init__(self, n_classes: int, *, depth: int, recompute: bool = False) -> None:
        block = resnet.BasicBlock if depth < 50 else resnet.BottleneckBlock
        super().__init__(block, depth, num_classes=n_classes)
        self.recompute, self.feature_width = recompute, 512 * block.expansion

    def front(self, x: paddle.Tensor) -> paddle.Tensor:
        """Images (B, 3, H, W) float32, normalised -> maps (B, feature_width / 2, H / 16, W / 16), >= 0."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in (self.layer1, self.layer2, self.layer3):
            x = self.through(stage, x)
        return x

    def rest(self, x: paddle.Tensor) -> paddle.Tensor:
        """What ``front`` gives -> penultimate vectors (B, feature_width), >= 0."""
        return self.avgpool(self.through(self.layer4, x)).flatten(1)

    def rest_layers(self) -> list[nn.Layer]:
        """The layers of ``rest``."""
        return [self.layer4]


def ResNet18(n_classes: int = 1000, *, recompute: bool = False) -> ResNet:
    """The paper's 18-layer network."""
    return ResNet(n_classes, depth=18, recompute=recompute)


def ResNet34(n_classes: int = 1000, *, recompute: bool = False) -> ResNet:
    """The paper's 34-layer network."""
    return ResNet(n_classes, depth=34, recompute=recompute)


def ResNet50(n_classes: int = 1000, *, recompute: bool = False) -> ResNet:
    """The paper's 50-layer network; the stride of a stage is in the 3x3 convolution, as is usual today."""
    return ResNet(n_classes, depth=50, recompute=recompute)


def ResNet101(n_classes: int = 1000, *, recompute: bool = False) -> ResNet:
    """The paper's 101-layer network, the stride as in ResNet50."""
    return ResNet(n_classes, depth=101, recompute=recompute)


def ResNet152(n_classes: int = 1000, *, recompute: bool = False) -> ResNet:
    """The paper's 152-layer network, the stride as in ResNet50."""
    return ResNet(n_classes, depth=152, recompute=recompute)
