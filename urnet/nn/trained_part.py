"""The last part of a network, trained on what the frozen part before it gave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import paddle
from paddle import nn

from urnet.nn.batch_norms import BATCH_NORMS
from urnet.nn.layout import channels_first, in_layout_of


class TrainedPart(nn.Layer):
    """What is trained of ``network``: its classifier (``train`` "classifier"), or that and its ``rest`` ("top").

    Takes kept activations, of any float type: features (B, feature_width), or what ``front`` gives, (B, C, h, w).
    Everything else in ``network`` no longer learns, to the bit, nor do the statistics of batch norm in the trained part
    move: they are used as in evaluation (ours: a few thousand pictures' batches would make them worse than those that
    came with the weights). Scales and offsets learn.
    """

    def __init__(self, network: Any, train: str) -> None:
        super().__init__()
        self._whole = [network]  # not as a sub-layer: only what learns is one, for those who ask for parameters
        self._top = train == "top"
        self.layers = nn.LayerList([*(network.rest_layers() if self._top else []), network.fc])
        learns = {id(p) for p in self.layers.parameters() if not p.stop_gradient}
        for _, parameter in network.named_parameters():
            parameter.stop_gradient = id(parameter) not in learns
        for layer in self.layers.sublayers():
            if isinstance(layer, BATCH_NORMS):
                layer._use_global_stats = True

    def features(self, kept: paddle.Tensor) -> paddle.Tensor:
        """Kept activations -> penultimate vectors (B, feature_width), float32."""
        kept = kept.astype("float32")
        if not self._top:
            return kept
        kept.stop_gradient = not getattr(self._whole[0], "recompute", False)  # else Paddle warns of each step
        return self._whole[0].rest(in_layout_of(self._whole[0], kept))

    def forward(self, kept: paddle.Tensor) -> paddle.Tensor:
        """Kept activations -> logits (B, C)."""
        return self._whole[0].fc(self.features(kept))


def kept_shape(network: Any, train: str, size: int) -> Sequence[int]:
    """The shape of what is kept of a picture of ``size`` pixels a side, for ``TrainedPart``."""
    if train == "classifier":
        return (int(network.feature_width),)
    network.eval()
    with paddle.no_grad():
        image = in_layout_of(network, paddle.zeros([1, 3, size, size]))
        return [int(n) for n in channels_first(network, network.front(image)).shape[1:]]
