"""Batch norm folded into convolutions: the same outputs, the network as it was afterwards."""

import numpy as np
import paddle
import pytest

from urnet.nn.fold_batch_norm import Shift, folded

nn = paddle.nn


def settled(network, seed=0):
    """The network in evaluation mode with batch norms that do something."""
    rng = np.random.default_rng(seed)
    for layer in network.sublayers():
        if isinstance(layer, nn.BatchNorm2D):
            n = layer.weight.shape[0]
            layer.weight.set_value(rng.normal(1, 0.3, n).astype(np.float32))
            layer.bias.set_value(rng.normal(0, 1, n).astype(np.float32))
            layer._mean.set_value(rng.normal(0, 1, n).astype(np.float32))
            layer._variance.set_value(rng.uniform(0.5, 2, n).astype(np.float32))
    network.eval()
    return network


class Net(nn.Layer):
    """``kind`` says what is between convolution and batch norm."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.conv = nn.Conv2D(3, 6, 3, bias_attr=None if kind == "bias" else False)
        self.norms = nn.LayerList([nn.BatchNorm2D(6, epsilon=1e-3)])
        self.second = nn.Sequential(nn.Conv2D(6, 6, 3, groups=3, bias_attr=False), nn.BatchNorm2D(6))
        self.fc = nn.Linear(6, 4)

    def forward(self, x):
        made = self.conv(x)
        if self.kind == "relu between":
            made = nn.functional.relu(made)
        if self.kind == "relu in place":
            made = nn.functional.relu_(made)
        y = self.norms[0](made)
        if self.kind == "used twice":
            y = y + made
        if self.kind == "used a little":
            y = y + 1e-4 * made
        if self.kind == "norm twice":
            y = self.norms[0](y)
        return self.fc(nn.functional.relu(self.second(y)).mean(axis=[2, 3]))


@pytest.fixture(scope="module")
def images():
    return paddle.to_tensor(np.random.default_rng(1).normal(0, 1, (2, 3, 9, 9)).astype(np.float32))


@pytest.mark.parametrize(
    ("kind", "pairs"),
    [
        ("plain", 2),
        ("relu between", 1),
        ("bias", 1),
        ("norm twice", 1),
        ("used twice", 0),
        ("relu in place", 0),
        ("used a little", 0),
    ],
)
def test_outputs_stay_the_same_and_folding_is_undone(images, kind, pairs):
    network = settled(Net(kind))
    before = network(images).numpy()
    layers, values = list(network.sublayers()), {k: v.numpy() for k, v in network.state_dict().items()}
    with folded(network, images) as n:
        assert n == pairs
        shifts = [layer for layer in network.sublayers() if isinstance(layer, Shift)]
        assert len(shifts) == pairs
        np.testing.assert_allclose(network(images).numpy(), before, atol=1e-5)
    assert all(a is b for a, b in zip(layers, network.sublayers(), strict=True))
    after = network.state_dict()
    assert list(after) == list(values)
    assert all(np.array_equal(after[key].numpy(), values[key]) for key in values)
    assert np.array_equal(network(images).numpy(), before)


def test_an_error_inside_the_block_leaves_the_network_as_it_was(images):
    network = settled(Net("plain"))
    before = network(images).numpy()
    with pytest.raises(KeyError), folded(network, images):
        raise KeyError
    assert np.array_equal(network(images).numpy(), before)
