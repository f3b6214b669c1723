"""Weights into a network: all of them fit, or one line says what does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from urnet.config.choices import CLASSIFIERS
from urnet.core.checks import InputError


def classifier_keys(network: Any) -> list[str]:
    """State-dict keys of the layers that have a row per class: ``fc``, and an auxiliary head's classifier."""
    return [key for key in network.state_dict() if key.startswith(CLASSIFIERS)]


def load_into(
    network: Any, weights: Mapping[str, np.ndarray], *, strict: bool = True, source: str = "", hint: str = ""
) -> list[str]:
    """Copy ``weights`` into ``network`` and return the keys that kept their own values (none when strict).

    With ``strict=False`` a classifier (``CLASSIFIERS``) may be missing or of another number of classes (also with
    its axes in other libraries' order); it then stays as it is, weight and bias. Everything else that is missing,
    unexpected, misshapen, of another type or not finite is an InputError that lists it, and the network is left
    untouched. ``hint`` is added to
    the message where ``strict=False`` would have accepted the weights.
    """
    own = network.state_dict()
    where = f"{source}: " if source else ""
    shapes = {key: (tuple(weights[key].shape), tuple(own[key].shape)) for key in own if key in weights}
    bad = [
        [key for key in own if key not in weights],
        [key for key in weights if key not in own],
        [key for key, (found, needed) in shapes.items() if found != needed],
    ]
    new = _other_classifiers(own, bad)
    beyond = [[key for key in keys if key not in new or _differs_in_more(key, shapes)] for keys in bad]
    listed = bad if strict else beyond
    if any(listed):
        raise InputError(where + _difference(listed, shapes) + ("" if any(beyond) or not strict else hint))
    kept = [] if strict else new
    good = {key: weights[key] for key in own if key not in kept}
    for key, array in good.items():
        _check_values(f"{where}{key}", array, str(own[key].dtype).rpartition(".")[2])
    for key, array in good.items():
        own[key].set_value(array)
    return kept


def classifiers_text(kept: Sequence[str], weights: Mapping[str, np.ndarray], network: Any) -> str:
    """What ``load_into(strict=False)``, which returned ``kept``, did with the classifiers, in words."""
    own, layers = network.state_dict(), dict.fromkeys(key.rpartition(".")[0] for key in kept)
    if not layers:
        return "everything fits; the classifier continues from its weights there"
    parts = []
    for layer in layers:
        key, bias = f"{layer}.weight", f"{layer}.bias"
        known = weights.get(bias, weights.get(key))  # a bias has the classes alone, whatever the order of axes
        there = "none there" if known is None else f"{known.shape[-1]} there"
        parts.append(f"{layer} is new, of {own[key].shape[-1]} classes ({there})")
    return f"{', '.join(parts)}; the rest is loaded"


def _other_classifiers(own: Mapping[str, Any], bad: Sequence[Sequence[str]]) -> list[str]:
    """All keys of the classifiers of which some are missing or misshapen: half a classifier is none."""
    missing, _, misshapen = bad
    other = tuple(start for start in CLASSIFIERS if any(k.startswith(start) for k in (*missing, *misshapen)))
    return [key for key in own if key.startswith(other)] if other else []


def _differs_in_more(key: str, shapes: Mapping[str, tuple]) -> bool:
    """Whether a classifier's array is of another shape in more than its classes: the last axis, or, as other
    libraries keep it, the first."""
    found, needed = shapes.get(key, ((0,), (0,)))
    turned = len(needed) == 2 and found[1:] == needed[:1]
    return not turned and (len(found) != len(needed) or found[:-1] != needed[:-1])


def _difference(bad: Sequence[Sequence[str]], shapes: Mapping[str, tuple]) -> str:
    """What a checkpoint and a network differ in, on one line: counts and the first five of each kind."""
    missing, unexpected, misshapen = bad
    weight = "fc.weight"
    if not missing and not unexpected and weight in misshapen and all(key.startswith(CLASSIFIERS) for key in misshapen):
        found, needed = shapes[weight]
        return (
            f"has {found[-1]} classes ({weight} {_shape(found)}) but class_dim is {needed[-1]}"
            if found[:-1] == needed[:-1]
            else f"{weight} is {_shape(found)} but {_shape(needed)} is needed"
        )
    sizes = [f"{key} is {_shape(shapes[key][0])} not {_shape(shapes[key][1])}" for key in misshapen]
    parts = [
        f"{len(items)} {word} ({', '.join(items[:5])}{', …' if len(items) > 5 else ''})"
        for word, items in (("missing", missing), ("unexpected", unexpected), ("misshapen", sizes))
        if items
    ]
    return f"does not fit the network; parameters: {'; '.join(parts)}"


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _check_values(where: str, array: np.ndarray, needed: str) -> None:
    if str(array.dtype) != needed:
        raise InputError(f"{where}: holds {array.dtype}; {needed} is needed")
    if not np.isfinite(array).all():
        n = int(array.size - np.isfinite(array).sum())
        raise InputError(f"{where}: {n} of {array.size} values are not finite; finite weights are accepted")
