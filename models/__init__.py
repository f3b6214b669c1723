"""The networks, by name. A network is an argument to ``urnet``, which never imports this package.

A family of networks is one file. To add a network: write its constructor ``NAME(n_classes, *, recompute)``
there, add its name to _FAMILIES, and the battery in ``tests/models/test_networks.py`` does the rest.
"""

from __future__ import annotations

import importlib
import textwrap
from collections.abc import Callable
from typing import Any

from urnet.core.checks import InputError, check_choice


def _in(file: str, name: str) -> Callable[..., Any]:
    """The constructor ``name`` in ``file``, which is imported when it is called: ``--help`` waits for no Paddle."""

    def construct(n_classes: int = 1000, **options: Any) -> Any:
        return getattr(importlib.import_module(f"{__name__}.{file}"), name)(n_classes, **options)

    construct.__name__ = name
    return construct


_FAMILIES = {  # file -> its networks
    "resnext": (
        "ResNeXt50_32x4d",
        "ResNeXt101_32x4d",
        "ResNeXt152_32x4d",
        "ResNeXt50_32x4d_standard",
        "ResNeXt101_32x4d_standard",
        "ResNeXt152_32x4d_standard",
        "ResNeXt50_64x4d",
        "ResNeXt101_64x4d",
        "ResNeXt_small32",
    ),
    "resnet": ("ResNet18", "ResNet34", "ResNet50", "ResNet101", "ResNet152"),
    "resnet32": ("ResNet8_small32",),
    "densenet": ("DenseNet121", "DenseNet161", "DenseNet169", "DenseNet201"),
    "inception_v2": ("InceptionV2", "InceptionV2_multiscale"),
    "inception_v3": ("InceptionV3",),
    "inception_v4": ("InceptionV4",),
    "inception_resnet_v2": ("InceptionResNetV2",),
    "senet": ("SE_ResNeXt50_32x4d", "SE_ResNeXt101_32x4d", "SE_ResNeXt152_32x4d", "SENet154"),
    "resnest": ("ResNeSt50", "ResNeSt101"),
    "dpn": ("DPN92", "DPN131"),
    "efficientnet_lite": ("EfficientNetLite0",),
    "mobilenet_v3": ("MobileNetV3_large",),
}
NETWORKS: dict[str, Callable[..., Any]] = {name: _in(file, name) for file, names in _FAMILIES.items() for name in names}
NAMES: tuple[str, ...] = tuple(NETWORKS)
LEAST_SIZES = {  # pixels a side below which an image does not last to the end; 1 for the others
    "InceptionV3": 75,
    "InceptionV4": 75,
    "InceptionResNetV2": 75,
    **dict.fromkeys(_FAMILIES["densenet"], 29),
}


def listed() -> str:
    """All names, in indented lines for a --help."""
    return textwrap.fill(", ".join(NAMES), 108, initial_indent="  ", subsequent_indent="  ")


def check_size(name: str, size: int, where: str) -> None:
    """Raise InputError, which begins with ``where``, for images too small for a network."""
    least = LEAST_SIZES.get(name, 1)
    if size < least:
        raise InputError(f"{where}: found {size} pixels; {name} takes {least} or more")


def build(name: str, n_classes: int, *, recompute: bool = False, data_format: str = "NCHW") -> Any:
    """A new network with random weights (Paddle's global seed decides them).

    ``recompute``: activations inside a residual unit are computed again in the backward pass instead of
    being kept; gradients and batch-norm statistics are those of the plain network. ``data_format``: NCHW, or NHWC
    for a network that takes images (B, H, W, 3) and computes on maps with the channels last; the weights' shapes are
    the same. Raises InputError for an unknown name (with the nearest ones) and for fewer than one class.
    """
    check_choice("model", name, NAMES)
    if n_classes < 1:
        raise InputError(f"model {name}: n_classes is {n_classes}; 1 or more is accepted")
    network = NETWORKS[name](n_classes, recompute=recompute)
    return importlib.import_module("urnet.nn.layout").with_format(network, data_format)
