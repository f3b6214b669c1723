"""A network whose first operation is the normalisation, so that batches travel as uint8.

A float32 batch of 224-pixel images is four times as large, and normalising it on the host costs about 1 ms
an image; on the device it is part of the first pass over the data.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import paddle

from urnet.core.checks import InputError
from urnet.nn.in_classes import InClasses
from urnet.nn.layout import is_channels_last


class Normalise(paddle.nn.Layer):
    """``network`` behind (x / 255 - mean) / std.

    Takes uint8 or float batches (B, height, width, 3), RGB, values 0..255. Mean and std are not part of
    ``state_dict``; its keys carry the prefix ``network.``, so weights are read and written through
    ``self.network``. ``in_classes``: what says of its features whether an image fits any class; None: nothing.
    """

    def __init__(
        self, network: paddle.nn.Layer, mean: Sequence[float], std: Sequence[float], in_classes: InClasses | None = None
    ) -> None:
        super().__init__()
        if len(mean) != 3 or len(std) != 3 or not min(std) > 0:
            raise InputError(f"mean {list(mean)} and std {list(std)}: three numbers each, std above 0")
        self.network, self.in_classes = network, in_classes
        # x * scale + shift, rounded once from float64: within 1e-6 of the formula.
        scale = 1 / (255 * np.asarray(std, np.float64))
        shift = -np.asarray(mean, np.float64) / np.asarray(std, np.float64)
        for name, value in (("scale", scale), ("shift", shift)):
            tensor = paddle.to_tensor(value.reshape(1, 3, 1, 1).astype(np.float32))
            self.register_buffer(name, tensor, persistable=False)

    def normalise(self, images: paddle.Tensor) -> paddle.Tensor:
        """(B, height, width, 3) of 0..255 to (B, 3, height, width), float32, normalised; to a network that has the
        channels last they come as they are."""
        if is_channels_last(self.network):
            return images.astype("float32") * self.scale.flatten() + self.shift.flatten()
        return images.astype("float32").transpose([0, 3, 1, 2]) * self.scale + self.shift

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        """The network's logits."""
        return self.network(self.normalise(images))

    def features(self, images: paddle.Tensor) -> paddle.Tensor:
        """The network's penultimate features, (B, feature_width)."""
        return self.network.features(self.normalise(images))

    def front(self, images: paddle.Tensor) -> paddle.Tensor:
        """The maps in front of the network's last part (``urnet.nn.network``), in the network's layout."""
        return self.network.front(self.normalise(images))
