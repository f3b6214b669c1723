"""The optimiser of a recipe, and its state under the network's own names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import paddle

from urnet.config.stage import Optimizer
from urnet.core.checks import InputError
from urnet.nn.flat_parameters import FlatParameters

ONCE = "_pow_acc"  # ends the names of what AdamW keeps once a vector


def make_optimizer(flat: FlatParameters, settings: Optimizer) -> Any:
    """SGD with momentum or AdamW; weight decay on matrices and kernels only, not on vectors.

    Vectors (one dimension) are exactly batch norm's scales and offsets and the biases. The learning rate is
    set before every step. Gradient clipping is not the optimiser's: with groups of parameters Paddle would
    take the norm of each group for itself. The classifier, the layer ``fc`` of every network, and that of an
    auxiliary head learn at ``classifier_lr`` times the rate of the rest, where ``flat`` has them apart.
    """
    optimizer = _new_optimizer(flat, settings)
    for one in flat.flats:  # afterwards: Paddle sets it while it takes in groups
        one.vector.optimize_attr["learning_rate"] = settings.classifier_lr if one.kind.classifier else 1.0
    return optimizer


def _new_optimizer(flat: FlatParameters, settings: Optimizer) -> Any:
    if settings.name == "adamw":
        decayed = {one.vector.name for one in flat.flats if not one.kind.vector}
        return paddle.optimizer.AdamW(
            0.0,
            parameters=flat.vectors,
            weight_decay=settings.weight_decay,
            beta1=settings.momentum,
            apply_decay_param_fun=decayed.__contains__,
        )
    groups = [
        {"params": [one.vector for one in flat.flats if not one.kind.vector], "weight_decay": settings.weight_decay},
        {"params": [one.vector for one in flat.flats if one.kind.vector], "weight_decay": 0.0},
    ]
    return paddle.optimizer.Momentum(
        0.0,
        settings.momentum,
        parameters=[group for group in groups if group["params"]],
        use_nesterov=settings.nesterov,
    )


@paddle.no_grad()
def clip_gradients(vectors: Sequence[Any], most: float) -> None:
    """Scale the gradients of ``vectors`` by most / (norm + 1e-6) where their norm, as one vector, is above ``most``."""
    squares = paddle.concat([paddle._C_ops.squared_l2_norm(vector.grad) for vector in vectors])
    factor = (most / (squares.sum().sqrt() + 1e-6)).clip_(max=1.0)
    for vector in vectors:
        vector.grad_.multiply_(factor)


def optimizer_arrays(optimizer: Any, flat: FlatParameters) -> dict[str, np.ndarray]:
    """The optimiser's state, "velocity/fc.weight" -> array; empty before its first step.

    Paddle names it after parameters that are numbered in the order a process made them ("linear_0.w_0_
    velocity_0"), which another process need not repeat. What it keeps once a vector stands at all its parameters.
    """
    owners = {one.vector.name: one for one in flat.flats}
    arrays = {}
    for name, value in optimizer.state_dict().items():
        owner = max((own for own in owners if name.startswith(own + "_")), key=len)
        kind, array = name[len(owner) + 1 :].rpartition("_")[0], np.array(value)  # without the counter at the end
        one = owners[owner]
        parts = dict.fromkeys(one.named, array) if kind.endswith(ONCE) else one.split(array)
        arrays.update({f"{kind}/{key}": part for key, part in parts.items()})
    return arrays


def load_optimizer(optimizer: Any, flat: FlatParameters, arrays: Mapping[str, np.ndarray]) -> None:
    """Give a new optimiser the state ``optimizer_arrays`` returned; it is used from its first step on.

    Raises InputError for names that are not this network's; what is missing of a vector begins with 0.
    """
    kinds: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        kind, _, key = name.partition("/")
        if key not in flat.named:
            raise InputError(f"optimizer state: {name!r} is of no parameter of this network")
        kinds.setdefault(kind, {})[key] = array
    state = {}
    for kind, known in kinds.items():
        for one in flat.flats:
            found = {key: known[key] for key in one.named if key in known}
            if found:
                array = next(iter(found.values())) if kind.endswith(ONCE) else one.join(found)
                state[f"{one.vector.name}_{kind}_0"] = paddle.to_tensor(array)
    if state:
        optimizer.set_state_dict(state)
