"""A network's trained parameters as a few long vectors, so that one operation moves them all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import paddle

from urnet.config.choices import CLASSIFIERS


def trainable(network: paddle.nn.Layer) -> dict[str, Any]:
    """State-dict key -> parameter that is trained (Paddle counts batch-norm statistics as parameters too)."""
    return {name: p for name, p in network.named_parameters() if not p.stop_gradient}


@dataclass(frozen=True)
class Kind:
    """Parameters that are treated alike: of the first (0) or second (1) of two networks, whose gradients are clipped as
    one vector; matrices and kernels or vectors, which no weight decay reaches; of the classifier or not."""

    network: int
    vector: bool
    classifier: bool


@dataclass
class Flat:
    """The parameters of one kind, one after the other in ``vector``, a Paddle parameter (n,) float32."""

    kind: Kind
    named: dict[str, Any]
    vector: Any = field(init=False)

    def __post_init__(self) -> None:
        # The more powers of two divide a length the earlier it comes: every place is then a multiple of the same power,
        # and what computes with a parameter finds it as aligned in memory as it was.
        order = sorted(self.named, key=lambda name: -(_length(self.named[name]) & -_length(self.named[name])))
        self.named = {name: self.named[name] for name in order}
        parameters = list(self.named.values())
        self.lengths = [_length(p) for p in parameters]
        zero = paddle.nn.initializer.Constant(0.0)
        self.vector = paddle.create_parameter([sum(self.lengths)], "float32", default_initializer=zero)
        with paddle.no_grad():  # as paddle.nn.LSTM does with its weights, which cuDNN wants in one piece
            kind = paddle.base.core.VarDesc.VarType.FP32
            how = ("copy_data", True, "use_align", False, "dtype", kind)
            paddle._legacy_C_ops.coalesce_tensor(parameters, parameters, self.vector, *how)

    @paddle.no_grad()
    def gather_gradients(self) -> None:
        """Move the parameters' gradients to the vector's; one that is missing counts as 0."""
        gradients = [p.grad for p in self.named.values()]
        if None in gradients:
            pairs = zip(gradients, self.named.values(), strict=True)
            gradients = [paddle.zeros_like(p) if grad is None else grad for grad, p in pairs]
        kind = self.vector.dtype
        _, joined = paddle._C_ops.coalesce_tensor(gradients, kind, True, False, False, 0.0, False, -1, -1, [], [])
        self.vector.grad_ = joined  # without an underline it would be copied
        for parameter in self.named.values():
            parameter.clear_gradient(False)

    def split(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """(n,) as the arrays of the single parameters, by name; views."""
        parts = np.split(values, np.cumsum(self.lengths)[:-1])
        return {name: part.reshape(p.shape) for (name, p), part in zip(self.named.items(), parts, strict=True)}

    def join(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """The reverse of ``split``, float32; a name that is missing counts as 0."""
        parts = [
            np.zeros(n, np.float32) if (a := arrays.get(name)) is None else np.asarray(a, np.float32).reshape(-1)
            for name, n in zip(self.named, self.lengths, strict=True)
        ]
        return np.concatenate(parts)


class FlatParameters:
    """What ``network`` trains, in at most four vectors (of a ``Pair`` eight): one of each ``Kind``.

    A parameter becomes a view of its vector and stays one: what is written to the one is in the other. An optimiser, a
    moving average, a norm over all gradients launch one operation a vector instead of one per parameter, which for 300
    parameters is as much of the host's time as a forward and backward pass. Elementwise operations give the same bytes.
    With ``classifier_apart`` the classifier and that of an auxiliary head have vectors of their own.
    """

    def __init__(self, network: paddle.nn.Layer, *, pair: bool = False, classifier_apart: bool = False) -> None:
        self.named = trainable(network)
        kinds: dict[Kind, dict[str, Any]] = {}
        for name, parameter in self.named.items():
            of_second = pair and name.startswith("second.")
            inner = name.removeprefix("first.").removeprefix("second.") if pair else name
            apart = classifier_apart and inner.startswith(CLASSIFIERS)
            kinds.setdefault(Kind(int(of_second), parameter.ndim <= 1, apart), {})[name] = parameter
        self.flats = [Flat(kind, named) for kind, named in kinds.items()]

    @property
    def vectors(self) -> list[Any]:
        """The vectors, Paddle parameters (n,) float32; their ``grad`` is there after ``gather_gradients``."""
        return [flat.vector for flat in self.flats]

    def gather_gradients(self) -> None:
        """Move all parameters' gradients to those of the vectors."""
        for flat in self.flats:
            flat.gather_gradients()

    def of_networks(self) -> list[list[Any]]:
        """The vectors of the network, or of each of two."""
        numbers = sorted({flat.kind.network for flat in self.flats})
        return [[flat.vector for flat in self.flats if flat.kind.network == number] for number in numbers]


def _length(parameter: Any) -> int:
    return int(np.prod(parameter.shape))
