"""Weights of other libraries, recognised by the names and shapes of their parameters and turned into ours.

Which library calls what how is in ``pytorch_names.py`` and ``paddleclas_names.py``, by families of networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from urnet.checkpoints import paddleclas_names, pytorch_names
from urnet.checkpoints.load import classifier_keys
from urnet.checkpoints.renaming import Family, Shape
from urnet.config.choices import CLASSIFIERS
from urnet.core.checks import InputError

FAMILIES: tuple[Family, ...] = (*pytorch_names.FAMILIES, *paddleclas_names.FAMILIES)
UNLIKE = (*pytorch_names.UNLIKE, *paddleclas_names.UNLIKE)
TRAINING_ONLY = "auxiliary."  # a head that published weights may be without
PUBLISHED = "paddle.vision"  # whose names ``network.published_names()`` gives
COUNTERS = ("num_batches_tracked", "n_averaged")  # no output depends on them
WRAPPERS = ("module.", "_orig_mod.", "model.")  # put before every key by parallel training, compilation, a class around
RESNEXT_WIDTHS = {  # channels of a convolution with groups in the first stage, in all and in a group -> our networks
    (128, 4): "ResNeXt50/101/152_32x4d_standard",
    (256, 8): "ResNeXt50/101/152_32x4d (as in the 2018 release; elsewhere called 32x8d)",
    (256, 4): "ResNeXt50/101_64x4d",
}


class Recognised(NamedTuple):
    """Weights under our names and in our layout, and whose names they had."""

    library: str
    weights: dict[str, np.ndarray]


def for_network(weights: Mapping[str, np.ndarray], network: Any) -> Recognised:
    """``weights`` under the names of ``network``, if they are those that ``network.published_names()`` (ours ->
    published) or a family of another library's networks gives them, with a classifier or without; else as they are.

    What is not published (a head that only training uses) keeps the network's own values. Raises InputError.
    """
    own = network.state_dict()
    shapes = {key: tuple(value.shape) for key, value in own.items()}
    if set(own) <= set(weights):
        return Recognised("", dict(weights))
    found = None
    if hasattr(network, "published_names"):
        names, there = network.published_names(), bare(weights)
        classifier = {names[key] for key in classifier_keys(network) if key in names}
        if set(names.values()) - classifier <= set(there) <= set(names.values()):
            found = Recognised(PUBLISHED, {key: there[name] for key, name in names.items() if name in there})
            check_width(found.weights, shapes)
    found = found or in_our_names(weights, shapes)
    if found is None:
        return Recognised("", dict(weights))
    heads = {key: own[key].numpy() for key in own if key.startswith(TRAINING_ONLY) and key not in found.weights}
    return Recognised(found.library, {**heads, **found.weights})


def in_our_names(weights: Mapping[str, np.ndarray], ours: Mapping[str, Shape]) -> Recognised | None:
    """Another library's ``weights`` under our names, in our layout; None where no family's names are theirs.

    ``ours``: the shapes of a network's state dict by key. Names fit where each has a partner here, and each here one
    there; the classifier and a head that only training uses may be missing. Shapes are the caller's to check. Raises
    InputError where a family's names fit in part only, and for networks that compute something else than ours.
    """
    weights = bare(weights)
    optional = {key for key in ours if key.startswith((TRAINING_ONLY, *CLASSIFIERS))}
    needed, pytorch = set(ours) - optional, any(key.endswith(".running_mean") for key in weights)
    if needed <= set(weights):
        return Recognised("", weights)
    for unlike in UNLIKE:
        if unlike.unless not in ours and set(unlike.keys) <= set(weights):
            raise InputError(f"these are weights of {unlike.why}")
    nearest, most = None, len(needed & set(weights))
    for family in FAMILIES:
        if family.pytorch != pytorch:
            continue
        names = family.names(weights, ours)
        found = set(names.values())
        if len(found) == len(names) and needed <= found <= set(ours):
            arrays = {name: family.values(weights[key], name, ours[name]) for key, name in names.items()}
            check_width(arrays, ours)
            return Recognised(family.library, arrays)
        if len(needed & found) > most:
            nearest, most = (family, names), len(needed & found)
    if nearest and 2 * most > min(len(needed), len(weights)):
        raise InputError(_partly(*nearest, needed, ours))
    return None


def check_width(weights: Mapping[str, np.ndarray], ours: Mapping[str, Shape]) -> None:
    """Raise InputError, which names the network, for a ResNeXt of other widths: they share names across libraries."""
    key = "stage1.0.conv2.conv.weight"
    if key in ours and key in weights and weights[key].shape != tuple(ours[key]):
        whose = RESNEXT_WIDTHS.get(weights[key].shape[:2])
        if whose:
            raise InputError(f"it has the widths of {whose}; give that network")


def bare(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """``weights`` without counters, their names without what wraps a whole network."""
    kept = {key: array for key, array in weights.items() if not key.endswith(COUNTERS)}
    for prefix in [prefix for _ in WRAPPERS for prefix in WRAPPERS]:  # one may be inside another
        if kept and all(key.startswith(prefix) for key in kept):
            kept = {key[len(prefix) :]: array for key, array in kept.items()}
    return kept


def _partly(family: Family, names: Mapping[str, str], needed: set[str], ours: Mapping[str, Shape]) -> str:
    missing = [key for key in ours if key in needed and key not in names.values()]
    extra = [key for key, name in names.items() if name not in ours]
    parts = [
        f"{len(keys)} {what} ({', '.join(keys[:3])}{', …' if len(keys) > 3 else ''})"
        for what, keys in (("of the network's are missing", missing), ("do not fit into it", extra))
        if keys
    ]
    return (
        f"its parameters have the names of {family.library}, but {' and '.join(parts)}; weights of the same network "
        "are "
        "accepted"
    )
