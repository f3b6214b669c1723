"""Inception with batch norm (Ioffe & Szegedy 2015, "Batch Normalization", figure 5), known as Inception-v2.

``InceptionV2`` is the paper's table, but for a plain first convolution, where the paper's is separable. The
Caffe port that many use has 128 pooled channels in 4c and 4d, where the paper has 96, and biases in front of
batch norm: its weights do not fit. ``InceptionV2_multiscale`` has CurriculumNet's stem (Guo et al. 2018).
Images of any size run; the paper's have 224 pixels.
"""

from __future__ import annotations

from collections.abc import Iterator

from paddle import nn

from .blocks import ConvBN
from .inception import Branches, Inception, average_pool, chain

# The paper's table: 1x1; 3x3 reduced to, 3x3; double 3x3 reduced to, double 3x3; pool and its projection.
# 0: there is none. Modules without a projection have stride 2 and a max-pool that passes every channel.
MODULES = {
    "3a": (64, 64, 64, 64, 96, "average", 32),
    "3b": (64, 64, 96, 64, 96, "average", 64),
    "3c": (0, 128, 160, 64, 96, "max", 0),
    "4a": (224, 64, 96, 96, 128, "average", 128),
    "4b": (192, 96, 128, 96, 128, "average", 128),
    "4c": (160, 128, 160, 128, 160, "average", 96),
    "4d": (96, 128, 192, 160, 192, "average", 96),
    "4e": (0, 128, 192, 192, 256, "max", 0),
    "5a": (352, 192, 320, 160, 224, "average", 128),
    "5b": (352, 192, 320, 192, 224, "max", 128),
}


def InceptionV2(n_classes: int = 1000, *, recompute: bool = False) -> Inception:
    """The paper's network: 7x7/2 stem, modules 3a to 5b, 1,024 features."""
    return _network(n_classes, ConvBN(3, 64, 7, stride=2), recompute)


def InceptionV2_multiscale(n_classes: int = 1000, *, recompute: bool = False) -> Inception:
    """The same with a 5x5/2 and a 9x9/2 convolution side by side in place of the 7x7 (CurriculumNet).

    How the 64 channels are shared is not published: 32 and 32 (ours).
    """
    stem = Branches(ConvBN(3, 32, 5, stride=2), ConvBN(3, 32, 9, stride=2))
    return _network(n_classes, stem, recompute)


def _network(n_classes: int, stem: nn.Layer, recompute: bool) -> Inception:
    units = [
        nn.Sequential(stem, _halving_pool()),
        nn.Sequential(chain(64, (64, 1), (192, 3)), _halving_pool()),
        *_modules(192),
    ]
    return Inception(n_classes, units, 1024, recompute=recompute)


def _modules(n_in: int) -> Iterator[Branches]:
    for n_1x1, reduced, n_3x3, reduced_double, n_double, pool, projected in MODULES.values():
        last = {} if projected else {"stride": 2}
        branches: list[nn.Layer] = [chain(n_in, (n_1x1, 1))] if n_1x1 else []
        branches.append(chain(n_in, (reduced, 1), (n_3x3, 3, last)))
        branches.append(chain(n_in, (reduced_double, 1), (n_double, 3), (n_double, 3, last)))
        if projected:
            same = average_pool() if pool == "average" else nn.MaxPool2D(3, stride=1, padding=1)
            branches.append(nn.Sequential(same, chain(n_in, (projected, 1))))
        else:
            branches.append(_halving_pool())
        yield Branches(*branches)
        n_in = n_1x1 + n_3x3 + n_double + (projected or n_in)


def _halving_pool() -> nn.MaxPool2D:
    return nn.MaxPool2D(3, stride=2, padding=1)
