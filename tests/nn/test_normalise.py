"""The normalising layer beside its formula in float64; what it stores; whether it can be exported."""

import numpy as np
import paddle
import pytest

from urnet.core.checks import InputError
from urnet.nn.normalise import Normalise

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Tiny(paddle.nn.Layer):
    """A network with features, logits and batch-norm buffers."""

    def __init__(self):
        super().__init__()
        self.conv = paddle.nn.Conv2D(3, 4, 3)
        self.bn = paddle.nn.BatchNorm2D(4)
        self.fc = paddle.nn.Linear(4, 5)

    def features(self, x):
        return self.bn(self.conv(x)).mean([2, 3])

    def forward(self, x):
        return self.fc(self.features(x))


class Same(paddle.nn.Layer):
    def forward(self, x):
        return x


def formula(images):
    scaled = (np.asarray(images, np.float64) / 255 - MEAN) / STD
    return scaled.transpose(0, 3, 1, 2)


def every_value():
    """All 256 values in every channel."""
    return np.repeat(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1), 3, axis=3)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_it_is_the_formula_for_every_value(dtype):
    images = every_value().astype(dtype)
    got = Normalise(Same(), MEAN, STD)(paddle.to_tensor(images))
    assert got.dtype == paddle.float32
    assert got.shape == [1, 3, 16, 16]
    assert np.abs(got.numpy() - formula(images)).max() < 1e-6


def test_logits_and_features_are_the_network_s_on_normalised_images():
    network = Tiny()
    network.eval()
    images = np.random.default_rng(0).integers(0, 256, (2, 9, 9, 3), dtype=np.uint8)
    normalised = Normalise(network, MEAN, STD)
    normalised.eval()
    x = paddle.to_tensor(formula(images).astype("float32"))
    batch = paddle.to_tensor(images)
    assert np.allclose(normalised(batch).numpy(), network(x).numpy(), atol=1e-5)
    assert np.allclose(normalised.features(batch).numpy(), network.features(x).numpy(), atol=1e-5)


def test_nothing_of_its_own_is_stored_or_trained():
    network = Tiny()
    normalised = Normalise(network, MEAN, STD)
    assert set(normalised.state_dict()) == {"network." + key for key in network.state_dict()}
    assert [id(p) for p in normalised.parameters()] == [id(p) for p in network.parameters()]


def test_gradients_reach_the_network_and_modes_pass_on():
    network = Tiny()
    normalised = Normalise(network, MEAN, STD)
    normalised.train()
    assert network.training and network.bn.training
    normalised(paddle.to_tensor(every_value())).sum().backward()
    assert all(p.grad is not None for p in network.parameters() if p.trainable)
    normalised.eval()
    assert not network.bn.training


@pytest.mark.parametrize("mean, std", [((0.5, 0.5), STD), (MEAN, (0.2, 0.0, 0.2)), (MEAN, (0.2, -1, 0.2))])
def test_impossible_means_and_deviations_are_bad_input(mean, std):
    with pytest.raises(InputError, match="three numbers"):
        Normalise(Same(), mean, std)
