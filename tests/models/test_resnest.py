"""models/resnest.py: a unit against plain numpy."""

import numpy as np
import paddle
import pytest

from models.resnest import SplitAttention, Unit


def randomise(layer, seed):
    """Random parameters and statistics of a scale at which every operation shows."""
    rng = np.random.default_rng(seed)
    for key, value in layer.state_dict().items():
        low = 0.5 if key.endswith("_variance") else -1.0
        value.set_value(rng.uniform(low, 1.0, value.shape).astype("float32"))
    layer.eval()
    return rng


def plain_bn(x, bn):
    mean, variance, gamma, beta = (
        v.numpy().astype("float64").reshape(-1, 1, 1) for v in (bn._mean, bn._variance, bn.weight, bn.bias)
    )
    return (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta


def plain_1x1(x, conv):
    y = np.einsum("bihw,oi->bohw", x, conv.weight.numpy()[:, :, 0, 0])
    return y if conv.bias is None else y + conv.bias.numpy().reshape(-1, 1, 1)


def plain_3x3(x, weight):
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return np.einsum("bihwyx,oiyx->bohw", windows, weight)


def plain_split_attention(layer, x):
    """Each split from its own half of the input channels; softmax written out for two."""
    half, weight = x.shape[1] // 2, layer.conv.conv.weight.numpy()
    splits = [plain_3x3(x[:, :half], weight[: 2 * half]), plain_3x3(x[:, half:], weight[2 * half :])]
    u = np.maximum(plain_bn(np.concatenate(splits, axis=1), layer.conv.bn), 0)
    u1, u2 = u[:, : 2 * half], u[:, 2 * half :]
    s = (u1 + u2).mean(axis=(2, 3), keepdims=True)
    z = plain_1x1(np.maximum(plain_bn(plain_1x1(s, layer.fc1), layer.bn), 0), layer.fc2)
    a1 = 1 / (1 + np.exp(z[:, 2 * half :] - z[:, : 2 * half]))
    return a1 * u1 + (1 - a1) * u2


def test_split_attention_against_plain_numpy():
    layer = SplitAttention(4)
    x = randomise(layer, 0).normal(size=(3, 4, 5, 6)).astype("float32")
    assert layer.fc1.weight.shape == [32, 4, 1, 1]  # never fewer than 32
    assert SplitAttention(128).fc1.weight.shape == [64, 128, 1, 1]
    expected = plain_split_attention(layer, x.astype("float64"))
    np.testing.assert_allclose(layer(paddle.to_tensor(x)).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_the_stated_shares_weigh_the_splits():
    """With fc2 = 0 but for a bias of log 3 in the first half: 3/4 of the first split, 1/4 of the second."""
    layer = SplitAttention(4)
    x = paddle.to_tensor(randomise(layer, 1).normal(size=(2, 4, 3, 3)).astype("float32"))
    layer.fc2.weight.set_value(paddle.zeros_like(layer.fc2.weight))
    layer.fc2.bias.set_value(np.float32([np.log(3)] * 4 + [0] * 4))
    first, second = paddle.split(layer.conv(x), 2, axis=1)
    np.testing.assert_allclose(layer(x).numpy(), (0.75 * first + 0.25 * second).numpy(), rtol=1e-5)


def plain_pools(y, x):
    """3x3/2 with zeros beyond the border counted, and 2x2/2 over the pixels inside, at 5x5 pixels."""
    padded = np.pad(y, ((0, 0), (0, 0), (1, 1), (1, 1)))
    large, small = np.empty((*y.shape[:2], 3, 3)), np.empty((*x.shape[:2], 3, 3))
    for i in range(3):
        for j in range(3):
            large[:, :, i, j] = padded[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].sum(axis=(2, 3)) / 9
            small[:, :, i, j] = x[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean(axis=(2, 3))
    return large, small


@pytest.mark.parametrize(("n_in", "stride"), [(6, 2), (16, 2), (6, 1), (16, 1)])
def test_a_unit_against_plain_numpy(n_in, stride):
    """An odd size, so that both pools meet the border; the shortcut is projected unless nothing changes."""
    unit = Unit(n_in, 4, stride=stride)
    x = randomise(unit, 2).normal(size=(2, n_in, 5, 5)).astype("float32")
    straight = x.astype("float64")
    y = np.maximum(plain_bn(plain_1x1(straight, unit.conv1.conv), unit.conv1.bn), 0)
    y = plain_split_attention(unit.conv2, y)
    if stride == 2:
        y, straight = plain_pools(y, straight)
    y = plain_bn(plain_1x1(y, unit.conv3.conv), unit.conv3.bn)
    if (n_in, stride) == (16, 1):
        assert unit.shortcut is None
    else:
        straight = plain_bn(plain_1x1(straight, unit.shortcut.conv), unit.shortcut.bn)
    expected = np.maximum(y + straight, 0)
    np.testing.assert_allclose(unit(paddle.to_tensor(x)).numpy(), expected, rtol=1e-4, atol=1e-4)
