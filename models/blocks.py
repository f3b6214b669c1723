"""Building blocks shared by every family of networks: the one ConvBN, and recomputation of a unit."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable
from typing import Any

import paddle
from paddle import nn
from paddle.distributed.fleet.utils import recompute

from urnet.core.checks import InputError
from urnet.nn.batch_norms import statistics_held

from .layout import Layout

Size = int | tuple[int, int]


class ConvBN(nn.Layer):
    """Convolution without bias, batch norm, and ReLU where asked.

    ``kernel`` and ``padding`` are one number or (height, width); padding None keeps the size at stride 1, "SAME" is
    TensorFlow's.
    Batch norm: running = 0.9 running + 0.1 batch, epsilon 1e-5 (the 2018 release's values) unless a family
    was published with another. Weights start from He's normal distribution, std = sqrt(2 / fan_in),
    fan_in = in / groups * kernel area; gamma 1, beta 0.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel: Size,
        *,
        stride: int = 1,
        padding: Size | str | None = None,
        groups: int = 1,
        relu: bool = True,
        epsilon: float = 1e-5,
    ) -> None:
        super().__init__()
        if padding is None:
            padding = kernel // 2 if isinstance(kernel, int) else (kernel[0] // 2, kernel[1] // 2)
        self.conv = nn.Conv2D(
            n_in,
            n_out,
            kernel,
            stride=stride,
            padding=padding,
            groups=groups,
            weight_attr=nn.initializer.KaimingNormal(),
            bias_attr=False,
        )
        self.bn = nn.BatchNorm2D(n_out, momentum=0.9, epsilon=epsilon)
        self.relu = relu

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = self.bn(self.conv(x))
        return nn.functional.relu(x) if self.relu else x


def classifier(n_in: int, n_classes: int) -> nn.Linear:
    """The last layer: weights uniform within 1 / sqrt(n_in) of 0, bias 0."""
    bound = 1 / math.sqrt(n_in)
    return nn.Linear(n_in, n_classes, weight_attr=nn.initializer.Uniform(-bound, bound))


@paddle.jit.not_to_static  # an export must see the sizes as numbers, not as operations of the program
def check_size(sides: list[int], least: int) -> None:
    """Raise InputError for images of which a side (height, width) has fewer than ``least`` pixels.

    Pools and convolutions of Paddle compute nonsense, without a word, from fewer pixels than their kernels
    have. A side that is not known while a network is exported (-1) passes.
    """
    height, width = sides
    if 0 < height < least or 0 < width < least:
        raise InputError(f"images: {height} x {width} pixels; {least} or more are accepted")


class FromFeatures(Layout):
    """What every network shares: ``forward`` from ``features`` and ``fc``, and the way through its units.

    Goes before ``nn.Layer``, or Paddle's network, among a network's bases. ``recompute`` says whether units
    are recomputed in the backward pass. A network that can be cut in front of its last part, so that this alone can be
    trained on maps that are kept, defines ``front``, ``rest`` and ``rest_layers`` (``urnet.nn.network``), and has its
    ``features`` from them; another one defines ``features``. Images and maps are (B, 3, H, W), or (B, H, W, 3) in a
    network whose ``data_format`` is NHWC (``layout.py``).
    """

    recompute: bool
    fc: Any
    front: Any
    rest: Any

    def features(self, x: paddle.Tensor) -> paddle.Tensor:
        """Images (B, 3, H, W) float32, normalised -> penultimate vectors (B, feature_width)."""
        return self.rest(self.front(x))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Images (B, 3, H, W) float32, normalised -> logits (B, n_classes)."""
        return self.fc(self.features(x))

    def through(self, units: Iterable[nn.Layer], x: Any) -> Any:
        """``x``, a tensor or a tuple of them, through one unit after another."""
        for unit in units:
            x = recomputed(unit, x) if self.recompute else unit(x)
        return x


def recomputed(unit: nn.Layer, x: Any) -> Any:
    """``unit(x)``, x a tensor or a tuple of them; in training the inner activations are dropped and computed
    again in the backward pass.

    The second pass must not move the running statistics of batch norm again. ``use_reentrant=False`` because the
    other kind runs a backward pass inside the backward pass, which ``paddle.DataParallel`` refuses.
    """
    if not (unit.training and paddle.is_grad_enabled()):
        return unit(x)
    passes: list[None] = []

    def run(x: Any) -> Any:
        passes.append(None)
        with statistics_held(unit) if len(passes) > 1 else contextlib.nullcontext():
            return unit(x)

    return recompute(run, x, use_reentrant=False, preserve_rng_state=False)
