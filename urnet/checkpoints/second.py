"""The second of two networks that were trained together, in a checkpoint.

``model.safetensors`` is the first network, a checkpoint like any other. ``second.safetensors`` next to it has the
second's weights under the same names; whoever predicts takes the mean of both (``urnet.nn.pair``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from urnet.checkpoints.locate import file_beside
from urnet.checkpoints.safetensors_io import read_safetensors

NAME = "second"
FILE = f"{NAME}.safetensors"
Arrays = dict[str, np.ndarray]
PREFIXES = ("first.", "second.")


def second_file(weights: str | Path) -> Path | None:
    """Where a checkpoint, named as ``checkpoint.read_weights`` takes it, has its second network; None: it has none."""
    return file_beside(weights, FILE)


def read_second(weights: str | Path) -> Arrays | None:
    """The second network's weights; None where there is none."""
    file = second_file(weights)
    return None if file is None else read_safetensors(file)


def split(weights: Mapping[str, np.ndarray]) -> tuple[Arrays, dict[str, Arrays]]:
    """The weights of a ``Pair`` as those of a checkpoint's model, and its further set of arrays."""
    first, second = ({k[len(p) :]: v for k, v in weights.items() if k.startswith(p)} for p in PREFIXES)
    return first, {NAME: second}


def joined(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray] | None) -> Arrays:
    """The weights of a ``Pair`` from those of its two networks; the ``first`` as it is where there is no other."""
    if second is None:
        return dict(first)
    parts = zip(PREFIXES, (first, second), strict=True)
    return {prefix + key: value for prefix, weights in parts for key, value in weights.items()}
