"""What the Inception networks share: branches side by side, chains of convolutions, and the forward pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import paddle
from paddle import nn

from .blocks import ConvBN, FromFeatures, check_size, classifier
from .layout import Layout

VALID: dict[str, Any] = {"padding": 0}  # the kernel stays inside: the size shrinks
HALVED: dict[str, Any] = {"padding": 0, "stride": 2}


def chain(n_in: int, *steps: tuple[Any, ...], **options: Any) -> nn.Sequential:
    """ConvBN after ConvBN. A step is (channels out, kernel) or (channels out, kernel, options of ConvBN)."""
    layers = []
    for n_out, kernel, *own in steps:
        own_options: Mapping[str, Any] = own[0] if own else {}
        layers.append(ConvBN(n_in, n_out, kernel, **own_options, **options))
        n_in = n_out
    return nn.Sequential(*layers)


def average_pool() -> nn.AvgPool2D:
    """3x3 at stride 1; at the border only the pixels inside are averaged."""
    return nn.AvgPool2D(3, stride=1, padding=1, exclusive=True)


class Branches(Layout, nn.Layer):
    """Every branch on the same input, their channels side by side."""

    def __init__(self, *branches: nn.Layer) -> None:
        super().__init__()
        self.branches = nn.LayerList(branches)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.joined([branch(x) for branch in self.branches])


class Inception(FromFeatures, nn.Layer):
    """Units one after another, a global average pool and a classifier.

    ``recompute`` works unit by unit. ``feature_width`` is the length of the penultimate vector,
    ``least_size`` the height and width in pixels below which an image does not last to the end.
    """

    def __init__(
        self,
        n_classes: int,
        units: Iterable[nn.Layer],
        feature_width: int,
        *,
        least_size: int = 1,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.recompute, self.feature_width, self.least_size = recompute, feature_width, least_size
        self.units = nn.LayerList(units)
        self.fc = classifier(feature_width, n_classes)

    def features(self, x: paddle.Tensor) -> paddle.Tensor:
        """Images (B, 3, H, W) float32, normalised -> penultimate vectors (B, feature_width), >= 0.

        Raises InputError for images smaller than ``least_size``.
        """
        check_size(self.sides(x), self.least_size)
        x = self.through(self.units, x)
        return self.pooled(x).flatten(1)
