"""What belongs to a timm checkpoint: the ``config.json`` next to its weights on model hubs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from urnet.checkpoints.pytorch_names import TIMM
from urnet.config.combinations import check_transform
from urnet.config.recipe import Transform
from urnet.core.checks import InputError

FILE, LARGEST = "config.json", 1 << 20  # bytes
_OURS = {theirs: ours for ours, theirs in TIMM.items()}


@dataclass(frozen=True)
class TimmConfig:
    """Our network's name, its classes and their names (None: not told), and how its pixels are prepared.

    ``imagenet``: the classes are ImageNet's 1,000.
    """

    network: str
    n_classes: int
    transform: Transform
    class_names: list[str] | None
    imagenet: bool


def read_config(folder: Path) -> TimmConfig | None:
    """``config.json`` in ``folder``; None where there is none, or it is another library's or of another network.

    The short side is the size divided by ``crop_pct``, rounded down, as timm has it; images are resized linearly
    whatever ``interpolation`` says. Raises InputError for a file of timm's whose values are none.
    """
    path = folder / FILE
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            return None
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(tree, dict) or str(tree.get("architecture")) not in _OURS:
        return None
    network = _OURS[str(tree["architecture"])]
    try:
        return _read(network, tree, tree.get("pretrained_cfg", tree), str(path))
    except (KeyError, TypeError, ValueError, ZeroDivisionError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        what = "architecture, num_classes and pretrained_cfg with input_size, crop_pct, mean and std are needed"
        raise InputError(f"{path}: cannot be understood ({type(error).__name__}: {error}); {what}") from None


def _read(network: str, tree: dict[str, Any], given: dict[str, Any], source: str) -> TimmConfig:
    size, share = int(given["input_size"][1]), float(given.get("crop_pct") or 0.875)
    mean, std = (tuple(float(value) for value in given[name]) for name in ("mean", "std"))
    if len(mean) != 3 or len(std) != 3:
        raise ValueError("mean and std have three numbers")
    transform = Transform(size=size, eval="short", resize_short=max(size, int(size / share)), mean=mean, std=std)
    check_transform(transform, source)
    n_classes = int(tree.get("num_classes") or given["num_classes"])
    names = tree.get("label_names")
    if not (isinstance(names, list) and len(names) == n_classes and all(isinstance(name, str) for name in names)):
        names = None
    imagenet = names is None and n_classes == 1000 and str(given.get("tag", "in1k")).endswith("in1k")
    return TimmConfig(network, n_classes, transform, names, imagenet)
