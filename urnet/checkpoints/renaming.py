"""A network's layers under other names: one library's names of a family of networks, as a few rules.

A parameter's name is a layer's and that of one of its parts (weight, bias, running statistics). Rules are regular
expressions that turn the name of a layer there into ours; where the two libraries number units differently, through or
anew in each stage, the n-th there is the n-th here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Shape = tuple[int, ...]
Rule = tuple[str, str | Callable[[re.Match[str]], str]]
PARTS = {"running_mean": "_mean", "running_var": "_variance"}  # PyTorch's -> ours, which are Paddle's


@dataclass(frozen=True, eq=False)
class Family:
    """How the layers of a family are called in a library, and what else is different there.

    Units, found there by ``units`` and here by ``here``, are numbered first, then come the rules in their order.
    ``epsilon``: batch norm's there minus ours. ``features``: what our network multiplies its features by in front of
    the classifier, and theirs does not. Both are made up for in the weights, so that the logits are theirs.
    """

    library: str
    rules: Sequence[Rule]
    units: str | None = None
    here: str = r"^units\.(\d+)(?=\.)"
    pytorch: bool = True
    epsilon: float = 0.0
    features: float = 1.0

    def names(self, keys: Iterable[str], ours: Iterable[str]) -> dict[str, str]:
        """Key there -> key here, whether or not ``ours``, our keys, has it."""
        split = [(key, *key.rpartition(".")[::2]) for key in keys]
        units = self._units([layer for _, layer, _ in split], ours)
        layers = {layer: self._layer(layer, units) for _, layer, _ in split}
        return {key: f"{layers[layer]}.{PARTS.get(part, part)}" for key, layer, part in split}

    def values(self, array: np.ndarray, name: str, shape: Shape) -> np.ndarray:
        """The values of what is called ``name`` here, of that shape, from the ``array`` there."""
        array = _our_layout(array, shape) if self.pytorch else array
        change = {"_variance": self.epsilon != 0, "weight": self.features != 1 and name == "fc.weight"}
        if not change.get(name.rpartition(".")[2]):
            return array
        array = array.astype(np.result_type(array, np.float32))
        # variance there + epsilon there = variance here + epsilon here
        return (
            array + array.dtype.type(self.epsilon) if name != "fc.weight" else array / array.dtype.type(self.features)
        )

    def _units(self, layers: Iterable[str], ours: Iterable[str]) -> dict[str, str]:
        """The name of a unit there -> the name of the unit in its place here."""
        if self.units is None:
            return {}
        return dict(zip(_in_order(self.units, layers), _in_order(self.here, ours), strict=False))

    def _layer(self, name: str, units: Mapping[str, str]) -> str:
        unit = re.match(self.units, name) if self.units else None
        if unit and unit[0] in units:
            name = units[unit[0]] + name[unit.end() :]
        for pattern, replacement in self.rules:
            name = re.sub(pattern, replacement, name)
        return name


@dataclass(frozen=True)
class Unlike:
    """Networks that are like ours in names and shapes, and compute something else.

    ``keys``: names of theirs, which they have all. ``why``: whose they are, what differs, what is accepted.
    ``unless``: a key of ours; a network that has it is theirs after all.
    """

    keys: tuple[str, ...]
    why: str
    unless: str = ""


def shifted(template: str, by: int) -> Callable[[re.Match[str]], str]:
    """A replacement: the template with the match's last group, a number, moved by ``by``, in place of #."""
    return lambda match: template.replace("#", str(int(match[match.lastindex or 0]) + by))


def _in_order(pattern: str, names: Iterable[str]) -> list[str]:
    """The units that ``pattern`` finds, by their numbers."""
    found = [re.match(pattern, name) for name in names]
    places = {match[0]: tuple((len(part), part) for part in match.groups()) for match in found if match}
    return sorted(places, key=lambda unit: places[unit])


def _our_layout(array: np.ndarray, shape: Shape) -> np.ndarray:
    """PyTorch's array in the layout of our parameter of that ``shape``.

    A linear layer's weight is (in, out) here and (out, in) there, where it may also be a 1x1 convolution's.
    """
    if len(shape) == 2 and (array.ndim == 2 or array.shape[2:] == (1, 1)):
        return array.reshape(array.shape[:2]).T
    return array
