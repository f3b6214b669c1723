"""How large a network is: its values are counted, its bytes follow."""

from __future__ import annotations

from dataclasses import dataclass

import models
from urnet.config.stage import Optimizer
from urnet.core.checks import InputError
from urnet.pipeline.kept_activations import OUTPUTS


@dataclass(frozen=True)
class NetworkSize:
    """Numbers of values of a network, all of which are float32, and of tensors that are trained."""

    name: str
    n_classes: int
    parameters: int  # values that are trained
    trained_tensors: int
    weights: int  # values of a checkpoint: parameters and batch-norm statistics
    feature_width: int

    def optimizer_bytes(self, settings: Optimizer) -> int:
        """Momentum keeps a velocity of each parameter; AdamW two moments, and two powers of each tensor."""
        if settings.name == "momentum":
            return 4 * self.parameters
        return 2 * 4 * self.parameters + 2 * 4 * self.trained_tensors


def network_size(name: str, n_classes: int, train: str = "all") -> NetworkSize:
    """Build the network without memory for its values, and count what a stage that trains ``train`` of it trains.

    Raises InputError as models.build, and for a network that has no such part.
    """
    from urnet.runtime.threads import import_paddle

    import_paddle()
    import paddle

    from urnet.nn.flat_parameters import trainable
    from urnet.nn.trained_part import TrainedPart

    with paddle.LazyGuard():
        network = models.build(name, n_classes)
    if train != "all":
        if not hasattr(network, OUTPUTS[train]):
            raise InputError(f"train: found {train}, but network {name} has no `{OUTPUTS[train]}`; accepted: all")
        TrainedPart(network, train)
    trained, state = trainable(network), network.state_dict()
    for key, value in state.items():
        if value.dtype != paddle.float32:
            raise TypeError(f"{name}: {key} is not float32; its bytes would be counted wrong")
    parameters, weights = (sum(value.size for value in values.values()) for values in (trained, state))
    return NetworkSize(name, n_classes, parameters, len(trained), weights, network.fc.weight.shape[0])
