"""Level 2: weights into a network: all of them fit, or one line says what does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from urnet.checks import InputError


def load_into(
    network: Any, weights: Mapping[str, np.ndarray], *, strict: bool = True,
    classifier: Sequence[str] = ("fc.weight", "fc.bias"), source: str = "",
) -> list[str]:  # fmt: skip
    """Copy ``weights`` into ``network`` and return the keys that kept their own values (none when strict).

    With ``strict=False`` the parameters named in ``classifier`` may be missing or of another shape; they then
    stay as they are. Everything else that is missing, unexpected, misshapen, of another type or not finite is
    an InputError that lists it, and the network is left untouched.
    """
    own = network.state_dict()
    where = f"{source}: " if source else ""
    missing = [key for key in own if key not in weights]
    unexpected = [key for key in weights if key not in own]
    shapes = {key: (tuple(weights[key].shape), tuple(own[key].shape)) for key in own if key in weights}
    misshapen = [key for key, (found, needed) in shapes.items() if found != needed]
    free = set() if strict else set(classifier)
    bad = [[key for key in keys if key not in free] for keys in (missing, unexpected, misshapen)]
    if any(bad):
        raise InputError(where + _difference(bad, shapes, classifier))
    kept = [key for key in own if key in free and (key in missing or key in misshapen)]
    good = {key: weights[key] for key in own if key not in kept}
    for key, array in good.items():
        _check_values(f"{where}{key}", array, str(own[key].dtype).rpartition(".")[2])
    for key, array in good.items():
        own[key].set_value(array)
    return kept


def _difference(bad: Sequence[Sequence[str]], shapes: dict, classifier: Sequence[str]) -> str:
    """What a checkpoint and a network differ in, on one line: counts and the first five of each kind."""
    missing, unexpected, misshapen = bad
    weight = classifier[0]
    if not missing and not unexpected and weight in misshapen and set(misshapen) <= set(classifier):
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
