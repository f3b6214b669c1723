"""Densely connected networks (Huang et al. 2017), as Paddle's own vision library has them."""

from __future__ import annotations

import paddle
from paddle import nn
from paddle.vision.models import densenet

from .blocks import FromFeatures, check_size
from .layout import forward_instead


class NormReLU(nn.BatchNorm2D):
    """Batch norm and ReLU in one layer, with the names of Paddle's older ``nn.BatchNorm(act="relu")``."""

    after = staticmethod(nn.functional.relu)  # a synchronised batch norm in its place does it too

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.after(super().forward(x))


class DenseNet(FromFeatures, densenet.DenseNet):
    """Paddle's network of that depth, and what ours have besides: features, ``fc`` and recomputation.

    Weights published for Paddle's network are read as they are (``published_names``).
    ``feature_width`` is the length of the penultimate vector, ``least_size`` the fewest pixels a side has.
    """

    least_size = 29

    def __init__(self, n_classes: int, *, depth: int, recompute: bool = False) -> None:
        super().__init__(layers=depth, num_classes=n_classes)
        self.fc = self.out
        del self.out
        _modernise(self)
        for block in self.dense_block_func_list:
            for unit in block.dense_layer_func:
                forward_instead(unit, self._grown)
        self.recompute, self.feature_width = recompute, self.fc.weight.shape[0]

    def published_names(self) -> dict[str, str]:
        """State-dict key -> its name in the weights published for Paddle's network: ``fc.`` is ``out.``."""
        return {key: f"out.{key[3:]}" if key.startswith("fc.") else key for key in self.state_dict()}

    def _grown(self, unit: densenet.DenseLayer, x: paddle.Tensor) -> paddle.Tensor:
        """Maps, and behind them those that a unit adds (without dropout, which Paddle's networks do not use)."""
        return self.joined([x, unit.bn_ac_func2(unit.bn_ac_func1(x))])

    def features(self, x: paddle.Tensor) -> paddle.Tensor:
        """Images (B, 3, H, W) float32, normalised -> penultimate vectors (B, feature_width), >= 0."""
        check_size(self.sides(x), self.least_size)
        x = self.pool2d_max(self.conv1_func(x))
        for i, block in enumerate(self.dense_block_func_list):
            x = self.through(block.dense_layer_func, x)
            if i < len(self.transition_func_list):
                x = self.transition_func_list[i](x)
        return self.pool2d_avg(self.batch_norm(x)).flatten(1)


def _modernise(network: nn.Layer) -> None:
    """Replace each ``nn.BatchNorm(act="relu")``, which Paddle keeps from its 1.x days, by ``NormReLU``.

    It is not a relation of ``nn.BatchNorm2D``: whatever looks for batch norms (recomputation, moving averages,
    conversion to synchronised batch norm) would pass it over in silence.
    """
    for layer in network.sublayers(include_self=True):
        for name, old in list(layer.named_children()):
            if isinstance(old, nn.BatchNorm):
                new = NormReLU(old.weight.shape[0], momentum=old._momentum, epsilon=old._epsilon)
                setattr(layer, name, new)


def DenseNet121(n_classes: int = 1000, *, recompute: bool = False) -> DenseNet:
    """The paper's 121-layer network (growth 32)."""
    return DenseNet(n_classes, depth=121, recompute=recompute)


def DenseNet161(n_classes: int = 1000, *, recompute: bool = False) -> DenseNet:
    """The authors' 161-layer network (growth 48)."""
    return DenseNet(n_classes, depth=161, recompute=recompute)


def DenseNet169(n_classes: int = 1000, *, recompute: bool = False) -> DenseNet:
    """The paper's 169-layer network (growth 32)."""
    return DenseNet(n_classes, depth=169, recompute=recompute)


def DenseNet201(n_classes: int = 1000, *, recompute: bool = False) -> DenseNet:
    """The paper's 201-layer network (growth 32)."""
    return DenseNet(n_classes, depth=201, recompute=recompute)
