"""What training, measuring and prediction need of a network."""

from __future__ import annotations

from typing import Any, Protocol

import paddle


class Network(Protocol):
    """A ``paddle.nn.Layer`` that classifies images; every network in ``models`` is one.

    Optional: ``auxiliary_weight``, how much the loss of an auxiliary head counts (then the network gives two
    logits in training), and ``recompute``, whether activations are computed again in the backward pass. A network that
    can be cut in front of its last part has ``front(images)``, which gives maps, ``rest(maps)``, which gives features,
    and ``rest_layers()``, a list of the layers of ``rest``; rest(front(x)) is features(x), bit for bit. One whose
    ``data_format`` is NHWC takes images (B, height, width, 3), and its maps have their channels last as well.
    """

    fc: Any  # the classifier: features (B, feature_width) -> logits (B, C)
    feature_width: int

    def features(self, images: paddle.Tensor) -> paddle.Tensor:
        """(B, 3, height, width) float32, normalised -> (B, feature_width)."""

    def __call__(self, images: paddle.Tensor) -> Any:
        """The logits (B, C); in training a network with an auxiliary head gives (logits, its logits)."""

    def state_dict(self) -> dict[str, Any]:
        """Weights and buffers by name."""

    def named_parameters(self) -> Any:
        """Pairs of name and parameter."""

    def sublayers(self, include_self: bool = False) -> list[Any]:
        """All layers inside."""

    def train(self) -> None:
        """Training mode."""

    def eval(self) -> None:
        """Evaluation mode."""
