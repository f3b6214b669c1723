"""A small network, and one step of its training, for tests of the step."""

import numpy as np
import paddle
from paddle import nn

from urnet.config.recipe import Transform
from urnet.config.stage import Stage
from urnet.training.objective import StepInput
from urnet.training.step import TrainState

TRANSFORM = Transform(size=8)


class Plain(nn.Layer):
    """A network without batch norm: a large batch and its micro-batches have the same gradient."""

    def __init__(self, seed=0):
        super().__init__()
        paddle.seed(seed)
        self.conv, self.fc = nn.Conv2D(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x):
        return self.fc(nn.functional.relu(self.conv(x)).mean([2, 3]))


class Headed(Plain):
    """Plain with an auxiliary head, in training, as InceptionV3's: a trunk of its own and a classifier."""

    auxiliary_weight = 0.25

    def __init__(self):
        super().__init__()
        self.auxiliary = nn.Layer()
        self.auxiliary.conv, self.auxiliary.classifier = nn.Conv2D(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        aside = nn.functional.relu(self.auxiliary.conv(x)).mean([2, 3])
        return super().forward(x), self.auxiliary.classifier(aside)


def step_input(n=12, seed=0, mixup=None):
    """Random images, labels and weights."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, 8, 8, 3)).astype(np.uint8)
    return StepInput(images, rng.integers(0, 5, n), rng.random(n).astype(np.float32), mixup)


def stage(**keys):
    return Stage("a", None, batch_size=12, **keys)


def train_state(settings, network=None, amp=None):
    return TrainState(network or Plain(), settings, TRANSFORM, amp)


def arrays(network):
    return {name: value.numpy() for name, value in network.state_dict().items()}


def assert_close(a, b, atol=1e-6):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_allclose(a[name], b[name], atol=atol, err_msg=name)
