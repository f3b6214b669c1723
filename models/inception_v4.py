"""Inception-v4 (Szegedy et al. 2017, "Inception-v4, Inception-ResNet and the Impact of Residual …").

Images are 75 or more pixels high and wide; the paper's have 299. Batch norm's epsilon is 0.001, as in the
authors' code and published weights.
"""

from __future__ import annotations

from functools import partial

from paddle import nn

from .inception import HALVED, VALID, Branches, Inception, average_pool
from .inception import chain as plain_chain

chain = partial(plain_chain, epsilon=1e-3)


def InceptionV4(n_classes: int = 1000, *, recompute: bool = False) -> Inception:
    """The paper's network: stem, 4 modules A (35x35 of 299), 7 B (17x17), 3 C (8x8), 1,536 features."""
    units = [
        chain(3, (32, 3, HALVED), (32, 3, VALID), (64, 3)),
        Branches(nn.MaxPool2D(3, stride=2), chain(64, (96, 3, HALVED))),
        Branches(chain(160, (64, 1), (96, 3, VALID)), chain(160, (64, 1), (64, (1, 7)), (64, (7, 1)), (96, 3, VALID))),
        Branches(chain(192, (192, 3, HALVED)), nn.MaxPool2D(3, stride=2)),
        *(module_a() for _ in range(4)),
        reduction_a(),
        *(module_b() for _ in range(7)),
        reduction_b(),
        *(module_c() for _ in range(3)),
    ]
    return Inception(n_classes, units, 1536, least_size=75, recompute=recompute)


def module_a() -> Branches:
    """384 channels to 384."""
    return Branches(
        chain(384, (96, 1)),
        chain(384, (64, 1), (96, 3)),
        chain(384, (64, 1), (96, 3), (96, 3)),
        nn.Sequential(average_pool(), chain(384, (96, 1))),
    )


def reduction_a() -> Branches:
    """384 channels to 1,024, half the size."""
    return Branches(
        chain(384, (384, 3, HALVED)), chain(384, (192, 1), (224, 3), (256, 3, HALVED)), nn.MaxPool2D(3, stride=2)
    )


def module_b() -> Branches:
    """1,024 channels to 1,024."""
    return Branches(
        chain(1024, (384, 1)),
        chain(1024, (192, 1), (224, (1, 7)), (256, (7, 1))),
        chain(1024, (192, 1), (192, (7, 1)), (224, (1, 7)), (224, (7, 1)), (256, (1, 7))),
        nn.Sequential(average_pool(), chain(1024, (128, 1))),
    )


def reduction_b() -> Branches:
    """1,024 channels to 1,536, half the size."""
    return Branches(
        chain(1024, (192, 1), (192, 3, HALVED)),
        chain(1024, (256, 1), (256, (1, 7)), (320, (7, 1)), (320, 3, HALVED)),
        nn.MaxPool2D(3, stride=2),
    )


def module_c() -> Branches:
    """1,536 channels to 1,536; two of the branches fork at their ends."""
    return Branches(
        chain(1536, (256, 1)),
        nn.Sequential(chain(1536, (384, 1)), fork(384)),
        nn.Sequential(chain(1536, (384, 1), (448, (3, 1)), (512, (1, 3))), fork(512)),
        nn.Sequential(average_pool(), chain(1536, (256, 1))),
    )


def fork(n_in: int) -> Branches:
    """A row and a column of three pixels side by side, 256 channels each."""
    return Branches(chain(n_in, (256, (1, 3))), chain(n_in, (256, (3, 1))))
