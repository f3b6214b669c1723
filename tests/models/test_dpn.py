"""models/dpn.py: the two paths against plain numpy, epsilon and widths."""

import numpy as np
import paddle
import pytest

import models
from models.dpn import DPN, Unit

NAMES = ("DPN92", "DPN131")


@pytest.mark.parametrize("name", NAMES)
def test_every_batch_norm_has_the_published_epsilon(name):
    with paddle.LazyGuard():
        layers = models.build(name, 2).sublayers()
    assert {layer._epsilon for layer in layers if isinstance(layer, paddle.nn.BatchNorm2D)} == {1e-3}


def randomise(layer, seed):
    """Random parameters and statistics; the smallest variances are where epsilon is seen."""
    rng = np.random.default_rng(seed)
    for key, value in layer.state_dict().items():
        low, high = (0.005, 0.5) if key.endswith("_variance") else (-1.0, 1.0)
        value.set_value(rng.uniform(low, high, value.shape).astype("float32"))
    layer.eval()
    return rng


def plain_bn_relu(x, bn):
    mean, variance, gamma, beta = (
        v.numpy().astype("float64").reshape(-1, 1, 1) for v in (bn._mean, bn._variance, bn.weight, bn.bias)
    )
    return np.maximum((x - mean) / np.sqrt(variance + 0.001) * gamma + beta, 0)


def plain_conv(layer, x, stride, groups):
    """The layer's batch norm, ReLU and convolution, one group after the other."""
    weight = layer.conv.weight.numpy()
    pad = weight.shape[-1] // 2
    padded = np.pad(plain_bn_relu(x, layer.bn), ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], axis=(2, 3))
    windows = windows[:, :, ::stride, ::stride]
    answers = [
        np.einsum("bihwyx,oiyx->bohw", part, w)
        for part, w in zip(np.split(windows, groups, axis=1), np.split(weight, groups, axis=0), strict=True)
    ]
    return np.concatenate(answers, axis=1)


def plain_unit(unit, residual, dense, stride, groups):
    """The paper's two paths, kept apart: (residual, dense) -> (residual, dense)."""
    x = np.concatenate([residual, dense], axis=1)
    if unit.projection is not None:
        projected = plain_conv(unit.projection, x, stride, 1)
        residual, dense = projected[:, : unit.width], projected[:, unit.width :]
    y = plain_conv(unit.conv1, x, 1, 1)
    y = plain_conv(unit.conv2, y, stride, groups)
    y = plain_conv(unit.conv3, y, 1, 1)
    return residual + y[:, : unit.width], np.concatenate([dense, y[:, unit.width :]], axis=1)


@pytest.mark.parametrize("stride", [1, 2])
def test_two_units_against_plain_numpy(stride):
    """The first of a stage, which projects, and the one behind it, which does not."""
    first = Unit(10, 6, 8, 3, stride=stride, groups=2, first=True)
    second = Unit(8 + 3 * 3, 6, 8, 3, stride=1, groups=3, first=False)
    rng = randomise(first, 0)
    randomise(second, 1)
    x = rng.normal(size=(2, 10, 5, 7)).astype("float32")
    residual, dense = plain_unit(first, x[:, :7].astype("float64"), x[:, 7:], stride, 2)
    assert dense.shape[1] == 3 * 3
    residual, dense = plain_unit(second, residual, dense, 1, 3)
    found = second(first((paddle.to_tensor(x[:, :4]), paddle.to_tensor(x[:, 4:]))))
    assert [part.shape[1] for part in found] == [8, 2 * 3, 3, 3]
    found, expected = paddle.concat(found, axis=1).numpy(), np.concatenate([residual, dense], axis=1)
    assert found.shape == expected.shape == (2, 8 + 4 * 3, *((5, 7) if stride == 1 else (3, 4)))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_a_unit_keeps_the_dense_path_and_adds_to_the_residual_one():
    """With the last convolution 0: the input comes through as it is, and the new channels are 0."""
    unit = Unit(8 + 9, 6, 8, 3, stride=1, groups=2, first=False)
    x = paddle.to_tensor(randomise(unit, 2).normal(size=(2, 17, 4, 4)).astype("float32"))
    unit.conv3.conv.weight.set_value(paddle.zeros_like(unit.conv3.conv.weight))
    residual, dense, newest = unit((x[:, :8], x[:, 8:]))
    np.testing.assert_array_equal(paddle.concat([residual, dense], axis=1).numpy(), x.numpy())
    assert newest.shape == [2, 3, 4, 4]
    assert not newest.numpy().any()


def test_the_widths_grow_by_the_increments():
    with paddle.LazyGuard():
        network = DPN(5, depths=(1, 2, 1, 3), increments=(2, 3, 4, 5), stem_width=7, inner=4, groups=2)
    n_ins = [unit.conv1.conv.weight.shape[1] for unit in network.units]
    assert n_ins == [7, 256 + 6, 512 + 9, 512 + 12, 1024 + 12, 2048 + 15, 2048 + 20]
    assert network.feature_width == 2048 + 25
