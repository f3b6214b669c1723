"""Squeeze-and-excitation networks: counts, the unit in plain numpy, the whole network written once more."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from models import senet
from tests.helpers.networks import count, images, randomised

KINDS = {
    "plain": {"depths": (2, 1, 1, 1), "widths": (32, 32), "groups": 8},
    "deep": {"depths": (2, 1, 1, 1), "widths": (32, 64), "groups": 16, "deep": True},
}


def test_the_152_layer_network_is_the_101_layer_one_and_17_units():
    def unit(n):  # n wide outside, n / 2 inside in 32 groups; three batch norms; two layers with biases
        half, few = n // 2, n // 16
        convolutions = n * half + 9 * half * half // 32 + half * n
        return convolutions + 2 * (half + half + n) + (n * few + few) + (few * n + n)

    expected = count(senet.SE_ResNeXt101_32x4d) + 4 * unit(512) + 13 * unit(1024)
    assert count(senet.SE_ResNeXt152_32x4d) == expected == 66_580_440


def test_squeeze_and_excitation_in_numpy():
    paddle.seed(1)
    layer = randomised(senet.SqueezeExcitation(32, reduction=8))
    x = np.random.default_rng(2).normal(size=(3, 32, 5, 4)).astype("float32")
    w1, b1, w2, b2 = (
        p.numpy().astype(float)
        for p in (layer.reduce.weight, layer.reduce.bias, layer.expand.weight, layer.expand.bias)
    )
    assert (w1.shape, w2.shape) == ((4, 32, 1, 1), (32, 4, 1, 1))
    hidden = np.maximum(x.mean(axis=(2, 3)) @ w1[:, :, 0, 0].T + b1, 0)
    gate = 1 / (1 + np.exp(-(hidden @ w2[:, :, 0, 0].T + b2)))
    np.testing.assert_allclose(layer(paddle.to_tensor(x)).numpy(), x * gate[:, :, None, None], atol=1e-6)
    assert np.ptp(gate) > 0.1  # the gates do differ


def functional(network, x, groups, deep):
    """Logits from the state dict, functions only, one unit after the other."""
    v = network.state_dict()

    def conv_bn(x, key, stride=1, groups=1):
        w = v[f"{key}.conv.weight"]
        x = F.conv2d(x, w, stride=stride, padding=w.shape[-1] // 2, groups=groups)
        mean, variance, gamma, beta = (
            v[f"{key}.bn.{part}"].reshape([1, -1, 1, 1]) for part in ("_mean", "_variance", "weight", "bias")
        )
        return (x - mean) / paddle.sqrt(variance + 1e-5) * gamma + beta

    for i in range(3 if deep else 1):
        x = F.relu(conv_bn(x, f"stem.{i}" if deep else "stem", stride=2 if i == 0 else 1))
    x = F.max_pool2d(F.pad(x, [0, 1, 0, 1], value=-np.inf), 3, stride=2)  # even sizes, rounded up
    for i, stage in enumerate((0, 0, 1, 2, 3)):
        stride, key = 2 if i > 1 else 1, f"units.{i}"
        y = F.relu(conv_bn(x, f"{key}.conv1"))
        y = conv_bn(F.relu(conv_bn(y, f"{key}.conv2", stride, groups)), f"{key}.conv3")
        z = y.mean(axis=[2, 3], keepdim=True)
        for part, activation in (("reduce", F.relu), ("expand", F.sigmoid)):
            z = activation(F.conv2d(z, v[f"{key}.scale.{part}.weight"], v[f"{key}.scale.{part}.bias"]))
        if i != 1:  # the second unit of stage 1 alone keeps width and size
            assert v[f"{key}.shortcut.conv.weight"].shape[-1] == (3 if deep and stage > 0 else 1)
            x = conv_bn(x, f"{key}.shortcut", stride)
        x = F.relu(y * z + x)
    return paddle.matmul(x.mean(axis=[2, 3]), v["fc.weight"]) + v["fc.bias"]


@pytest.mark.parametrize("kind", KINDS)
def test_network_against_an_independent_forward(kind):
    paddle.seed(4)
    options = KINDS[kind]
    network = randomised(senet.SENet(5, **options))
    network.eval()
    with paddle.no_grad():
        x = images(64)
        found, features = network(x).numpy(), network.features(x)
        expected = functional(network, x, options["groups"], kind == "deep").numpy()
    assert features.shape == [2, network.feature_width] == [2, 2048]
    assert np.abs(found - expected).max() / np.abs(expected).max() < 1e-4
    assert np.abs(expected[0] - expected[1]).max() > 1e-3  # the images do matter
