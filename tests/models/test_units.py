"""The parts of the networks against plain numpy, and exact answers on small cases."""

import numpy as np
import paddle
import pytest

from models import dpn, inception_v3, resnest, senet
from models.inception import Branches, Inception, chain
from models.inception_resnet_v2 import Residual
from tests.helpers.networks import (
    assert_close,
    assert_recomputation_changes_nothing,
    images,
    plain_bn,
    plain_conv,
    randomised,
    scrambled,
)
from urnet.core.checks import InputError

N_CLASSES = 7


def relu(x):
    return np.maximum(x, 0)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


# --- dual path networks


def plain_dpn_unit(unit, residual, dense, stride, groups):
    """The paper's two paths, kept apart: (residual, dense) -> (residual, dense)."""

    def conv(layer, x, stride=1, groups=1):  # batch norm, ReLU, convolution
        return plain_conv(relu(plain_bn(x, layer.bn, 1e-3)), layer.conv, stride, groups)

    x = np.concatenate([residual, dense], axis=1)
    if unit.projection is not None:
        projected = conv(unit.projection, x, stride)
        residual, dense = projected[:, : unit.width], projected[:, unit.width :]
    y = conv(unit.conv3, conv(unit.conv2, conv(unit.conv1, x), stride, groups))
    return residual + y[:, : unit.width], np.concatenate([dense, y[:, unit.width :]], axis=1)


@pytest.mark.parametrize("stride", [1, 2])
def test_two_dual_path_units_against_numpy(stride):
    """The first of a stage, which projects, and the one behind it, which does not."""
    first = scrambled(dpn.Unit(10, 6, 8, 3, stride=stride, groups=2, first=True), 0, 0.005)  # where epsilon is seen
    second = scrambled(dpn.Unit(8 + 3 * 3, 6, 8, 3, stride=1, groups=3, first=False), 1, 0.005)
    x = normal(2, 2, 10, 5, 7)
    residual, dense = plain_dpn_unit(first, x[:, :7], x[:, 7:], stride, 2)
    assert dense.shape[1] == 3 * 3
    residual, dense = plain_dpn_unit(second, residual, dense, 1, 3)
    found = second(first((paddle.to_tensor(x[:, :4]), paddle.to_tensor(x[:, 4:]))))
    assert [part.shape[1] for part in found] == [8, 2 * 3, 3, 3]
    assert_close(paddle.concat(found, axis=1).numpy(), np.concatenate([residual, dense], axis=1))


def test_the_dense_path_grows_by_the_increments():
    with paddle.LazyGuard():
        network = dpn.DPN(5, depths=(1, 2, 1, 3), increments=(2, 3, 4, 5), stem_width=7, inner=4, groups=2)
    n_ins = [unit.conv1.conv.weight.shape[1] for unit in network.units]
    assert n_ins == [7, 256 + 6, 512 + 9, 512 + 12, 1024 + 12, 2048 + 15, 2048 + 20]
    assert network.feature_width == 2048 + 25


# --- ResNeSt


def plain_split_attention(layer, x):
    """Softmax written out for two splits."""
    width = x.shape[1]
    u = relu(plain_bn(plain_conv(x, layer.conv.conv, groups=2), layer.conv.bn))
    u1, u2 = u[:, :width], u[:, width:]
    s = (u1 + u2).mean(axis=(2, 3), keepdims=True)
    z = plain_conv(relu(plain_bn(plain_conv(s, layer.fc1), layer.bn)), layer.fc2)
    a1 = 1 / (1 + np.exp(z[:, width:] - z[:, :width]))
    return a1 * u1 + (1 - a1) * u2


def test_split_attention_against_numpy():
    layer, x = scrambled(resnest.SplitAttention(4), 0), normal(1, 3, 4, 5, 6)
    assert layer.fc1.weight.shape == [32, 4, 1, 1]  # never fewer than 32
    assert resnest.SplitAttention(128).fc1.weight.shape == [64, 128, 1, 1]
    assert_close(layer(paddle.to_tensor(x)).numpy(), plain_split_attention(layer, x))


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
def test_a_resnest_unit_against_numpy(n_in, stride):
    """An odd size, so that both pools meet the border; the shortcut is projected unless nothing changes."""
    unit = scrambled(resnest.Unit(n_in, 4, stride=stride), 2)
    x = straight = normal(3, 2, n_in, 5, 5)
    y = plain_split_attention(unit.conv2, relu(plain_bn(plain_conv(x, unit.conv1.conv), unit.conv1.bn)))
    if stride == 2:
        y, straight = plain_pools(y, straight)
    y = plain_bn(plain_conv(y, unit.conv3.conv), unit.conv3.bn)
    assert (unit.shortcut is None) == ((n_in, stride) == (16, 1))
    if unit.shortcut is not None:
        straight = plain_bn(plain_conv(straight, unit.shortcut.conv), unit.shortcut.bn)
    assert_close(unit(paddle.to_tensor(x)).numpy(), relu(y + straight))


# --- squeeze and excitation


def test_squeeze_and_excitation_against_numpy():
    layer, x = scrambled(senet.SqueezeExcitation(32, reduction=8), 1), normal(2, 3, 32, 5, 4)
    z = x.mean(axis=(2, 3), keepdims=True)
    gate = 1 / (1 + np.exp(-plain_conv(relu(plain_conv(z, layer.reduce)), layer.expand)))
    assert layer.reduce.weight.shape == [4, 32, 1, 1]
    assert_close(layer(paddle.to_tensor(x)).numpy(), x * gate)
    assert np.ptp(gate) > 0.1  # the gates do differ


# --- Inception


@pytest.mark.parametrize(("with_relu", "expected"), [(True, [2.5, 0.0]), (False, [2.5, -5.0])])
def test_a_residual_unit(with_relu, expected):
    unit = Residual(2, 2, 0.5, Branches(paddle.nn.Identity()), relu=with_relu)
    unit.projection.weight.set_value(np.float32([[2, 0], [0, -4]]).reshape(2, 2, 1, 1))
    unit.projection.bias.set_value(np.float32([1, 0]))
    x = paddle.to_tensor(np.float32([1, 5]).reshape(1, 2, 1, 1))
    # 1 + 0.5 (2 * 1 + 1) and 5 + 0.5 (-4 * 5)
    np.testing.assert_array_equal(unit(x).numpy().ravel(), np.float32(expected))


def test_recomputation_of_residual_units():
    def construct(recompute):
        unit = Residual(4, 6, 0.3, Branches(chain(4, (2, 1)), chain(4, (2, 1), (4, (1, 3)))))
        return Inception(N_CLASSES, [chain(3, (4, 3)), unit, chain(4, (5, 1))], 5, recompute=recompute)

    def inside(network):
        layer = network.units[1].branches.branches[1][1]
        return layer.conv, layer.bn

    assert_recomputation_changes_nothing(construct, inside)


def test_the_smallest_image_is_known_to_an_export_too():
    network = Inception(N_CLASSES, [chain(3, (4, 3))], 4, least_size=9)
    network.eval()
    for sides, refused in (([None, None], False), ([9, None], False), ([None, 8], True)):
        spec = paddle.static.InputSpec([None, 3, *sides], "float32")
        static = paddle.jit.to_static(network, input_spec=[spec], full_graph=True)
        if refused:
            with pytest.raises(InputError, match="-1 x 8 pixels; 9 or more are accepted"):
                static.forward.concrete_program  # noqa: B018
        else:
            with paddle.no_grad():
                np.testing.assert_allclose(static(images(9, 1)).numpy(), network(images(9, 1)).numpy(), rtol=1e-5)


@pytest.mark.parametrize(("side", "image"), [(17, 299), (12, 224), (3, 75)])
def test_the_auxiliary_head_against_numpy(side, image):
    """Windows and kernels written out; a smaller grid than the kernel meets the kernel's middle."""
    head = randomised(inception_v3.AuxiliaryHead(6, N_CLASSES))
    head.eval()
    grid = normal(6, 2, 6, side, side)
    window = min(5, side)
    starts = range(0, side - window + 1, 3)
    pooled = [[grid[:, :, i : i + window, j : j + window].mean((2, 3)) for j in starts] for i in starts]
    x = np.moveaxis(np.array(pooled), (0, 1), (2, 3))
    x = relu(plain_bn(plain_conv(x, head.conv1.conv), head.conv1.bn))
    first = (5 - x.shape[-1]) // 2
    kernel = head.conv2.conv.weight.numpy()[:, :, first : first + x.shape[-1], first : first + x.shape[-1]]
    x = relu(plain_bn(np.einsum("bdhw,edhw->be", x, kernel)[:, :, None, None], head.conv2.bn))[:, :, 0, 0]
    expected = x @ head.classifier.weight.numpy() + head.classifier.bias.numpy()
    np.testing.assert_allclose(head(paddle.to_tensor(grid)).numpy(), expected, atol=1e-5)
    assert np.abs(expected[0] - expected[1]).max() > 1e-2
