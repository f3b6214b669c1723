"""What is asked of a network while it measures: features and probabilities of a batch, over one or more views."""

from __future__ import annotations

import numpy as np
import paddle
from paddle import nn

from urnet.config.recipe import Transform
from urnet.features.views import views_of
from urnet.nn.compiled import compile_forward
from urnet.nn.layout import channels_first
from urnet.nn.network import Network
from urnet.nn.normalise import Normalise
from urnet.runtime.host_to_device import Uploads

FRONT_PARTS = 2  # the maps in front of the last part are averaged over the cells of a grid, so many a side


class _Asked(nn.Layer):
    """What the network is asked of normalised images: features (B, d), logits (B, C), and with ``front`` the maps in
    front of its last part."""

    def __init__(self, model: Normalise, front: bool) -> None:
        super().__init__()
        self.model, self.front = model, front

    def forward(self, images: paddle.Tensor) -> tuple[paddle.Tensor, ...]:
        """uint8 (B, S, S, 3) -> a pair, or a triple."""
        if not self.front:
            features = self.model.features(images)
            return features, self.model.network.fc(features)
        maps = self.model.front(images)
        features = self.model.network.rest(maps)
        return features, self.model.network.fc(features), maps


class Forward:
    """The network behind the normalisation: uint8 images to features and probabilities, on the device."""

    def __init__(
        self, network: Network, transform: Transform, amp: str | None, views: int = 1, front: bool = False
    ) -> None:
        self._network, self._asked = network, _Asked(Normalise(network, transform.mean, transform.std), front)
        self._asked.eval()
        self._amp, self._uploads = amp, Uploads()
        self._views = views_of(views, transform.size, transform.flip)

    def compile(self) -> None:
        """From now on the network computes as one program."""
        compile_forward(self._asked)

    @paddle.no_grad()
    def __call__(self, images: np.ndarray) -> tuple[paddle.Tensor, paddle.Tensor]:
        """(B, S, S, 3) -> float16 (B, d) and float32 (B, C); a GPU may still be at work on them."""
        self._uploads.begin()
        features, prob = self._of_view(images)
        for view in self._views[1:]:
            features = features.astype("float32") + self._of_view(view.of(images))[0].astype("float32")
        if len(self._views) > 1:
            features = features / len(self._views)
        return features.astype("float16"), prob

    def _of_view(self, images: np.ndarray) -> tuple[paddle.Tensor, paddle.Tensor]:
        """One view's features (B, d), of the device's type, and float32 probabilities (B, C)."""
        with paddle.amp.auto_cast(enable=self._amp is not None, dtype=self._amp or "float16", level="O1"):
            features, logits, *maps = self._asked(self._uploads(images))
        for one in maps:
            one = channels_first(self._network, one).astype("float32")
            parts = nn.functional.adaptive_avg_pool2d(one, FRONT_PARTS).flatten(1)
            features = paddle.concat([features.astype("float32"), parts], axis=1)
        return features, nn.functional.softmax(logits.astype("float32"))

    def widths(self, size: int) -> tuple[int, int]:
        """d and C, from one black image."""
        features, prob = self(np.zeros((1, size, size, 3), np.uint8))
        return features.shape[1], prob.shape[1]
