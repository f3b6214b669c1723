"""Two networks of one kind that are trained together and predict together."""

from __future__ import annotations

import math
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import nn

from urnet.core.checks import InputError


class Pair(nn.Layer):
    """``first`` and ``second``: networks of the same kind, with weights of their own.

    In evaluation they are one network: its logits are the logarithm of the mean of both softmaxes, its features both
    networks' side by side. In training each is given images of its own. Raises InputError for networks with an
    auxiliary head.
    """

    def __init__(self, first: Any, second: Any) -> None:
        super().__init__()
        if getattr(first, "auxiliary_weight", 0.0):
            raise InputError("two networks: found a kind with an auxiliary head; accepted: one without")
        self.first, self.second = first, second
        self.feature_width = 2 * int(getattr(first, "feature_width", 0))
        self.recompute = bool(getattr(first, "recompute", False))
        self.data_format = getattr(first, "data_format", "NCHW")

    def forward(self, images: paddle.Tensor) -> Any:
        """Evaluation: (B, 3, S, S) -> (B, C). Training: (2 B, 3, S, S), the first network's B images and then the
        second's -> the logits of each, (B, C) twice."""
        if not self.training:
            return mean_logits(self.first(images), self.second(images))
        half = images.shape[0] // 2
        return self.first(images[:half]), self.second(images[half:])

    def features(self, images: paddle.Tensor) -> paddle.Tensor:
        """(B, 3, S, S) -> (B, 2 d): the first network's penultimate vectors, then the second's."""
        return paddle.concat([self.first.features(images), self.second.features(images)], axis=1)

    def fc(self, features: paddle.Tensor) -> paddle.Tensor:
        """(B, 2 d) -> (B, C): what ``forward`` gives in evaluation."""
        width = self.feature_width // 2
        return mean_logits(self.first.fc(features[:, :width]), self.second.fc(features[:, width:]))


def mean_logits(first: paddle.Tensor, second: paddle.Tensor) -> paddle.Tensor:
    """log((softmax(first) + softmax(second)) / 2), (B, C) float32: its softmax is the mean of the probabilities."""
    both = [F.log_softmax(logits.astype("float32"), axis=-1) for logits in (first, second)]
    return paddle.logsumexp(paddle.stack(both), axis=0) - math.log(2)
