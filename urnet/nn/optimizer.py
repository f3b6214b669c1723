"""The optimiser of a recipe, and its state under the network's own names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import paddle

from urnet.config.choices import CLASSIFIERS
from urnet.config.stage import Optimizer
from urnet.core.checks import InputError


def trainable(network: paddle.nn.Layer) -> dict[str, Any]:
    """State-dict key -> parameter that is trained (Paddle counts batch-norm statistics as parameters too)."""
    return {name: p for name, p in network.named_parameters() if not p.stop_gradient}


def make_optimizer(network: paddle.nn.Layer, settings: Optimizer) -> Any:
    """SGD with momentum or AdamW; weight decay on matrices and kernels only, not on vectors.

    Vectors (one dimension) are exactly batch norm's scales and offsets and the biases. The learning rate is
    set before every step. Gradient clipping is not the optimiser's: with groups of parameters Paddle would
    take the norm of each group for itself. The classifier, the layer ``fc`` of every network, and that of an
    auxiliary head learn at ``classifier_lr`` times the rate of the rest.
    """
    optimizer = _new_optimizer(network, settings)
    for name, parameter in trainable(network).items():  # afterwards: Paddle sets it while it takes in groups
        if name.removeprefix("first.").removeprefix("second.").startswith(CLASSIFIERS):  # of a ``Pair`` both
            parameter.optimize_attr["learning_rate"] = settings.classifier_lr
    return optimizer


def _new_optimizer(network: paddle.nn.Layer, settings: Optimizer) -> Any:
    parameters = list(trainable(network).values())
    if settings.name == "adamw":
        decayed = {p.name for p in parameters if p.ndim > 1}
        return paddle.optimizer.AdamW(
            0.0,
            parameters=parameters,
            weight_decay=settings.weight_decay,
            beta1=settings.momentum,
            apply_decay_param_fun=decayed.__contains__,
        )
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return paddle.optimizer.Momentum(
        0.0,
        settings.momentum,
        parameters=[group for group in groups if group["params"]],
        use_nesterov=settings.nesterov,
    )


def optimizer_arrays(optimizer: Any, network: paddle.nn.Layer) -> dict[str, np.ndarray]:
    """The optimiser's state, "velocity/fc.weight" -> array; empty before its first step.

    Paddle names it after parameters that are numbered in the order a process made them ("linear_0.w_0_
    velocity_0"), which another process need not repeat.
    """
    keys = {p.name: key for key, p in trainable(network).items()}
    arrays = {}
    for name, value in optimizer.state_dict().items():
        owner = max((own for own in keys if name.startswith(own + "_")), key=len)
        kind = name[len(owner) + 1 :].rpartition("_")[0]  # without the counter at the end
        arrays[f"{kind}/{keys[owner]}"] = np.array(value)
    return arrays


def load_optimizer(optimizer: Any, network: paddle.nn.Layer, arrays: Mapping[str, np.ndarray]) -> None:
    """Give a new optimiser the state ``optimizer_arrays`` returned; it is used from its first step on.

    Raises InputError for names that are not this network's; a missing one is Paddle's error at the step.
    """
    parameters, state = trainable(network), {}
    for name, array in arrays.items():
        kind, _, key = name.partition("/")
        if key not in parameters:
            raise InputError(f"optimizer state: {name!r} is of no parameter of this network")
        state[f"{parameters[key].name}_{kind}_0"] = paddle.to_tensor(array)
    if state:
        optimizer.set_state_dict(state)
