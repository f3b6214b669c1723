"""What a network is in numbers of values and bytes, counted on the network itself."""

from __future__ import annotations

from dataclasses import dataclass

import models
from urnet.config.stage import Optimizer


@dataclass(frozen=True)
class NetworkSize:
    """Values and tensors of a network; all of them are float32."""

    name: str
    n_classes: int
    parameters: int  # values that are trained
    trained_tensors: int
    weights: int  # values of a checkpoint: parameters and batch-norm statistics
    tensors: int
    feature_width: int

    @property
    def parameter_bytes(self) -> int:
        """Of the trained values: also of their gradients, and of a moving average."""
        return 4 * self.parameters

    @property
    def weight_bytes(self) -> int:
        """Of the trained values and the batch-norm statistics."""
        return 4 * self.weights

    def optimizer_bytes(self, settings: Optimizer) -> int:
        """Momentum keeps a velocity of each parameter; AdamW two moments, and two powers of each tensor."""
        if settings.name == "momentum":
            return self.parameter_bytes
        return 2 * self.parameter_bytes + 2 * 4 * self.trained_tensors


def network_size(name: str, n_classes: int) -> NetworkSize:
    """Build the network without memory for its values, and count. Raises InputError as models.build."""
    from urnet.runtime.threads import import_paddle

    import_paddle()
    import paddle

    from urnet.nn.optimizer import trainable

    with paddle.LazyGuard():
        network = models.build(name, n_classes)
    trained, state = trainable(network), network.state_dict()
    odd = [key for key, value in state.items() if value.dtype != paddle.float32]
    if odd:
        raise TypeError(f"{name}: {odd[0]} is not float32; its bytes would be counted wrong")
    return NetworkSize(
        name,
        n_classes,
        sum(p.size for p in trained.values()),
        len(trained),
        sum(value.size for value in state.values()),
        len(state),
        network.fc.weight.shape[0],
    )
