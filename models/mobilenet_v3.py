"""MobileNet-v3 (Howard et al. 2019, "Searching for MobileNetV3") of Paddle's vision library.

Two things differ from Paddle's in training; in evaluation the two are the same, bit for bit. The dropout in front of
the classifier is left out, and batch norm's running statistics have momentum 0.9 as everywhere here (Paddle's: 0.99,
which leaves half of the first statistics in place after 70 steps).
"""

from __future__ import annotations

import paddle
from paddle import nn
from paddle.vision.models import mobilenetv3

from .blocks import FromFeatures
from .depthwise import quicken

_CUT = 12  # blocks in front of the first whose output is 7x7 at 224 pixels


class MobileNetV3(FromFeatures, mobilenetv3.MobileNetV3Large):
    """Paddle's large network, and what ours have besides: features, ``fc`` and recomputation.

    Its head has two linear layers: ``hidden``, behind the mean over the image, and the classifier ``fc``. Features
    are what ``fc`` sees, the vector behind ``hidden`` and its activation. Weights published for Paddle's network are
    read as they are (``published_names``). ``feature_width`` is the length of the penultimate vector.
    """

    def __init__(self, n_classes: int, *, recompute: bool = False) -> None:
        super().__init__(num_classes=n_classes)
        self.hidden, self.fc = self.classifier[0], self.classifier[3]
        del self.classifier
        self.recompute, self.feature_width = recompute, self.last_channel
        for layer in self.sublayers():
            if isinstance(layer, nn.BatchNorm2D):
                layer._momentum = 0.9
        quicken(self)

    def published_names(self) -> dict[str, str]:
        """State-dict key -> its name in the weights published for Paddle's network."""
        there = {"hidden": "classifier.0", "fc": "classifier.3"}
        keys = {key: key.partition(".") for key in self.state_dict()}
        return {key: f"{there.get(layer, layer)}.{rest}" for key, (layer, _, rest) in keys.items()}

    def front(self, x: paddle.Tensor) -> paddle.Tensor:
        """Images (B, 3, H, W) float32, normalised -> maps (B, 112, H / 16, W / 16), rounded up."""
        return self.through(list(self.blocks)[:_CUT], self.conv(x))

    def rest(self, x: paddle.Tensor) -> paddle.Tensor:
        """What ``front`` gives -> penultimate vectors (B, 1280), -0.375 or more."""
        x = self.lastconv(self.through(list(self.blocks)[_CUT:], x))
        return nn.functional.hardswish(self.hidden(self.avgpool(x).flatten(1)))

    def rest_layers(self) -> list[nn.Layer]:
        """The layers of ``rest``."""
        return [*list(self.blocks)[_CUT:], self.lastconv, self.hidden]


def MobileNetV3_large(n_classes: int = 1000, *, recompute: bool = False) -> MobileNetV3:
    """MobileNet-v3 large of width 1, made for telephones."""
    return MobileNetV3(n_classes, recompute=recompute)
