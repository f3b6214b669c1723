"""Inception-ResNet-v2 (Szegedy et al. 2017, "Inception-v4, Inception-ResNet and the Impact of Residual …").

Images are 75 or more pixels high and wide; the paper's have 299. The stem, the widths, the numbers of units,
their scales and batch norm's epsilon (0.001) are those of the authors' code and published weights: the
paper's figures show another stem, other widths and half as many units.
"""

from __future__ import annotations

from functools import partial

import paddle
from paddle import nn

from .inception import HALVED, VALID, Branches, Inception, average_pool
from .inception import chain as plain_chain

chain = partial(plain_chain, epsilon=1e-3)


class Residual(nn.Layer):
    """relu(x + scale * projection(branches(x))); ``relu`` False leaves the sum as it is.

    ``branches`` takes ``n`` channels and gives ``n_inner``. The projection back to ``n`` is a 1x1 convolution
    with bias and without batch norm.
    """

    def __init__(self, n: int, n_inner: int, scale: float, branches: Branches, *, relu: bool = True) -> None:
        super().__init__()
        self.branches, self.scale, self.relu = branches, scale, relu
        self.projection = nn.Conv2D(n_inner, n, 1, weight_attr=nn.initializer.KaimingNormal())

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = x + self.scale * self.projection(self.branches(x))
        return nn.functional.relu(x) if self.relu else x


def InceptionResNetV2(n_classes: int = 1000, *, recompute: bool = False) -> Inception:
    """Stem, 10 residual units at 35x35 (of 299), 20 at 17x17, 10 at 8x8, 1,536 features.

    The residual scales are 0.17, 0.1 and 0.2; the last unit has scale 1 and no ReLU.
    """
    units = [
        chain(3, (32, 3, HALVED), (32, 3, VALID), (64, 3)),
        nn.Sequential(nn.MaxPool2D(3, stride=2), chain(64, (80, 1), (192, 3, VALID))),
        nn.Sequential(nn.MaxPool2D(3, stride=2), first_module()),
        *(unit_35() for _ in range(10)),
        reduction_a(),
        *(unit_17() for _ in range(20)),
        reduction_b(),
        *(unit_8(0.2) for _ in range(9)),
        unit_8(1.0, relu=False),
        chain(2080, (1536, 1)),
    ]
    return Inception(n_classes, units, 1536, least_size=75, recompute=recompute)


def first_module() -> Branches:
    """192 channels to 320, without a residual."""
    return Branches(
        chain(192, (96, 1)),
        chain(192, (48, 1), (64, 5)),
        chain(192, (64, 1), (96, 3), (96, 3)),
        nn.Sequential(average_pool(), chain(192, (64, 1))),
    )


def unit_35() -> Residual:
    """320 channels."""
    branches = Branches(chain(320, (32, 1)), chain(320, (32, 1), (32, 3)), chain(320, (32, 1), (48, 3), (64, 3)))
    return Residual(320, 128, 0.17, branches)


def reduction_a() -> Branches:
    """320 channels to 1,088, half the size."""
    return Branches(
        chain(320, (384, 3, HALVED)), chain(320, (256, 1), (256, 3), (384, 3, HALVED)), nn.MaxPool2D(3, stride=2)
    )


def unit_17() -> Residual:
    """1,088 channels."""
    branches = Branches(chain(1088, (192, 1)), chain(1088, (128, 1), (160, (1, 7)), (192, (7, 1))))
    return Residual(1088, 384, 0.1, branches)


def reduction_b() -> Branches:
    """1,088 channels to 2,080, half the size."""
    return Branches(
        chain(1088, (256, 1), (384, 3, HALVED)),
        chain(1088, (256, 1), (288, 3, HALVED)),
        chain(1088, (256, 1), (288, 3), (320, 3, HALVED)),
        nn.MaxPool2D(3, stride=2),
    )


def unit_8(scale: float, *, relu: bool = True) -> Residual:
    """2,080 channels."""
    branches = Branches(chain(2080, (192, 1)), chain(2080, (192, 1), (224, (1, 3)), (256, (3, 1))))
    return Residual(2080, 448, scale, branches, relu=relu)
