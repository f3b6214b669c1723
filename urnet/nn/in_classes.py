"""Whether an image fits any of the classes, as part of a network's program."""

from __future__ import annotations

from typing import Any

import paddle

from urnet.core.checks import InputError
from urnet.reweight.class_centres import ClassCentres


class InClasses(paddle.nn.Layer):
    """``ClassCentres.score`` of a network's features. Centres, threshold and scale are buffers: nothing is trained."""

    def __init__(self, reference: ClassCentres) -> None:
        super().__init__()
        self.reference = reference
        self.register_buffer("centres", paddle.to_tensor(reference.centres.T.copy()), persistable=False)

    def forward(self, features: paddle.Tensor) -> paddle.Tensor:
        """(B, d) -> float32 (B,), 0..1."""
        rows = features.astype("float32")
        length = (rows * rows).sum(axis=1, keepdim=True).sqrt().clip(min=1e-12)
        nearness = paddle.matmul(rows / length, self.centres).max(axis=1)
        return paddle.nn.functional.sigmoid((nearness - self.reference.threshold) / self.reference.scale)


def in_classes_layer(reference: ClassCentres | None, network: Any, source: object) -> InClasses | None:
    """The layer for a network; None where ``source``, its checkpoint, has no reference.

    Raises InputError where the reference is of another network's features.
    """
    if reference is None:
        return None
    width, needed = reference.centres.shape[1], getattr(network, "feature_width", None)
    if width != needed:
        raise InputError(
            f"{source}: its reference for in_classes is of {width} features, but the network has {needed}; "
            "it was copied from another checkpoint"
        )
    return InClasses(reference)
