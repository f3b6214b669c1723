"""Which layer of one network is which layer of another: the pairs behind tools/compare_networks.py.

"Theirs" is a network of torch, "ours" one of Paddle. ``pair`` and ``check_covered`` are pure; neither library
is imported before a network of it is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Shape = tuple[int, ...]
Named = Iterable[tuple[str, Any]]
Run = Callable[[], Any]

# What a part of a layer is called in each library.
THEIR_PARTS = {"weight": "weight", "bias": "bias", "mean": "running_mean", "variance": "running_var"}
OUR_PARTS = {"weight": "weight", "bias": "bias", "mean": "_mean", "variance": "_variance"}
UNUSED = "num_batches_tracked"  # a counter that no output depends on


class Mismatch(Exception):
    """The layers of two networks do not correspond; the message is one line that names the first such."""


@dataclass(frozen=True)
class Layer:
    """A layer that owns parameters. ``shapes``: part -> shape, a linear weight as (out, in)."""

    name: str
    kind: str  # conv | norm | linear
    shapes: Mapping[str, Shape]

    def like(self, other: Layer) -> bool:
        """Whether kind and shapes are the same; a 1x1 convolution is also linear where the other is."""
        return self.seen_as(other.kind) == other.seen_as(self.kind)

    def seen_as(self, kind: str) -> tuple[str, dict[str, Shape]]:
        """Kind and shapes, those of a linear layer for a 1x1 convolution if ``kind`` is linear."""
        shapes = dict(self.shapes)
        if self.kind == "conv" and kind == "linear" and shapes["weight"][2:] == (1, 1):
            return kind, {**shapes, "weight": shapes["weight"][:2]}
        return self.kind, shapes

    def __str__(self) -> str:
        return f"{self.name} ({self.kind}: {', '.join(f'{part} {s}' for part, s in self.shapes.items())})"


def pair(theirs: Sequence[Layer], ours: Sequence[Layer]) -> list[tuple[Layer, Layer]]:
    """Layers of the same place. Raises Mismatch at the first that differ, or where one list ends early."""
    for i, (a, b) in enumerate(zip(theirs, ours, strict=True)):
        if not a.like(b):
            raise Mismatch(f"layer {i}: theirs is {a}, ours is {b}")
    n = min(len(theirs), len(ours))
    for who, layers in (("theirs", theirs), ("ours", ours)):
        if len(layers) > n:
            raise Mismatch(f"{len(layers) - n} layers are left over of {who}, the first is {layers[n]}")
    return list(zip(theirs, ours, strict=True))


def check_covered(who: str, keys: Iterable[str], layers: Sequence[Layer], names: Mapping[str, str]) -> None:
    """Raise Mismatch for a parameter or buffer (key of a state dict) that is part of none of the layers."""
    covered = {f"{layer.name}.{names[part]}" for layer in layers for part in layer.shapes}
    for key in keys:
        if key not in covered and not key.endswith(UNUSED):
            raise Mismatch(f"{key} of {who} belongs to no layer that was compared")


def their_kinds() -> dict[str, Any]:
    """Kind -> classes of torch."""
    from torch import nn

    return {"conv": nn.Conv2d, "norm": nn.BatchNorm2d, "linear": nn.Linear}


def our_kinds() -> dict[str, Any]:
    """Kind -> classes of Paddle."""
    from paddle import nn

    return {"conv": nn.Conv2D, "norm": (nn.BatchNorm, nn.BatchNorm2D), "linear": nn.Linear}


def owners(named: Named) -> list[tuple[str, Any]]:
    """The layers that have parameters of their own, in order of definition."""
    return [(name, layer) for name, layer in named if any(p is not None for p in layer._parameters.values())]


def executed(named: Named, runs: Iterable[Run]) -> list[tuple[str, Any]]:
    """The layers that have parameters of their own, in the order in which the runs first call them."""
    order: dict[str, Any] = {}

    def noting(name: str) -> Callable[[Any, Any], None]:
        def note(layer: Any, _: Any) -> None:
            order.setdefault(name, layer)

        return note

    handles = [layer.register_forward_pre_hook(noting(name)) for name, layer in owners(named)]
    for run in runs:
        run()
    for handle in handles:
        handle.remove()
    return list(order.items())


def described(named: Named, kinds: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[Layer]:
    """The layers as ``pair`` sees them. Raises Mismatch for one of another kind."""
    for name, layer in named:
        kind = next((kind for kind, classes in kinds.items() if isinstance(layer, classes)), None)
        if kind is None:
            raise Mismatch(f"{name} is a {type(layer).__name__}; {', '.join(kinds)} are known")
        values = {part: getattr(layer, attribute, None) for part, attribute in names.items()}
        shapes = {part: tuple(map(int, value.shape)) for part, value in values.items() if value is not None}
        if kind == "linear" and names is OUR_PARTS:  # Paddle's linear weight is (in, out)
            shapes["weight"] = shapes["weight"][::-1]
        yield Layer(name, kind, shapes)


def correspondence(
    theirs: Any, ours: Any, their_runs: Iterable[Run], our_runs: Iterable[Run], order: str
) -> list[tuple[Layer, Layer]]:
    """The pairs of layers, every parameter and buffer in one; ``order`` is "execution" or "definition".

    Raises Mismatch.
    """
    their_layers, our_layers = theirs.named_modules(), ours.named_sublayers()
    if order == "execution":
        their_list, our_list = executed(their_layers, their_runs), executed(our_layers, our_runs)
    else:
        their_list, our_list = owners(their_layers), owners(our_layers)
    of_theirs = list(described(their_list, their_kinds(), THEIR_PARTS))
    of_ours = list(described(our_list, our_kinds(), OUR_PARTS))
    pairs = pair(of_theirs, of_ours)
    check_covered("theirs", theirs.state_dict(), of_theirs, THEIR_PARTS)
    check_covered("ours", ours.state_dict(), of_ours, OUR_PARTS)
    return pairs


def move(pairs: Iterable[tuple[Layer, Layer]], theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Write the values of their state dict into ours."""
    for source, target in pairs:
        for part in source.shapes:
            value = theirs[f"{source.name}.{THEIR_PARTS[part]}"].numpy()
            if target.kind == "linear" and part == "weight":
                value = value.reshape(value.shape[:2]).T
            ours[f"{target.name}.{OUR_PARTS[part]}"].set_value(value)
